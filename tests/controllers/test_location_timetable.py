"""When a location's maintenance is due."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubedr_server.api.backup_location import BackupLocation
from kubedr_server.controllers.location.timetable import CHECK, HEALTH, PRUNE, TASKS, due, scheduled
from support.kubedr_objects import NOW, a_condition, a_location, stamp

INIT = {"initStatus": "Completed", "initTime": stamp(NOW - timedelta(days=30))}


def the_location(
    uid: str = "uid-of-minio", status: dict[str, Any] | None = None, **spec: Any
) -> BackupLocation:
    location = a_location(status={**INIT, **(status or {})}, **spec)
    return location.model_copy(update={"metadata": location.metadata.model_copy(update={"uid": uid})})


@settings(deadline=None, max_examples=30)
@given(st.text(max_size=8), st.integers(0, 366 * 86400))
def test_a_schedule_is_moved_by_at_most_a_tenth_and_half_an_hour(uid: str, seconds: int) -> None:
    location, after = the_location(uid), NOW + timedelta(seconds=seconds)
    longest = {HEALTH: timedelta(minutes=6), CHECK: timedelta(minutes=30), PRUNE: timedelta(minutes=30)}
    for task in TASKS:
        found = scheduled(task, location, after)
        assert found is not None
        assert found > after
        moved = {
            HEALTH: timedelta(minutes=found.minute, seconds=found.second),
            CHECK: found - found.replace(hour=0, minute=0, second=0, microsecond=0),
            PRUNE: found - found.replace(hour=0, minute=0, second=0, microsecond=0),
        }[task]
        assert timedelta() <= moved <= longest[task]
        assert scheduled(task, location, found - timedelta(seconds=1)) == found


def test_locations_do_not_meet() -> None:
    times = {scheduled(CHECK, the_location(f"uid-{number}"), NOW) for number in range(20)}
    assert len(times) == 20


def test_what_was_due_while_the_server_was_down_is_due_once() -> None:
    location = the_location(status={"lastHealthTime": stamp(NOW - timedelta(hours=5, minutes=30))})
    first = due(HEALTH, location, NOW)
    assert first is not None
    assert NOW - timedelta(hours=5, minutes=30) < first < NOW - timedelta(hours=4)
    done = the_location(status={"lastHealthTime": stamp(NOW)})
    following = due(HEALTH, done, NOW)
    assert following is not None
    assert NOW < following <= NOW + timedelta(hours=1, minutes=6)


def test_a_new_repository_is_left_alone_for_a_while() -> None:
    location = the_location(status={"initTime": stamp(NOW)}, healthSchedule="*/15 * * * *")
    at = due(HEALTH, location, NOW)
    assert at is not None
    assert at >= NOW + timedelta(minutes=10)
    # What is asked for more often than that is done as often.
    often = the_location(status={"initTime": stamp(NOW)}, healthSchedule="@every 5s")
    assert due(HEALTH, often, NOW) == NOW + timedelta(seconds=10)


def test_a_repository_that_was_found_is_looked_at_at_once() -> None:
    condition = a_condition("Healthy", "Unknown", "NotCheckedYet", "it was there already")
    location = the_location(status={"initTime": stamp(NOW), "conditions": [condition]})
    assert due(HEALTH, location, NOW) == NOW
    check = due(CHECK, location, NOW)
    assert check is not None
    assert check > NOW


def test_a_changed_schedule_counts_at_once() -> None:
    status = {
        "observedGeneration": 1,
        "lastCheckTime": stamp(NOW - timedelta(hours=2)),
        "nextCheckTime": stamp(NOW + timedelta(days=3)),
    }
    sooner = the_location(status=status, checkSchedule="@hourly")
    at = due(CHECK, sooner, NOW)
    assert at is not None
    assert at <= NOW + timedelta(hours=1, minutes=6)
    rarer = the_location(status={**status, "observedGeneration": 0}, checkSchedule="@yearly")
    assert due(CHECK, rarer, NOW) == scheduled(CHECK, rarer, NOW)


@pytest.mark.fault
def test_a_clock_that_ran_a_day_ahead_puts_nothing_off() -> None:
    ahead = stamp(NOW + timedelta(days=1, hours=1))
    location = the_location(
        status={"observedGeneration": 1, "lastHealthTime": ahead, "nextHealthTime": ahead}
    )
    at = due(HEALTH, location, NOW)
    assert at is not None
    assert at <= NOW + timedelta(hours=1, minutes=6)


def test_nothing_is_due_while_maintenance_is_suspended() -> None:
    location = the_location(suspendMaintenance=True)
    assert [due(task, location, NOW) for task in TASKS] == [None, None, None]


def test_a_schedule_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ValueError, match=r"spec\.checkSchedule: "):
        due(CHECK, the_location(checkSchedule="61 * * * *"), NOW)
