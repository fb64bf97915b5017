"""When a CronJob's schedule is due: croniter, held to what Kubernetes reads.

Kubernetes knows five fields or a macro, plus `@every`; croniter knows seconds, years, hashes and
more. What Kubernetes would refuse is refused here, too.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from croniter import CroniterError, croniter

from kubedr_server.local.executor.schedule import Next

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS = 5
_FIELD = re.compile(r"[0-9A-Za-z*?,/-]+")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|ns)")


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


def parse(schedule: str, zone: tzinfo) -> Next:
    """Return what computes the times of a schedule. Raises ScheduleError."""
    text = schedule.strip()
    if text.startswith("@every "):
        return _every(text.removeprefix("@every ").strip())
    if text.startswith("@"):
        if text not in _MACROS:
            raise ScheduleError(f"unrecognized descriptor: {text}")
        text = _MACROS[text]
    fields = text.split()
    if len(fields) != _FIELDS:
        raise ScheduleError(f"expected exactly 5 fields, found {len(fields)}: [{text}]")
    for field in fields:
        if not _FIELD.fullmatch(field):
            raise ScheduleError(f"failed to parse {field}")
    text = " ".join(fields).replace("?", "*")
    try:
        croniter(text, datetime(2000, 1, 1, tzinfo=UTC))
    except (CroniterError, ValueError, KeyError) as error:
        raise ScheduleError(str(error)) from error

    def following(after: datetime) -> datetime | None:
        try:
            found: datetime = croniter(text, after.astimezone(zone)).get_next(datetime)
        except CroniterError:
            return None  # such as 30 February
        return found.astimezone(UTC)

    return following


def _every(text: str) -> Callable[[datetime], datetime | None]:
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ScheduleError(f"failed to parse duration @every {text}")
    # Kubernetes rounds to whole seconds, and up to one at least.
    seconds = max(1, int(sum(float(number) * _UNITS[unit] for number, unit in parts)))
    step = timedelta(seconds=seconds)

    def following(after: datetime) -> datetime | None:
        return (after + step).replace(microsecond=0)

    return following
