"""Metrics of backup locations: what alerts on storage, damage and lost snapshots are made of.

All are set from the locations' status, so they are right again at once after a restart.
"""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge

_LABELS = ("namespace", "locationName")

_FIGURES = {
    "repository_size": ("kubedr_repository_size_bytes", "Bytes that the repository takes in the storage."),
    "snapshots": ("kubedr_repository_snapshots", "Backups in the repository, of all policies and clusters."),
    "locks": ("kubedr_repository_locks", "Locks that the last look found in the repository."),
}
_TIMES = {
    "health": ("kubedr_location_last_health_timestamp_seconds", "When the repository was last looked at."),
    "check": ("kubedr_location_last_check_timestamp_seconds", "When the last check finished."),
    "full_check": (
        "kubedr_location_last_full_check_timestamp_seconds",
        "When all data had last been read back without a fault.",
    ),
    "prune": ("kubedr_location_last_prune_timestamp_seconds", "When room was last freed."),
}


class LocationMetrics:
    """The metrics of all locations, in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, _LABELS, registry=registry)

        self._ready = gauge("kubedr_location_ready", "1 if the location's condition Ready holds, else 0.")
        self._healthy = gauge(
            "kubedr_location_healthy", "0 if the last look at the repository failed, else 1."
        )
        self._checked = gauge(
            "kubedr_location_checked", "0 if the last check found the repository damaged, else 1."
        )
        self._gone = gauge("kubedr_records_snapshot_gone", "Records whose snapshot is not there any more.")
        self._figures = {name: gauge(*metric) for name, metric in _FIGURES.items()}
        self._times = {name: gauge(*metric) for name, metric in _TIMES.items()}
        self._known: set[tuple[str, str]] = set()

    def observe(
        self,
        namespace: str,
        location: str,
        *,
        ready: bool,
        healthy: bool,
        checked: bool,
        gone: int,
        figures: Mapping[str, int | None],
        times: Mapping[str, datetime | None],
    ) -> None:
        """Show what a location's status says. What never happened shows as 0, and so as very old.

        `figures` has `repository_size`, `snapshots` and `locks`; `times` has `health`, `check`, `full_check`
        and `prune`. A figure that is not known yet has no series.
        """
        labels = (namespace, location)
        self._known.add(labels)
        self._ready.labels(*labels).set(ready)
        self._healthy.labels(*labels).set(healthy)
        self._checked.labels(*labels).set(checked)
        self._gone.labels(*labels).set(gone)
        for name, moment in times.items():
            self._times[name].labels(*labels).set(moment.timestamp() if moment else 0)
        for name, figure in figures.items():
            if figure is not None:
                self._figures[name].labels(*labels).set(figure)

    def remove(self, namespace: str, location: str) -> None:
        """Remove the series of a deleted location, so that nothing alerts on it."""
        if (namespace, location) not in self._known:
            return
        self._known.discard((namespace, location))
        for metric in (
            self._ready,
            self._healthy,
            self._checked,
            self._gone,
            *self._figures.values(),
            *self._times.values(),
        ):
            with suppress(KeyError):
                metric.remove(namespace, location)
