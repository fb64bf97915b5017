"""What a record says while its location's repository is damaged."""

from typing import Any

from kubedr_server.controllers import doubt
from kubedr_server.controllers.retention import Keep, expired
from support.kubedr_objects import NOW, a_condition, a_record, location_object

DAMAGED = a_condition("Checked", "False", "RepositoryDamaged", "pack 5a is missing")
THERE = a_condition("SnapshotAvailable", "True", "Succeeded", "the repository holds the snapshot")
GONE = a_condition("SnapshotAvailable", "False", "SnapshotGone", "it is gone")
PROVEN = a_condition("Verified", "True", "Succeeded", "proven")


def said(location: list[Any], record: list[Any]) -> tuple[str, str] | None:
    """Return status and reason of SnapshotAvailable as they become; None if the record stays as it is."""
    found = doubt.status(
        a_record(status={"conditions": record}),
        {**location_object(), "status": {"conditions": location}},
        NOW,
    )
    if found is None:
        return None
    known = {each.type: (each.status, each.reason) for each in found.conditions}
    return known["SnapshotAvailable"]


def test_all_records_of_a_damaged_repository_are_in_doubt() -> None:
    assert said([DAMAGED], [PROVEN, THERE]) == ("Unknown", "RepositoryDamaged")
    assert said([DAMAGED], [PROVEN]) == ("Unknown", "RepositoryDamaged")


def test_a_snapshot_that_is_gone_is_not_in_doubt() -> None:
    assert said([DAMAGED], [PROVEN, GONE]) is None


def test_the_doubt_ends_with_the_damage_and_nothing_else_is_touched() -> None:
    in_doubt = a_condition("SnapshotAvailable", "Unknown", "RepositoryDamaged", "in doubt")
    unable = a_condition("Checked", "Unknown", "StorageUnreachable", "no answer")
    assert said([DAMAGED], [PROVEN, in_doubt]) is None
    assert said([a_condition("Checked", "True", "Succeeded", "whole")], [PROVEN, in_doubt]) == (
        "True",
        "Succeeded",
    )
    assert said([unable], [PROVEN, THERE]) is None
    assert said([], [PROVEN]) is None


def test_what_is_in_doubt_neither_expires_nor_pushes_out() -> None:
    in_doubt = a_condition("SnapshotAvailable", "Unknown", "RepositoryDamaged", "in doubt")
    records = [
        a_record(f"{number:08x}".ljust(64, "0"), status={"conditions": [PROVEN, in_doubt]})
        for number in (1, 2)
    ]
    assert expired([*records, a_record()], Keep(1)) == []
