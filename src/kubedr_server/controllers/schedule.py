"""When a CronJob's schedule is due next. Only to be shown: the CronJob controller is what decides."""

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from croniter import CroniterError, croniter

_MACROS = frozenset({"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})
_FIELDS = 5


def next_time(schedule: str, time_zone: str | None, now: datetime) -> datetime | None:
    """Return the first moment after `now`, in UTC, or None where it cannot be told.

    croniter reads more than Kubernetes does (seconds, years, hashed and random fields), so what is not
    Kubernetes' own form gives None. Without a time zone the controller manager's counts, which cannot
    be asked: UTC is assumed.
    """
    text = schedule.strip()
    if text not in _MACROS and len(text.split()) != _FIELDS:
        return None
    try:
        zone: tzinfo = ZoneInfo(time_zone) if time_zone else UTC
        due: datetime = croniter(text, now.astimezone(zone)).get_next(datetime)
    except (CroniterError, ValueError, KeyError, OSError):
        # Of a zone that does not exist, ZoneInfo raises by turns a KeyError, a ValueError and an OSError.
        return None
    return due.astimezone(UTC)
