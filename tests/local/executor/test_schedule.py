"""Which run of a CronJob is due."""

from datetime import UTC, datetime, timedelta

import pytest

from kubedr_server.api import cron_times
from kubedr_server.api.cron_times import Next
from kubedr_server.local.executor import schedule
from kubedr_server.local.executor.schedule import Due

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def every(minutes: int) -> Next:
    return cron_times.parse(f"*/{minutes} * * * *", UTC)


def test_nothing_is_due_before_the_first_time() -> None:
    assert schedule.most_recent(every(10), NOON, NOON + timedelta(minutes=9, seconds=59)) is None


def test_a_run_is_due_at_its_very_second() -> None:
    due = schedule.most_recent(every(10), NOON, NOON + timedelta(minutes=10))
    assert due == Due(NOON + timedelta(minutes=10), 1)


def test_of_missed_runs_only_the_most_recent_is_due() -> None:
    due = schedule.most_recent(every(10), NOON, NOON + timedelta(minutes=35))
    assert due == Due(NOON + timedelta(minutes=30), 3)
    assert not due.too_many


@pytest.mark.parametrize("gap", [timedelta(minutes=101), timedelta(days=1), timedelta(days=3650)])
def test_after_any_gap_the_most_recent_is_found(gap: timedelta) -> None:
    asked = []

    def counted(after: datetime) -> datetime | None:
        asked.append(after)
        return every(1)(after)

    now = NOON + gap + timedelta(seconds=30)
    due = schedule.most_recent(counted, NOON, now)
    assert due is not None
    assert due.time == now.replace(second=0)
    assert due.too_many
    assert len(asked) < 300, "a long gap must not take long"


def test_irregular_schedules_find_their_most_recent_time_too() -> None:
    january = cron_times.parse("*/5 9-17 * 1 mon-fri", UTC)
    due = schedule.most_recent(january, datetime(2020, 1, 1, tzinfo=UTC), datetime(2026, 8, 1, tzinfo=UTC))
    assert due is not None
    assert due.time == datetime(2026, 1, 30, 17, 55, tzinfo=UTC)


def test_a_hundred_missed_runs_are_not_worth_a_warning_and_one_more_is() -> None:
    exactly = schedule.most_recent(every(1), NOON, NOON + timedelta(minutes=100))
    assert exactly is not None
    assert not exactly.too_many
    more = schedule.most_recent(every(1), NOON, NOON + timedelta(minutes=101))
    assert more is not None
    assert more.too_many


def test_the_starting_deadline_limits_how_far_back_runs_are_looked_for() -> None:
    since = schedule.earliest(NOON - DAY, None, NOON, timedelta(minutes=5))
    assert since == NOON - timedelta(minutes=5)
    assert schedule.earliest(NOON - DAY, NOON, NOON, None) == NOON
    assert schedule.earliest(NOON - DAY, None, NOON, None) == NOON - DAY


def test_the_name_of_a_job_follows_from_its_time() -> None:
    assert schedule.job_name("nightly", datetime(1970, 1, 1, 2, 5, 59, tzinfo=UTC)) == "nightly-125"
