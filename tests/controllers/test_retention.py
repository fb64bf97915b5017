"""Retention deletes exactly what the policy says, and never the newest good backup."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from kubedr_server.api.metadata_backup_record import MetadataBackupRecord
from kubedr_server.controllers.retention import Keep, expired
from support.kubedr_objects import NOW, a_condition, a_record, stamp


def snapshot(number: int) -> str:
    return f"{number:08x}".ljust(64, "0")


def test_the_oldest_go_first() -> None:
    records = [a_record(snapshot(age), age=timedelta(hours=age)) for age in (3, 1, 4, 2)]
    assert [record.metadata.name for record in expired(records, Keep(2))] == ["mbr-00000004", "mbr-00000003"]


def test_the_backup_that_was_told_last_stays_though_its_time_is_the_oldest() -> None:
    # The API server's clock was set back before it was made.
    records = [a_record(snapshot(age), age=timedelta(hours=age)) for age in (9, 2, 1)]
    gone = expired(records, Keep(1), last_told="mbr-00000009")
    assert [record.metadata.name for record in gone] == ["mbr-00000002"]


def test_an_unverified_record_neither_counts_nor_goes() -> None:
    records = [
        a_record(snapshot(1), age=timedelta(hours=1), verified=False),
        a_record(snapshot(2), age=timedelta(hours=2)),
        a_record(snapshot(3), age=timedelta(hours=3), verified=False),
    ]
    assert expired(records, Keep(1)) == []


def test_a_record_that_is_being_deleted_does_not_count() -> None:
    records = [
        a_record(snapshot(1), age=timedelta(hours=1), deletionTimestamp=stamp(NOW)),
        a_record(snapshot(2), age=timedelta(hours=2)),
    ]
    assert expired(records, Keep(1)) == []


def test_what_another_cluster_made_neither_counts_nor_goes() -> None:
    foreign = {"labels": {"kubedr.catalogicsoftware.com/foreign-cluster": "another"}}
    records = [
        a_record(snapshot(1), age=timedelta(hours=1), **foreign),
        a_record(snapshot(2), age=timedelta(hours=2)),
        a_record(snapshot(3), age=timedelta(hours=3), **foreign),
    ]
    assert expired(records, Keep(1)) == []


def test_a_snapshot_that_is_gone_pushes_none_out_that_is_there() -> None:
    proven = a_condition("Verified", "True", "Succeeded", "proven")
    gone = a_condition("SnapshotAvailable", "False", "SnapshotGone", "it is gone")
    records = [
        a_record(snapshot(1), age=timedelta(hours=1), status={"conditions": [proven, gone]}),
        a_record(snapshot(2), age=timedelta(hours=2)),
    ]
    assert expired(records, Keep(1)) == []


def test_the_newest_good_one_stays_whatever_is_asked() -> None:
    records = [a_record(snapshot(1)), a_record(snapshot(2), age=timedelta(hours=2))]
    assert [record.metadata.name for record in expired(records, Keep(0))] == ["mbr-00000002"]


def named(records: Sequence[MetadataBackupRecord]) -> list[int]:
    return [int(record.spec.snapshot_id[:8], 16) for record in records]


def at(number: int, moment: datetime) -> MetadataBackupRecord:
    return a_record(snapshot(number), creationTimestamp=stamp(moment), status={"backupTime": stamp(moment)})


def test_the_newest_of_each_hour_day_week_and_month_stays_as_long_as_a_rule_says() -> None:
    # Every six hours for 70 days, up to a Thursday's noon.
    noon = datetime(2026, 11, 19, 12, tzinfo=UTC)
    records = [at(number, noon - timedelta(hours=6 * number)) for number in range(280)]

    kept = set(range(280)) - set(named(expired(records, Keep(2, hourly=3, daily=4, weekly=3, monthly=3))))

    # 0: 19 November; the days before end at 18:00 (3, 7, 11); Sundays 15 and 8 November (15, 43).
    # October's last (75) and September's last (199).
    assert kept == {0, 1, 2, 3, 7, 11, 15, 43, 75, 199}


def test_a_rule_counts_only_periods_that_have_a_backup() -> None:
    moments = [datetime(2026, month, 3, tzinfo=UTC) for month in (1, 4, 9, 11)]
    records = [at(number, moment) for number, moment in enumerate(moments)]
    assert named(expired(records, Keep(1, monthly=3))) == [0]


def test_a_clock_that_runs_ahead_does_not_make_a_backup_the_newest_for_ever() -> None:
    forged = a_record(
        snapshot(1),
        creationTimestamp=stamp(NOW - timedelta(days=2)),
        status={"backupTime": stamp(NOW + timedelta(days=999))},
    )
    newer = a_record(snapshot(2), age=timedelta(hours=1))
    assert expired([forged, newer], Keep(1)) == [forged]


def test_without_a_backup_time_the_creation_counts() -> None:
    old = a_record(snapshot(1), creationTimestamp=stamp(NOW - timedelta(days=9)), status={"backupTime": None})
    new = a_record(snapshot(2), creationTimestamp=stamp(NOW - timedelta(days=2)), status={"backupTime": None})
    assert expired([new, old], Keep(1)) == [old]


@given(
    st.lists(st.tuples(st.integers(0, 50), st.booleans(), st.booleans()), max_size=20),
    st.integers(0, 12),
    st.randoms(),
)
def test_what_is_kept_is_always_the_newest_good_ones(
    made: list[tuple[int, bool, bool]], keep: int, shuffler: random.Random
) -> None:
    records = [
        a_record(
            snapshot(number),
            age=timedelta(hours=age),
            verified=verified,
            **({"deletionTimestamp": stamp(NOW)} if deleting else {}),
        )
        for number, (age, verified, deleting) in enumerate(made)
    ]
    good = [
        record
        for record, (_, verified, deleting) in zip(records, made, strict=True)
        if verified and not deleting
    ]
    shuffler.shuffle(records)
    gone = expired(records, Keep(keep))
    kept = [record for record in good if record not in gone]
    assert all(record in good for record in gone)
    assert len(kept) == min(len(good), max(keep, 1))
    times = [record.status.backup_time for record in gone if record.status.backup_time]
    assert not times or max(times) <= min(
        record.status.backup_time for record in kept if record.status.backup_time
    )
