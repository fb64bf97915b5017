"""What Kubernetes accepts as a CronJob's `schedule`: read as its own cron library reads it.

A schedule that passed the webhook and were refused for the CronJob would leave a policy that never
runs; croniter alone accepts more (seconds, hashes, `L`, Sunday as 7) and reads some things
otherwise. The CronJob controller uses robfig/cron v3 `ParseStandard`, whose grammar this is.
"""

import calendar
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final


class CronError(ValueError):
    """The schedule is not one that Kubernetes accepts, or it can never be right; the message says why."""


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_MINUTE: Final = _Field("minute", 0, 59)
_HOUR: Final = _Field("hour", 0, 23)
_DAY: Final = _Field("day of the month", 1, 31)
_MONTH: Final = _Field(
    "month",
    1,
    12,
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
)
_WEEKDAY: Final = _Field("day of the week", 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat"))
_FIELDS: Final = (_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY)

DESCRIPTORS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
"""Words for whole schedules, and what they mean."""

# What Go's unicode.IsSpace calls a space; Python's str.split() would take some control characters, too.
_SPACES: Final = re.compile("[\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
_NUMBER: Final = re.compile(r"\+?[0-9]{1,9}")
_DURATION: Final = re.compile(r"([-+])?((?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+|0)")
_DURATION_PART: Final = re.compile(r"([0-9.]+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS: Final = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "μs": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_MAX_SECONDS: Final = Decimal(2**63 - 1) / 10**9


@dataclass(frozen=True)
class Schedule:
    """The times of a five-field schedule."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """Sunday is 0."""

    any_day: bool
    any_weekday: bool
    """Whether the field is a `*` or `?`. If neither is, a day need fit only one of the two fields."""

    def matches(self, moment: datetime) -> bool:
        """Whether the schedule is due in the minute of this wall-clock time."""
        return (
            moment.minute in self.minutes
            and moment.hour in self.hours
            and moment.month in self.months
            and self._fits(moment.day, moment.isoweekday() % 7)
        )

    def _fits(self, day: int, weekday: int) -> bool:
        if self.any_day or self.any_weekday:
            return day in self.days and weekday in self.weekdays
        return day in self.days or weekday in self.weekdays

    def fires(self) -> bool:
        """Whether it is ever due: `0 0 31 2 *` is not."""
        if not (self.minutes and self.hours and self.months):
            return False
        return any(
            self._fits(day, weekday)
            for month in self.months
            for day in range(1, calendar.monthrange(2000, month)[1] + 1)  # 2000: a leap year
            for weekday in range(7)
        )


@dataclass(frozen=True)
class Every:
    """`@every <duration>`: a fixed interval, counted from the last start."""

    interval: timedelta


def parse(text: str) -> Schedule | Every:
    """Read a schedule; raises CronError with what is wrong and what to write instead."""
    if not text:
        raise CronError("must not be empty")
    if "TZ" in text:
        raise CronError("cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
    if text.startswith("@every "):
        return Every(_parse_interval(text.removeprefix("@every ")))
    if text.startswith("@"):
        expanded = DESCRIPTORS.get(text)
        if expanded is None:
            known = ", ".join([*DESCRIPTORS, "@every <duration>"])
            raise CronError(f"unrecognized descriptor: one of {known} is possible")
        text = expanded
    schedule = _parse_fields([word for word in _SPACES.split(text) if word])
    if not schedule.fires():
        raise CronError("is never due: no such day exists in the months it names")
    return schedule


def _parse_fields(words: list[str]) -> Schedule:
    if len(words) != len(_FIELDS):
        hint = " (there is no field for seconds or years)" if len(words) > len(_FIELDS) else ""
        raise CronError(
            f"expected exactly 5 fields, found {len(words)}{hint}: minute, hour, day of the month, month, "
            "day of the week"
        )
    read = [_parse_field(word, field) for word, field in zip(words, _FIELDS, strict=True)]
    (minutes, _), (hours, _), (days, any_day), (months, _), (weekdays, any_weekday) = read
    return Schedule(minutes, hours, days, months, weekdays, any_day, any_weekday)


def _parse_field(text: str, field: _Field) -> tuple[frozenset[int], bool]:
    """Return the values of a field, and whether it counts as a star."""
    values: set[int] = set()
    star = False
    for part in text.split(","):
        if not part:
            continue
        found, is_star = _parse_range(part, field)
        values.update(found)
        star = star or is_star
    if not values:
        raise CronError(f"the field {field.name} {text!r} names no value")
    return frozenset(values), star


def _parse_range(text: str, field: _Field) -> tuple[range, bool]:
    bounds, *steps = text.split("/")
    low, *more = bounds.split("-")
    if low in ("*", "?"):
        start, end = field.low, field.high
    else:
        if len(more) > 1:
            raise CronError(f"too many hyphens in {text!r}")
        start = _parse_value(low, field)
        end = _parse_value(more[0], field) if more else start
    if len(steps) > 1:
        raise CronError(f"too many slashes in {text!r}")
    step = 1
    if steps:
        step = _parse_number(steps[0], text)
        if not more:
            end = field.high
    if start < field.low or end > field.high:
        hint = "; Sunday is 0" if field is _WEEKDAY and end == 7 else ""
        raise CronError(
            f"{text!r} is out of range: {field.name} must be between {field.low} and {field.high}{hint}"
        )
    if start > end:
        raise CronError(f"the range {text!r} ends before it begins")
    if step == 0:
        raise CronError(f"the step of {text!r} must be at least 1")
    return range(start, end + 1, step), low in ("*", "?") and step == 1


def _parse_value(text: str, field: _Field) -> int:
    if text.lower() in field.names:
        return field.names.index(text.lower()) + field.low
    return _parse_number(text, text, field.name)


def _parse_number(text: str, whole: str, name: str = "step") -> int:
    if not _NUMBER.fullmatch(text):
        raise CronError(f"{whole!r} is not a {name}: {text!r} is not a number")
    return int(text)


def _parse_interval(text: str) -> timedelta:
    match = _DURATION.fullmatch(text)
    if not match or len(text) > 64:
        raise CronError(f"{text!r} is not a duration: write it as in '@every 1h30m'")
    seconds = sum(
        (Decimal(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(match[2])), Decimal()
    )
    if seconds > _MAX_SECONDS:
        raise CronError(f"the duration {text!r} is too long")
    if match[1] == "-" or not seconds:
        raise CronError(f"the duration {text!r} must be more than zero")
    return timedelta(seconds=max(1.0, float(seconds)))  # less than a second is taken as one
