"""Metrics of backups, under the names that KubeDR documents, and the ages that alerts are made of.

The counts are gauges that only grow, because the client library appends `_total` to a counter's name
and the documented names have none; `rate` and `increase` work on them all the same. They start at
zero with the process. What alerts need (last success, failures in a row) is set from the
policies' status, so it is right again at once after a restart.

The client library's own gauge has four objects and a lock for each policy. With ten thousand policies and ten
gauges that is most of what the garbage collector looks through, and nothing else runs meanwhile, the
webhooks included. So these gauges are one dictionary each.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_LABELS = ("namespace", "policyName")
_BUCKETS = (1, 5, 15, 30, 60, 300, 600, 900, 1800, 3600, 7200, 14400, 36000)


class _Gauge(Collector):
    """A value for each policy. Set in the event loop, collected in any thread."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text
        self._values: dict[tuple[str, str], float] = {}

    def set(self, policy: tuple[str, str], value: float) -> None:
        self._values[policy] = value

    def add(self, policy: tuple[str, str], value: float) -> None:
        self._values[policy] = self._values.get(policy, 0.0) + value

    def remove(self, policy: tuple[str, str]) -> None:
        self._values.pop(policy, None)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return [GaugeMetricFamily(self._name, self._text, labels=_LABELS)]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._text, labels=_LABELS)
        for policy, value in list(self._values.items()):
            family.add_metric(policy, value)
        yield family


class BackupMetrics:
    """The metrics of all policies, in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str) -> _Gauge:
            made = _Gauge(name, text)
            registry.register(made)
            return made

        self._size = gauge("kubedr_backup_size_bytes", "Bytes that the last good backup holds.")
        self._all = gauge("kubedr_num_backups", "Finished backups.")
        self._good = gauge("kubedr_num_successful_backups", "Backups that succeeded and were proven.")
        self._bad = gauge("kubedr_num_failed_backups", "Backups that failed.")
        self._duration = Histogram(
            "kubedr_backup_duration_seconds",
            "Time that a good backup took.",
            _LABELS,
            registry=registry,
            buckets=_BUCKETS,
        )
        self._last_success = gauge(
            "kubedr_backup_last_success_timestamp_seconds", "When the last good backup finished."
        )
        self._failures = gauge(
            "kubedr_backup_consecutive_failures", "Backups that failed since the last good one."
        )
        self._next = gauge(
            "kubedr_backup_next_schedule_timestamp_seconds", "When the next backup is due; 0 if suspended."
        )
        self._overdue = gauge(
            "kubedr_backup_overdue_timestamp_seconds",
            "When the second backup after the last good one is due; 0 if suspended.",
        )
        self._missed = gauge("kubedr_num_missed_backups", "Backups that were due and never started.")
        self._ready = gauge("kubedr_policy_ready", "1 if the policy's condition Ready holds, else 0.")
        self._drill = gauge("kubedr_drill_success", "1 if the last drill brought the backup back, else 0.")
        self._drill_time = gauge("kubedr_drill_timestamp_seconds", "When the last drill finished.")
        self._recovery = gauge(
            "kubedr_recovery_duration_seconds", "Time that the last good drill took to bring a backup back."
        )
        self._next_drill = gauge(
            "kubedr_drill_next_schedule_timestamp_seconds", "When the next drill is due."
        )
        self._certificates = gauge(
            "kubedr_backup_certificates_expire_timestamp_seconds",
            "When the first of the certificates in the last good backup expires.",
        )
        self._unrestorable = gauge(
            "kubedr_backup_unrestorable_objects",
            "Objects in the last good backup that no key in it can decrypt.",
        )
        self._known: set[tuple[str, str]] = set()

    def succeeded(self, namespace: str, policy: str, *, size: int, seconds: float) -> None:
        """Count a good backup of `size` bytes."""
        self._count(namespace, policy, good=1, bad=0)
        self._size.set((namespace, policy), size)
        self._duration.labels(namespace, policy).observe(seconds)

    def failed(self, namespace: str, policy: str) -> None:
        """Count a failed backup."""
        self._count(namespace, policy, good=0, bad=1)

    def observe(
        self,
        namespace: str,
        policy: str,
        *,
        last_success: datetime | None,
        consecutive_failures: int,
        next_schedule: datetime | None,
        overdue: datetime | None,
        missed: int,
        ready: bool,
    ) -> None:
        """Show what a policy's status says. Never having succeeded shows as 0, and so as very old."""
        # The counts exist from the start: an alert on a series that does not exist yet never fires.
        self._count(namespace, policy, good=0, bad=0)
        key = (namespace, policy)
        self._last_success.set(key, last_success.timestamp() if last_success else 0)
        self._failures.set(key, consecutive_failures)
        self._next.set(key, next_schedule.timestamp() if next_schedule else 0)
        self._overdue.set(key, overdue.timestamp() if overdue else 0)
        self._missed.set(key, missed)
        self._ready.set(key, 1 if ready else 0)

    def newest(
        self,
        namespace: str,
        policy: str,
        *,
        certificates_expire: datetime | None,
        unrestorable: int | None,
    ) -> None:
        """Show what is known of the last good backup. What is not known has no series."""
        _show(self._certificates, (namespace, policy), _seconds(certificates_expire))
        _show(self._unrestorable, (namespace, policy), unrestorable)

    def drill_due(self, namespace: str, policy: str, time: datetime | None) -> None:
        """Show when a policy's next drill is due. Without a schedule of drills there is no series."""
        _show(self._next_drill, (namespace, policy), _seconds(time))

    def drilled(
        self, namespace: str, policy: str, *, succeeded: bool, time: datetime, seconds: float | None
    ) -> None:
        """Show a policy's last finished drill. Without one there are no series."""
        key = (namespace, policy)
        self._known.add(key)
        self._drill.set(key, 1 if succeeded else 0)
        self._drill_time.set(key, time.timestamp())
        if seconds is not None:
            self._recovery.set(key, seconds)

    def remove(self, namespace: str, policy: str) -> None:
        """Remove the series of a deleted policy, so that nothing alerts on it."""
        key = (namespace, policy)
        if key not in self._known:
            return
        self._known.discard(key)
        for gauge in (
            self._size,
            self._all,
            self._good,
            self._bad,
            self._last_success,
            self._failures,
            self._next,
            self._overdue,
            self._missed,
            self._ready,
            self._drill,
            self._drill_time,
            self._recovery,
            self._next_drill,
            self._certificates,
            self._unrestorable,
        ):
            gauge.remove(key)
        with suppress(KeyError):  # a policy that never succeeded has no duration
            self._duration.remove(namespace, policy)

    def _count(self, namespace: str, policy: str, *, good: int, bad: int) -> None:
        key = (namespace, policy)
        self._known.add(key)
        self._all.add(key, good + bad)
        self._good.add(key, good)
        self._bad.add(key, bad)


def _seconds(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None


def _show(gauge: _Gauge, policy: tuple[str, str], value: float | None) -> None:
    if value is None:
        gauge.remove(policy)
    else:
        gauge.set(policy, value)
