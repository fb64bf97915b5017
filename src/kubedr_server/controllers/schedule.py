"""When a CronJob's schedule is due next. Only to be shown: the CronJob controller is what decides."""

from datetime import datetime
from functools import lru_cache

from kubedr_server.api import cron_times
from kubedr_server.api.cron import CronError, Every, parse


def next_time(schedule: str, time_zone: str | None, now: datetime) -> datetime | None:
    """Return the first moment after `now`, in UTC, or None where it cannot be told.

    Without a time zone the controller manager's counts, which cannot be asked: UTC is assumed. The times of
    `@every` count from the CronJob's last run, which is not asked for here.
    """
    try:
        parsed, zone = parse(schedule), cron_times.zone_of(time_zone)
    except (CronError, cron_times.ScheduleError):
        return None
    return None if isinstance(parsed, Every) else cron_times.next_time(parsed, now, zone)


def overdue_time(schedule: str, time_zone: str | None, since: datetime) -> datetime | None:
    """Return the second moment after `since` at which the schedule is due, or None where it cannot be told.

    One run may fail and the next make up for it; once the second is due, two have not brought a backup.
    """
    return _second_time(schedule, time_zone, since.replace(second=0, microsecond=0))


@lru_cache(maxsize=4096)
def _second_time(schedule: str, time_zone: str | None, since: datetime) -> datetime | None:
    """Do the work of `overdue_time`: asked at every reconcile, it changes with a backup only."""
    try:
        following = cron_times.parse(schedule, cron_times.zone_of(time_zone))
    except cron_times.ScheduleError:
        return None
    first = following(since)
    return None if first is None else following(first)
