"""What a snapshot's tags and summary say about it, without a look at its files."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kubedr_server.contract import BackupResult
from kubedr_server.runner.catalogue import entry, from_snapshot, tags
from kubedr_server.runner.restic_messages import BackupSummary, Snapshot
from kubedr_server.runner.settings import (
    BackupSettings,
    EtcdSettings,
    RepositorySettings,
    RunSettings,
    StorageKeys,
)

SETTINGS = BackupSettings(
    RunSettings("run-1", Path("/scratch"), 60.0, "0b2f4cbe", "/bin"),
    RepositorySettings("s3:https://s3.example.com/b", Path("/p"), StorageKeys("a", "s")),
    EtcdSettings(("https://127.0.0.1:2379",), Path("/c"), Path("/c"), Path("/k")),
    "backup-system/every-hour",
    None,
)
SIZES = {"etcd-snapshot.db": 20512, "certificates/ca.crt": 100, "certificates/ca.key": 50}
SUMMARY = BackupSummary(
    files_new=1,
    files_changed=2,
    data_blobs=9,
    data_added=30000,
    data_added_packed=9000,
    total_files_processed=3,
    total_bytes_processed=20662,
)


def a_result(**changes: Any) -> BackupResult:
    fields: dict[str, Any] = {
        "snapshot_id": "a" * 64,
        "revision": 5,
        "minimum_revision": 4,
        "hash": "4f1d0c3a",
        "total_keys": 7,
        "sha256": "b" * 64,
        "snapshot_size": 20512,
        "snapshot_format": "file",
        "etcd_version": "3.5.30",
        "etcd_endpoint": "https://127.0.0.1:2379",
        "certificate_files": 2,
        "files_new": 1,
        "files_changed": 2,
        "data_added": 30000,
        "data_stored": 9000,
        "total_bytes_processed": 20662,
        "total_duration_secs": 0.0,
        "certificates_expire": datetime(2027, 1, 1, 12, 30, tzinfo=UTC),
        "encrypted_objects": 4,
        "unrestorable_objects": 1,
    }
    return BackupResult.model_validate(fields | changes)


def a_snapshot(
    written: list[str] | None = None, without: str = "", summary: BackupSummary | None = SUMMARY
) -> Snapshot:
    named = tags(SETTINGS, a_result(), SIZES) if written is None else written
    return Snapshot(
        id="a" * 64,
        time=datetime(2026, 1, 1, tzinfo=UTC),
        tags=[tag for tag in named if not without or not tag.startswith(f"{without}=")],
        hostname="kubedr-0b2f4cbe",
        summary=summary,
    )


def summary(**changes: int) -> BackupSummary:
    return SUMMARY.model_copy(update=changes)


def test_a_whole_snapshot_gives_back_the_result_that_it_was_tagged_with() -> None:
    told = entry(a_snapshot())
    assert (told.cluster_id, told.policy, told.run_id) == ("0b2f4cbe", "backup-system/every-hour", "run-1")
    assert told.complete
    assert told.why is None
    assert told.backup == a_result() == from_snapshot(a_snapshot(), SIZES)


def test_segments_are_judged_by_their_sum() -> None:
    result = a_result(snapshot_format="segments", certificate_files=0)
    sizes = {f"etcd-segments/{number}": 1000 for number in range(9)}
    written = tags(SETTINGS, result, sizes)
    whole = summary(total_files_processed=9, total_bytes_processed=9000)
    assert from_snapshot(a_snapshot(written, summary=whole), sizes) is not None
    del sizes["etcd-segments/3"]
    assert from_snapshot(a_snapshot(written, summary=whole), sizes) is None
    short = entry(a_snapshot(written, summary=summary(total_files_processed=8, total_bytes_processed=8000)))
    assert (short.complete, short.why) == (False, "it has 8 files of 9")


@pytest.mark.parametrize(
    ("snapshot", "why"),
    [
        (a_snapshot([]), "these tags of it are missing or wrong: certificates, etcd-endpoint, etcd-version"),
        (a_snapshot(without="sha256"), "missing or wrong: sha256"),
        (a_snapshot([*tags(SETTINGS, a_result()), "revision=x"][1:], without="hash"), "wrong: hash"),
        (a_snapshot(["revision=x", *tags(SETTINGS, a_result())]), "wrong: revision"),
        (a_snapshot(summary=None), "no summary"),
        (a_snapshot(summary=summary(total_files_processed=2)), "2 files of 3"),
        (a_snapshot(summary=summary(total_bytes_processed=20661)), "20661 bytes and not 20662"),
        (
            a_snapshot(tags(SETTINGS, a_result()), summary=summary(total_bytes_processed=9)),
            "9 bytes of 20512",
        ),
        (a_snapshot(tags(SETTINGS, a_result()), summary=summary(total_files_processed=2)), "2 files of 3"),
    ],
)
def test_a_snapshot_that_is_no_backup_says_what_it_lacks(snapshot: Snapshot, why: str) -> None:
    told = entry(snapshot)
    assert not told.complete
    assert told.backup is None
    assert why in str(told.why)
    assert from_snapshot(snapshot) is None


def test_a_snapshot_from_before_the_sums_were_tagged_still_counts() -> None:
    assert entry(a_snapshot(tags(SETTINGS, a_result()))).complete
