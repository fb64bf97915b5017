"""Metrics of backups, under the names that KubeDR documents, and the ages that alerts are made of.

The counts are gauges that only grow, because the client library appends `_total` to a counter's name
and the documented names have none; `rate` and `increase` work on them all the same. They start at
zero with the process. What alerts need (last success, failures in a row) is set from the
policies' status, so it is right again at once after a restart.
"""

from contextlib import suppress
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge, Histogram

_LABELS = ("namespace", "policyName")
_BUCKETS = (1, 5, 15, 30, 60, 300, 600, 900, 1800, 3600, 7200, 14400, 36000)


class BackupMetrics:
    """The metrics of all policies, in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, _LABELS, registry=registry)

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
        self._missed = gauge("kubedr_num_missed_backups", "Backups that were due and never started.")
        self._ready = gauge("kubedr_policy_ready", "1 if the policy's condition Ready holds, else 0.")
        self._drill = gauge("kubedr_drill_success", "1 if the last drill brought the backup back, else 0.")
        self._drill_time = gauge("kubedr_drill_timestamp_seconds", "When the last drill finished.")
        self._recovery = gauge(
            "kubedr_recovery_duration_seconds", "Time that the last good drill took to bring a backup back."
        )
        self._known: set[tuple[str, str]] = set()

    def succeeded(self, namespace: str, policy: str, *, size: int, seconds: float) -> None:
        """Count a good backup of `size` bytes."""
        self._count(namespace, policy, good=1, bad=0)
        self._size.labels(namespace, policy).set(size)
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
        missed: int,
        ready: bool,
    ) -> None:
        """Show what a policy's status says. Never having succeeded shows as 0, and so as very old."""
        # The counts exist from the start: an alert on a series that does not exist yet never fires.
        self._count(namespace, policy, good=0, bad=0)
        labels = (namespace, policy)
        self._last_success.labels(*labels).set(last_success.timestamp() if last_success else 0)
        self._failures.labels(*labels).set(consecutive_failures)
        self._next.labels(*labels).set(next_schedule.timestamp() if next_schedule else 0)
        self._missed.labels(*labels).set(missed)
        self._ready.labels(*labels).set(1 if ready else 0)

    def drilled(
        self, namespace: str, policy: str, *, succeeded: bool, time: datetime, seconds: float | None
    ) -> None:
        """Show a policy's last finished drill. Without one there are no series."""
        self._known.add((namespace, policy))
        labels = (namespace, policy)
        self._drill.labels(*labels).set(1 if succeeded else 0)
        self._drill_time.labels(*labels).set(time.timestamp())
        if seconds is not None:
            self._recovery.labels(*labels).set(seconds)

    def remove(self, namespace: str, policy: str) -> None:
        """Remove the series of a deleted policy, so that nothing alerts on it."""
        if (namespace, policy) not in self._known:
            return
        self._known.discard((namespace, policy))
        for metric in (
            self._size,
            self._all,
            self._good,
            self._bad,
            self._duration,
            self._last_success,
            self._failures,
            self._next,
            self._missed,
            self._ready,
            self._drill,
            self._drill_time,
            self._recovery,
        ):
            # A policy that never succeeded has no size and no duration; one without drills has no drill.
            with suppress(KeyError):
                metric.remove(namespace, policy)

    def _count(self, namespace: str, policy: str, *, good: int, bad: int) -> None:
        self._known.add((namespace, policy))
        self._all.labels(namespace, policy).inc(good + bad)
        self._good.labels(namespace, policy).inc(good)
        self._bad.labels(namespace, policy).inc(bad)
