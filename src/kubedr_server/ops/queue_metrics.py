"""Metrics of the machinery below the controllers, in the names that operators know from Go controllers.

Existing dashboards and alerts for client-go and controller-runtime then work for KubeDR too.
The classes here know nothing of `kube`: they fit its observers by their methods alone.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_QUEUE_BUCKETS = (1e-5, 1e-4, 1e-3, 1e-2, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1000)
_REQUEST_BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3, 6, 12, 30, 60)
_RECONCILE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class QueueMetrics:
    """All `workqueue_*` metrics. Make it once a registry; `queue(name)` observes one work queue."""

    def __init__(self, registry: CollectorRegistry) -> None:
        label = ["name"]
        self._depth = Gauge("workqueue_depth", "Keys waiting to be worked on.", label, registry=registry)
        self._adds = Counter("workqueue_adds_total", "Keys added.", label, registry=registry)
        self._retries = Counter(
            "workqueue_retries_total", "Keys added again after failing.", label, registry=registry
        )
        self._waited = Histogram(
            "workqueue_queue_duration_seconds",
            "How long a key waited before it was worked on.",
            label,
            buckets=_QUEUE_BUCKETS,
            registry=registry,
        )
        self._worked = Histogram(
            "workqueue_work_duration_seconds",
            "How long a key was worked on.",
            label,
            buckets=_QUEUE_BUCKETS,
            registry=registry,
        )
        self._longest = Gauge(
            "workqueue_longest_running_processor_seconds",
            "How long the slowest worker has been at its key.",
            label,
            registry=registry,
        )

    def queue(self, name: str) -> "QueueObserver":
        """Return what a queue of that name is given as its observer."""
        return QueueObserver(
            self._depth.labels(name),
            self._adds.labels(name),
            self._retries.labels(name),
            self._waited.labels(name),
            self._worked.labels(name),
        )

    def watch_longest(self, name: str, seconds: Callable[[], float]) -> None:
        """Ask `seconds` at each scrape how long the slowest worker of a queue has been at its key."""
        self._longest.labels(name).set_function(seconds)


class QueueObserver:
    """The metrics of one work queue."""

    def __init__(
        self, depth: Gauge, adds: Counter, retries: Counter, waited: Histogram, worked: Histogram
    ) -> None:
        self._depth = depth
        self._adds = adds
        self._retries = retries
        self._waited = waited
        self._worked = worked

    def depth(self, keys: int) -> None:
        """Note how many keys wait."""
        self._depth.set(keys)

    def added(self) -> None:
        """Count a key that came in."""
        self._adds.inc()

    def retried(self) -> None:
        """Count a rate-limited addition."""
        self._retries.inc()

    def started(self, waited: float) -> None:
        """Note that a key went to a worker after `waited` seconds."""
        self._waited.observe(waited)

    def finished(self, worked: float) -> None:
        """Note that a worker is done after `worked` seconds."""
        self._worked.observe(worked)


class ClientMetrics:
    """The `rest_client_*` metrics: the requests to the API server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "rest_client_requests_total",
            "Requests by their outcome.",
            ["code", "host", "method"],
            registry=registry,
        )
        self._seconds = Histogram(
            "rest_client_request_duration_seconds",
            "From sending a request to the first bytes of its answer.",
            ["host", "verb"],
            buckets=_REQUEST_BUCKETS,
            registry=registry,
        )
        self._limited = Histogram(
            "rest_client_rate_limiter_duration_seconds",
            "How long requests waited for the client's own limit, if they did.",
            ["host", "verb"],
            buckets=_REQUEST_BUCKETS,
            registry=registry,
        )

    def request_finished(self, method: str, host: str, code: str, seconds: float) -> None:
        """Count a request. `code` is the HTTP status, or `<error>` if no answer came."""
        self._requests.labels(code, host, method).inc()
        self._seconds.labels(host, method).observe(seconds)

    def request_limited(self, method: str, host: str, seconds: float) -> None:
        """Count the `seconds` that a request waited for the client's own rate limit."""
        self._limited.labels(host, method).observe(seconds)


class InformerMetrics:
    """The informers': client-go has no such metrics, so these have a prefix of ours."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ends = Counter(
            "kubedr_informer_watches_ended_total",
            "Watches that ended, each followed by a new one; reason `ended` is their regular end.",
            ["resource", "reason"],
            registry=registry,
        )
        self._lists = Histogram(
            "kubedr_informer_list_duration_seconds",
            "How long a full list took.",
            ["resource"],
            buckets=_REQUEST_BUCKETS,
            registry=registry,
        )
        self._objects = Gauge(
            "kubedr_informer_objects", "Objects in the informer's cache.", ["resource"], registry=registry
        )

    def watch_ended(self, resource: str, reason: str) -> None:
        """Count the end of a watch."""
        self._ends.labels(resource, reason).inc()

    def listed(self, resource: str, seconds: float) -> None:
        """Count a full list."""
        self._lists.labels(resource).observe(seconds)

    def cached(self, resource: str, objects: int) -> None:
        """Note how many objects the cache holds."""
        self._objects.labels(resource).set(objects)


class LeaderMetrics:
    """Who leads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._leads = Gauge(
            "leader_election_master_status", "1 if this process leads, 0 if not.", ["name"], registry=registry
        )

    def leads(self, name: str, leading: bool) -> None:
        """Note whether this process holds the lease of that name."""
        self._leads.labels(name).set(int(leading))


class ReconcileMetrics:
    """The `controller_runtime_*` metrics: the reconciles of each controller."""

    def __init__(self, registry: CollectorRegistry) -> None:
        label = ["controller"]
        self._total = Counter(
            "controller_runtime_reconcile_total",
            "Reconciles by their result: success, requeue_after, requeue, error.",
            ["controller", "result"],
            registry=registry,
        )
        self._errors = Counter(
            "controller_runtime_reconcile_errors_total", "Reconciles that failed.", label, registry=registry
        )
        self._terminal = Counter(
            "controller_runtime_terminal_reconcile_errors_total",
            "Reconciles that failed and are not tried again.",
            label,
            registry=registry,
        )
        self._seconds = Histogram(
            "controller_runtime_reconcile_time_seconds",
            "How long a reconcile took.",
            label,
            buckets=_RECONCILE_BUCKETS,
            registry=registry,
        )
        self._workers = Gauge(
            "controller_runtime_max_concurrent_reconciles",
            "Workers of a controller.",
            label,
            registry=registry,
        )
        self._active = Gauge(
            "controller_runtime_active_workers", "Workers at work.", label, registry=registry
        )

    def workers(self, controller: str, count: int) -> None:
        """Note how many workers a controller has."""
        self._workers.labels(controller).set(count)

    def began(self, controller: str) -> None:
        """Note that a worker began."""
        self._active.labels(controller).inc()

    def ended(self, controller: str, result: str, seconds: float, *, terminal: bool = False) -> None:
        """Note that a worker ended; `result` is success, requeue_after, requeue or error."""
        self._active.labels(controller).dec()
        self._total.labels(controller, result).inc()
        self._seconds.labels(controller).observe(seconds)
        if result == "error":
            self._errors.labels(controller).inc()
        if terminal:
            self._terminal.labels(controller).inc()
