"""The metrics of backups: KubeDR's names, and what alerts are made of."""

from datetime import timedelta

from prometheus_client import CollectorRegistry

from kubedr_server.ops.backup_metrics import BackupMetrics
from support.kubedr_objects import NOW

LABELS = {"namespace": "kubedr-system", "policyName": "nightly"}


def test_backups_are_counted_under_kubedrs_names() -> None:
    registry = CollectorRegistry()
    metrics = BackupMetrics(registry)
    metrics.succeeded("kubedr-system", "nightly", size=8192, seconds=2.5)
    metrics.failed("kubedr-system", "nightly")
    found = {
        name: registry.get_sample_value(name, LABELS)
        for name in (
            "kubedr_num_backups",
            "kubedr_num_successful_backups",
            "kubedr_num_failed_backups",
            "kubedr_backup_size_bytes",
            "kubedr_backup_duration_seconds_sum",
        )
    }
    assert list(found.values()) == [2, 1, 1, 8192, 2.5]


def test_a_policy_that_never_succeeded_has_series_to_alert_on() -> None:
    registry = CollectorRegistry()
    BackupMetrics(registry).observe(
        "kubedr-system",
        "nightly",
        last_success=None,
        consecutive_failures=3,
        next_schedule=NOW + timedelta(hours=1),
        overdue=NOW,
        missed=2,
        ready=False,
    )
    assert registry.get_sample_value("kubedr_backup_last_success_timestamp_seconds", LABELS) == 0
    assert registry.get_sample_value("kubedr_backup_consecutive_failures", LABELS) == 3
    assert registry.get_sample_value("kubedr_num_failed_backups", LABELS) == 0
    assert registry.get_sample_value("kubedr_num_missed_backups", LABELS) == 2
    assert registry.get_sample_value("kubedr_policy_ready", LABELS) == 0
    assert registry.get_sample_value("kubedr_backup_overdue_timestamp_seconds", LABELS) == NOW.timestamp()


def test_what_is_no_longer_known_has_no_series() -> None:
    registry = CollectorRegistry()
    metrics = BackupMetrics(registry)
    names = (
        "kubedr_backup_certificates_expire_timestamp_seconds",
        "kubedr_backup_unrestorable_objects",
        "kubedr_drill_next_schedule_timestamp_seconds",
    )
    metrics.newest("kubedr-system", "nightly", certificates_expire=NOW, unrestorable=0)
    metrics.drill_due("kubedr-system", "nightly", NOW)
    shown = [registry.get_sample_value(name, LABELS) for name in names]
    assert shown == [NOW.timestamp(), 0, NOW.timestamp()]
    metrics.newest("kubedr-system", "nightly", certificates_expire=None, unrestorable=None)
    metrics.drill_due("kubedr-system", "nightly", None)
    assert [registry.get_sample_value(name, LABELS) for name in names] == [None] * 3


def test_a_deleted_policy_leaves_no_series() -> None:
    registry = CollectorRegistry()
    metrics = BackupMetrics(registry)
    metrics.failed("kubedr-system", "nightly")
    metrics.failed("kubedr-system", "other")
    metrics.remove("kubedr-system", "nightly")
    metrics.remove("kubedr-system", "nightly")
    assert registry.get_sample_value("kubedr_num_backups", LABELS) is None
    assert registry.get_sample_value("kubedr_num_backups", {**LABELS, "policyName": "other"}) == 1
