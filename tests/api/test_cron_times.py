"""Schedules as Kubernetes reads them."""

from datetime import UTC, datetime, timedelta

import pytest

from kubedr_server.api import cron_times
from kubedr_server.api.cron import Schedule
from kubedr_server.api.cron import parse as read
from kubedr_server.api.cron_times import ScheduleError

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)  # a Sunday


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*/10 * * * *", "2026-03-01T12:10"),
        ("0 3 * * *", "2026-03-02T03:00"),
        ("0 3 * * 7", None),
        ("0 3 ? * mon", "2026-03-02T03:00"),
        ("0 0 1,15 * *", "2026-03-15T00:00"),
        ("15 14 1 JAN *", "2027-01-01T14:15"),
        ("@hourly", "2026-03-01T13:00"),
        ("@daily", "2026-03-02T00:00"),
        ("@midnight", "2026-03-02T00:00"),
        ("@weekly", "2026-03-08T00:00"),
        ("@monthly", "2026-04-01T00:00"),
        ("@yearly", "2027-01-01T00:00"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        # Both days restricted: either will do.
        ("0 0 13 * 5", "2026-03-06T00:00"),
    ],
)
def test_the_next_time_is_that_of_kubernetes(text: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(ScheduleError):
            cron_times.parse(text, UTC)
        return
    assert cron_times.parse(text, UTC)(NOW) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "H * * * *",
     "* * l * *", "@reboot", "@every", "@every x", "5-1 * * * *", "*/0 * * * *", "a b c d e", "R * * * *",
     "* * * * 5#2", "* * L * *"],
)  # fmt: skip
def test_what_kubernetes_refuses_is_refused(text: str) -> None:
    with pytest.raises(ScheduleError):
        cron_times.parse(text, UTC)


def test_a_leap_day_that_is_too_far_away_is_never_due() -> None:
    assert cron_times.parse("0 0 29 2 *", UTC)(datetime(2097, 1, 1, tzinfo=UTC)) is None


def test_a_schedule_is_read_in_its_time_zone() -> None:
    following = cron_times.parse("0 3 * * *", cron_times.zone_of("Europe/Berlin"))
    assert following(NOW) == datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
    assert following(datetime(2026, 7, 1, tzinfo=UTC)) == datetime(2026, 7, 1, 1, 0, tzinfo=UTC)


def test_an_hour_that_the_clocks_skip_is_left_out_and_the_day_after_is_not() -> None:
    # 29 March 2026: 02:00 in Berlin becomes 03:00.
    following = cron_times.parse("30 2 * * *", cron_times.zone_of("Europe/Berlin"))
    assert following(datetime(2026, 3, 28, 2, 0, tzinfo=UTC)) == datetime(2026, 3, 30, 0, 30, tzinfo=UTC)


def test_a_midnight_that_the_clocks_skip_does_not_hide_its_day() -> None:
    # 6 September 2026: midnight in Santiago becomes 01:00.
    following = cron_times.parse("0 12 6 9 *", cron_times.zone_of("America/Santiago"))
    assert following(datetime(2026, 9, 5, 12, tzinfo=UTC)) == datetime(2026, 9, 6, 15, 0, tzinfo=UTC)


def test_an_hour_that_comes_twice_is_counted_twice() -> None:
    # 25 October 2026: 03:00 in Berlin becomes 02:00.
    following = cron_times.parse("0 * * * *", cron_times.zone_of("Europe/Berlin"))
    first = datetime(2026, 10, 25, 0, 0, tzinfo=UTC)
    second = following(first)
    assert second == datetime(2026, 10, 25, 1, 0, tzinfo=UTC)


@pytest.mark.parametrize("text", ["*/7 * * * *", "5 4 * * sun", "0 0 1 * *", "13 */5 10-20 2,7 *"])
def test_times_are_found_in_their_order_and_none_is_left_out(text: str) -> None:
    schedule = read(text)
    assert isinstance(schedule, Schedule)
    following, found = cron_times.parse(text, UTC), NOW
    for _ in range(30):
        after = following(found)
        assert after is not None
        assert schedule.matches(after)
        skipped = int((after - found) / timedelta(minutes=1))
        first = found.replace(second=0) + timedelta(minutes=1)
        between = (first + timedelta(minutes=step) for step in range(min(skipped, 3000) - 1))
        assert not any(schedule.matches(moment) for moment in between)
        found = after


def test_every_is_counted_from_the_last_time() -> None:
    assert cron_times.parse("@every 1h30m", UTC)(NOW) == datetime(2026, 3, 1, 13, 30, 30, tzinfo=UTC)
    assert cron_times.parse("@every 10ms", UTC)(NOW) == datetime(2026, 3, 1, 12, 0, 31, tzinfo=UTC)


@pytest.mark.parametrize("name", ["Europe/Nowhere", "../etc/passwd", ""])
def test_an_unknown_time_zone_is_told(name: str) -> None:
    with pytest.raises(ScheduleError, match="unknown time zone"):
        cron_times.zone_of(name)
