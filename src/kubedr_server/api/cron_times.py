"""When a CronJob's schedule is due: the next time of a schedule, as Kubernetes' cron library finds it.

It goes by the wall clock of the time zone, from the largest unit to the smallest. An hour that the clocks
skip is left out, and one that they repeat comes twice for a schedule that names no hour.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from kubedr_server.api.cron import CronError, Every, Schedule
from kubedr_server.api.cron import parse as read

Next = Callable[[datetime], datetime | None]
"""Returns the first scheduled time after a moment, or None if there is none for years."""

_YEARS = 5
"""A schedule without a time for so long has none: 29 February comes every four years, but for 2100."""


class ScheduleError(ValueError):
    """The schedule or its time zone cannot be read; the message says why."""


def zone_of(name: str | None) -> tzinfo:
    """Return a time zone by its IANA name; UTC if none is named. Raises ScheduleError."""
    if name is None:
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ScheduleError(f"unknown time zone {name}") from error


def parse(text: str, zone: tzinfo) -> Next:
    """Return what computes the times of a schedule. Raises ScheduleError."""
    try:
        schedule = read(text)
    except CronError as error:
        raise ScheduleError(str(error)) from error
    if isinstance(schedule, Every):
        step = timedelta(seconds=int(schedule.interval.total_seconds()))
        return lambda after: (after + step).replace(microsecond=0)
    return lambda after: next_time(schedule, after, zone)


def next_time(schedule: Schedule, after: datetime, zone: tzinfo) -> datetime | None:
    """Return the first time of a schedule after a moment, in UTC; None if there is none for years."""
    found = _whole_minute_after(after).astimezone(zone)
    last_year = found.year + _YEARS
    while found.year <= last_year:
        if found.month not in schedule.months:
            year, month = (found.year + 1, 1) if found.month == 12 else (found.year, found.month + 1)
            found = _wall(datetime(year, month, 1, tzinfo=zone))
        elif not _day_fits(schedule, found):
            midnight = datetime(found.year, found.month, found.day) + timedelta(days=1)  # noqa: DTZ001 - set below
            found = _wall(midnight.replace(tzinfo=zone))
        elif found.hour not in schedule.hours:
            found = _later(found, timedelta(minutes=60 - found.minute))
        elif found.minute not in schedule.minutes:
            found = _later(found, timedelta(minutes=1))
        else:
            return found.astimezone(UTC)
    return None


def _whole_minute_after(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)


def _later(moment: datetime, step: timedelta) -> datetime:
    """Add real time: the sum of a wall clock's time and a step may be an hour off."""
    return (moment.astimezone(UTC) + step).astimezone(moment.tzinfo)


def _wall(moment: datetime) -> datetime:
    """Return a wall clock's time that exists: a midnight that the clocks skip becomes the moment after it."""
    return moment.astimezone(UTC).astimezone(moment.tzinfo)


def _day_fits(schedule: Schedule, moment: datetime) -> bool:
    day, weekday = moment.day in schedule.days, moment.isoweekday() % 7 in schedule.weekdays
    # Where neither field is a star, a day need fit only one of them.
    return day and weekday if schedule.any_day or schedule.any_weekday else day or weekday
