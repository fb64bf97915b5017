"""Retention deletes exactly what the policy says, and never the newest good backup."""

import random
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from kubedr_server.controllers.retention import expired
from support.kubedr_objects import NOW, a_record, stamp


def snapshot(number: int) -> str:
    return f"{number:08x}".ljust(64, "0")


def test_the_oldest_go_first() -> None:
    records = [a_record(snapshot(age), age=timedelta(hours=age)) for age in (3, 1, 4, 2)]
    assert [record.metadata.name for record in expired(records, 2)] == ["mbr-00000004", "mbr-00000003"]


def test_an_unverified_record_neither_counts_nor_goes() -> None:
    records = [
        a_record(snapshot(1), age=timedelta(hours=1), verified=False),
        a_record(snapshot(2), age=timedelta(hours=2)),
        a_record(snapshot(3), age=timedelta(hours=3), verified=False),
    ]
    assert expired(records, 1) == []


def test_a_record_that_is_being_deleted_does_not_count() -> None:
    records = [
        a_record(snapshot(1), age=timedelta(hours=1), deletionTimestamp=stamp(NOW)),
        a_record(snapshot(2), age=timedelta(hours=2)),
    ]
    assert expired(records, 1) == []


def test_the_newest_good_one_stays_whatever_is_asked() -> None:
    records = [a_record(snapshot(1)), a_record(snapshot(2), age=timedelta(hours=2))]
    assert [record.metadata.name for record in expired(records, 0)] == ["mbr-00000002"]


def test_without_a_backup_time_the_creation_counts() -> None:
    old = a_record(snapshot(1), creationTimestamp=stamp(NOW - timedelta(days=9)), status={"backupTime": None})
    new = a_record(snapshot(2), creationTimestamp=stamp(NOW - timedelta(days=2)), status={"backupTime": None})
    assert expired([new, old], 1) == [old]


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
    gone = expired(records, keep)
    kept = [record for record in good if record not in gone]
    assert all(record in good for record in gone)
    assert len(kept) == min(len(good), max(keep, 1))
    times = [record.status.backup_time for record in gone if record.status.backup_time]
    assert not times or max(times) <= min(
        record.status.backup_time for record in kept if record.status.backup_time
    )
