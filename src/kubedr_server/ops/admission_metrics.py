"""What is measured of the admission webhooks."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class AdmissionMetrics:
    """The webhooks' metrics. Label values come from closed lists, never from what a client sends."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.reviews = Counter(
            "kubedr_admission_reviews",
            "Admission reviews that were answered with their uid.",
            ("webhook", "kind", "operation", "outcome"),
            registry=registry,
        )
        self.seconds = Histogram(
            "kubedr_admission_review_duration_seconds",
            "Time from a review's last byte to its answer.",
            ("webhook",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.refused_requests = Counter(
            "kubedr_admission_http_errors",
            "Requests to the webhooks that were answered with an HTTP error.",
            ("webhook", "code"),
            registry=registry,
        )
        self.in_flight = Gauge(
            "kubedr_admission_requests_in_flight", "Requests to the webhooks now.", registry=registry
        )
