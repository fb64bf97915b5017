"""Runs that were due and never began are found, each once, and nothing else is taken for one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicy
from kubedr_server.controllers.policy import neglect
from kubedr_server.controllers.policy.missed import (
    GRACE,
    Missed,
    Seen,
    look,
    scheduled_time,
    times_of,
    windows,
)
from support.kubedr_objects import NOW, RUNNER, a_job, a_policy, completed, stamp

EVERY_TEN = "*/10 * * * *"
NOTHING = Seen(frozenset(), NOW - timedelta(days=9))


def minutes(*numbers: int) -> frozenset[datetime]:
    return frozenset(NOW + timedelta(minutes=number) for number in numbers)


def looked(until: int, seen: Seen, deadline: int | None = None, schedule: str = EVERY_TEN) -> Missed:
    """Look at NOW plus `until` minutes, when all up to NOW was accounted for."""
    return look(schedule, None, NOW, NOW + timedelta(minutes=until), deadline, seen)


def test_what_has_a_job_is_accounted_for_at_once() -> None:
    found = looked(31, replace(NOTHING, started=minutes(10, 20, 30)))
    assert found == Missed(NOW + timedelta(minutes=30))


def test_a_run_has_two_minutes_to_begin() -> None:
    found = looked(11, NOTHING)
    assert (found.count, found.overdue) == (0, None)
    assert found.look_again == NOW + timedelta(minutes=10) + GRACE


def test_a_run_that_can_still_begin_is_overdue_and_not_missed() -> None:
    found = looked(15, NOTHING)
    assert (found.count, found.overdue) == (0, NOW + timedelta(minutes=10))
    assert found.look_again == NOW + timedelta(minutes=20) + GRACE


def test_a_run_is_missed_once_the_next_one_takes_its_place() -> None:
    found = looked(22, replace(NOTHING, started=minutes(20)))
    assert (found.count, found.first, found.overdue) == (1, NOW + timedelta(minutes=10), None)
    assert found.checked_until == NOW + timedelta(minutes=20)


def test_a_run_is_missed_once_its_deadline_is_over() -> None:
    assert looked(13, NOTHING, deadline=60).count == 1
    assert looked(13, NOTHING, deadline=90).count == 0


def test_a_run_that_came_while_the_one_before_ran_is_told_as_such() -> None:
    ran = ((NOW + timedelta(minutes=5), NOW + timedelta(minutes=15)),)
    assert looked(22, replace(NOTHING, started=minutes(20), running=ran)).because_busy == 1
    still = ((NOW + timedelta(minutes=5), None),)
    assert looked(22, replace(NOTHING, started=minutes(20), running=still)).because_busy == 1


def test_after_a_start_what_left_no_trace_waits_for_the_repositorys_list() -> None:
    just_started = Seen(minutes(60), trusted_since=NOW + timedelta(minutes=61))
    assert looked(62, just_started).checked_until == NOW
    recorded = replace(
        just_started,
        recorded=tuple(minutes(11, 21, 31)),
        catalogue_time=NOW + timedelta(minutes=62),
    )
    found = looked(63, recorded)
    assert (found.count, found.first, found.last) == (
        2,
        NOW + timedelta(minutes=40),
        NOW + timedelta(minutes=50),
    )


def test_after_a_start_without_any_list_it_is_told_all_the_same() -> None:
    started = Seen(frozenset(), trusted_since=NOW + timedelta(minutes=60))
    assert looked(181, started).count == 16


def test_a_hundred_and_fifty_ticks_without_a_server_are_all_accounted_for() -> None:
    down = Seen(minutes(1490, 1500), NOW + timedelta(minutes=1501), catalogue_time=NOW + timedelta(days=2))
    found = looked(1501, down)
    assert (found.count, found.checked_until) == (148, NOW + timedelta(minutes=1500))


def test_a_month_of_minutes_is_looked_at_in_portions() -> None:
    total, since = 0, NOW
    now = NOW + timedelta(days=3)
    while True:
        found = look("* * * * *", None, since, now, None, NOTHING)
        total += found.count
        since = found.checked_until
        if found.look_again is None or found.look_again > now:
            break
    assert total == 3 * 24 * 60 - 3  # the last three can still begin


@pytest.mark.parametrize(
    ("day", "count"), [(datetime(2026, 3, 29, tzinfo=UTC), 23), (datetime(2026, 10, 25, tzinfo=UTC), 25)]
)
def test_a_day_has_as_many_hours_as_the_clock_shows(day: datetime, count: int) -> None:
    midnight = day - timedelta(hours=1 if day.month == 3 else 2)  # Berlin's midnight, as UTC
    end = midnight + timedelta(hours=count)
    found = look("0 * * * *", "Europe/Berlin", midnight, end + timedelta(hours=1, minutes=5), None, NOTHING)
    assert found.count == count


@pytest.mark.parametrize("schedule", ["@every 10m", "never", "@reboot"])
def test_schedules_without_times_of_their_own_are_not_judged(schedule: str) -> None:
    assert looked(600, NOTHING, schedule=schedule).count == 0


@given(st.sets(st.integers(1, 40)), st.lists(st.integers(0, 420), max_size=20))
def test_every_time_is_accounted_for_exactly_once_however_often_one_looks(
    started: set[int], looks: list[int]
) -> None:
    seen = replace(NOTHING, started=minutes(*(10 * number for number in started)))
    since, count = NOW, 0
    for minute in [*sorted(looks), 420]:
        found = look(EVERY_TEN, None, since, NOW + timedelta(minutes=minute), None, seen)
        count += found.count
        since = found.checked_until
    # 410 minutes are decided at 420, the time after it is not.
    assert count == len(set(range(1, 41)) - started)


def test_a_jobs_time_is_read_from_its_annotation_or_its_name() -> None:
    noted = a_job("nightly-backup-cronjob-29000000")
    noted["metadata"]["annotations"] = {
        "batch.kubernetes.io/cronjob-scheduled-timestamp": "2026-03-01T13:00:00+01:00"
    }
    assert scheduled_time(noted, "nightly-backup-cronjob") == datetime(2026, 3, 1, 12, tzinfo=UTC)
    named = a_job("nightly-backup-cronjob-29000000")
    assert scheduled_time(named, "nightly-backup-cronjob") == datetime.fromtimestamp(29000000 * 60, UTC)
    assert scheduled_time(a_job("by-hand"), "nightly-backup-cronjob") is None


def test_the_last_start_that_the_cronjob_knows_counts_without_its_job() -> None:
    cronjob = {"metadata": {"name": "c"}, "status": {"lastScheduleTime": stamp(NOW)}}
    assert times_of([], cronjob) == {NOW}


def test_a_jobs_window_ends_with_it() -> None:
    running = a_job("a")
    running["status"] = {"startTime": stamp(NOW)}
    assert windows([running, a_job("waiting")]) == ((NOW, None),)
    ended = completed(a_job("b"))
    ended["status"]["startTime"] = stamp(NOW - timedelta(minutes=1))
    ((start, end),) = windows([ended])
    assert start == NOW - timedelta(minutes=1)
    assert end is not None


def known(policy: MetadataBackupPolicy, seen: Seen, at: datetime) -> MetadataBackupPolicy:
    update = neglect.fields(policy, neglect.find(policy, seen, RUNNER, at), RUNNER)
    return policy.model_copy(update={"status": policy.status.model_copy(update=update)})


def test_a_policy_counts_what_it_missed_and_says_so_until_a_backup_finishes() -> None:
    policy = known(a_policy(), NOTHING, NOW)
    late = NOW + timedelta(minutes=33)
    found = neglect.find(policy, NOTHING, RUNNER, late)
    assert found is not None
    assert neglect.events(found)[0].message == (
        "2 backups, due from 2026-03-01T12:10:00Z to 2026-03-01T12:20:00Z, never started"
    )
    assert str(neglect.sentence(policy, found, None, late)).startswith(
        "a backup was due at 2026-03-01T12:30:00Z and has not started"
    )
    after = known(policy, NOTHING, late)
    assert (after.status.missed_runs, after.status.last_missed_time) == (2, NOW + timedelta(minutes=20))
    accounted = Missed(late)
    assert neglect.sentence(after, accounted, None, late) == (
        "the backup that was due at 2026-03-01T12:20:00Z never started"
    )
    assert neglect.sentence(after, accounted, late, late) is None


@pytest.mark.parametrize(
    "change", [{"suspend": True}, {"schedule": "*/5 * * * *"}, {"timeZone": "Asia/Tokyo"}]
)
def test_a_pause_or_another_schedule_begins_the_count_anew(change: dict[str, Any]) -> None:
    policy = known(a_policy(), NOTHING, NOW)
    changed = a_policy(status=policy.status.to_wire(), **change)
    after = known(changed, NOTHING, NOW + timedelta(hours=5))
    assert after.status.missed_runs is None
    expected = None if change.get("suspend") else NOW + timedelta(hours=5)
    assert after.status.missed_checked_time == expected


def seen_by(policy: MetadataBackupPolicy) -> Seen:
    return replace(NOTHING, told_until=policy.status.last_missed_time)


def test_a_run_that_a_clock_which_was_ahead_has_told_to_be_missed_is_not_told_again() -> None:
    policy = known(known(a_policy(), NOTHING, NOW), NOTHING, NOW + timedelta(minutes=42))
    assert policy.status.missed_runs == 3
    # The clock is put right: it is a moment after NOW again, and then time passes.
    for passed in range(1, 60):
        now = NOW + timedelta(minutes=passed)
        found = neglect.find(policy, seen_by(policy), RUNNER, now)
        if passed < 10:
            assert neglect.sentence(policy, found, None, now) is None
        policy = known(policy, seen_by(policy), now)
    # At 12:10, 12:20 and 12:30, which were told, and at 12:40.
    assert policy.status.missed_runs == 4


def test_what_was_told_ahead_silences_no_other_schedule() -> None:
    policy = known(known(a_policy(), NOTHING, NOW), NOTHING, NOW + timedelta(days=1))
    assert policy.status.missed_runs == 142
    changed = a_policy(status=policy.status.to_wire(), schedule="*/5 * * * *")
    changed = known(changed, seen_by(changed), NOW)
    assert known(changed, seen_by(changed), NOW + timedelta(minutes=13)).status.missed_runs == 143


def test_a_clock_that_was_set_back_a_day_does_not_silence_the_count() -> None:
    ahead = known(a_policy(), NOTHING, NOW + timedelta(days=1))
    back = known(ahead, NOTHING, NOW)
    found = neglect.find(back, NOTHING, RUNNER, NOW + timedelta(minutes=25))
    assert found is not None
    assert found.count == 1
