"""The schedules that Kubernetes accepts, checked against croniter where both mean the same."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from croniter import croniter
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kubedr_server.api import cron
from kubedr_server.api.cron import CronError, Every, Schedule

MONTHS = ("JAN", "feb", "Mar", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("SUN", "mon", "Tue", "WED", "THU", "FRI", "SAT")


def values(low: int, high: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    """Return one field, without the forms that the two libraries read differently."""
    number = st.integers(low, high)
    one = number.map(str)
    if names:
        one = st.one_of(one, st.sampled_from(names))
    # croniter reads `5-5` as `*`.
    pairs = st.tuples(number, number).filter(lambda pair: pair[0] != pair[1])
    ranges = pairs.map(lambda pair: f"{min(pair)}-{max(pair)}")
    stepped = st.tuples(ranges, st.integers(1, high - low)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    stars = st.integers(2, high - low).map(lambda step: f"*/{step}")
    part = st.one_of(one, ranges, stepped)
    lists = st.lists(part, min_size=1, max_size=3).map(",".join)
    return st.one_of(st.just("*"), lists, stars)


schedules = st.tuples(
    values(0, 59), values(0, 23), values(1, 31), values(1, 12, MONTHS), values(0, 6, WEEKDAYS)
)
EPOCH = datetime(2023, 1, 1, tzinfo=UTC)
moments = st.integers(0, 6 * 365 * 24 * 60).map(lambda minutes: EPOCH + timedelta(minutes=minutes))


@settings(max_examples=300, deadline=None)
@given(schedules, moments)
def test_a_schedule_is_due_when_croniter_says_so(fields: tuple[str, ...], moment: datetime) -> None:
    text = " ".join(fields)
    # Where a day field is `*/n`, robfig/cron wants both day fields to fit, croniter either.
    assume(not (fields[2].startswith("*/") or fields[4].startswith("*/")))
    try:
        schedule = cron.parse(text)
    except CronError:
        with pytest.raises((ValueError, KeyError)):
            croniter(text, moment).get_next(datetime)
        return
    assert isinstance(schedule, Schedule)
    due = croniter(text, moment, day_or=True).get_next(datetime)
    assert schedule.matches(due)
    assert not any(
        schedule.matches(moment + timedelta(minutes=minute))
        for minute in range(1, min(2000, int((due - moment).total_seconds() // 60)))
    )


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_either_read_or_refused(text: str) -> None:
    with contextlib.suppress(CronError):
        assert isinstance(cron.parse(text), Schedule | Every)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="0123456789*/-,? @TZabelnsu.hm+", max_size=24))
def test_anything_like_a_schedule_is_either_read_or_refused(text: str) -> None:
    with contextlib.suppress(CronError):
        assert isinstance(cron.parse(text), Schedule | Every)


def test_a_stepped_star_is_not_a_star_for_days() -> None:
    schedule = cron.parse("0 0 13 * */5")
    assert isinstance(schedule, Schedule)
    assert schedule.matches(datetime(2026, 2, 13, tzinfo=UTC))
    assert schedule.matches(datetime(2026, 2, 8, tzinfo=UTC)), "a Sunday"
    assert not schedule.matches(datetime(2026, 2, 9, tzinfo=UTC)), "a Monday"


def test_a_single_value_with_a_step_runs_to_the_end() -> None:
    schedule = cron.parse("50/5 * * * *")
    assert isinstance(schedule, Schedule)
    assert schedule.minutes == {50, 55}


def test_the_29th_of_february_is_due_in_leap_years() -> None:
    schedule = cron.parse("0 0 29 2 *")
    assert isinstance(schedule, Schedule)
    assert schedule.matches(datetime(2028, 2, 29, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1h30m", 5400), ("90s", 90), ("1.5h", 5400), (".5h", 1800), ("100ms", 1), ("+10m", 600), ("1µs", 1)],
)
def test_intervals_are_go_durations(text: str, seconds: float) -> None:
    assert cron.parse(f"@every {text}") == Every(timedelta(seconds=seconds))


def test_control_characters_that_only_python_calls_spaces_do_not_separate_fields() -> None:
    with pytest.raises(CronError, match="found 1"):
        cron.parse("0\x1c0\x1c*\x1c*\x1c*")
