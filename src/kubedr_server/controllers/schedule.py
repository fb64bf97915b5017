"""When a CronJob's schedule is due next. Only to be shown: the CronJob controller is what decides."""

from datetime import datetime

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
