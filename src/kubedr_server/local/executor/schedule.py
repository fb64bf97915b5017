"""Which run of a CronJob is due: the arithmetic of Kubernetes' CronJob controller, without any I/O."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from kubedr_server.api.cron_times import Next

MANY = 100
"""More missed runs than this are worth a warning."""


@dataclass(frozen=True)
class Due:
    """`time` is the most recent time that is not after now; `missed` counts up to `MANY` + 1."""

    time: datetime
    missed: int

    @property
    def too_many(self) -> bool:
        """Whether so many runs were missed that the clock or the schedule deserves a look."""
        return self.missed > MANY


def earliest(
    created: datetime, last: datetime | None, now: datetime, starting_deadline: timedelta | None
) -> datetime:
    """Return the moment after which runs are looked for: nothing is made up for that is past its deadline."""
    since = last or created
    if starting_deadline is not None:
        since = max(since, now - starting_deadline)
    return since


def most_recent(following: Next, since: datetime, now: datetime) -> Due | None:
    """Return the latest scheduled time in (since, now], or None if nothing is due.

    However long the gap, it takes a bounded number of steps: the runs are counted up to
    `MANY`, and from there on the latest is found by halving the interval.
    """
    found = following(since)
    if found is None or found > now:
        return None
    missed = 1
    while missed <= MANY:
        after = following(found)
        if after is None or after > now:
            return Due(found, missed)
        found, missed = after, missed + 1
    return Due(_latest(following, found, now), missed)


def _latest(following: Next, found: datetime, now: datetime) -> datetime:
    """Return the latest scheduled time that is not after now, given one such time."""
    empty_from = now  # nothing is scheduled in (empty_from, now]
    while (after := following(found)) is not None and after <= now:
        found = after
        middle = found + (empty_from - found) / 2
        later = following(middle)
        if later is not None and later <= now:
            found = later
        else:
            empty_from = middle
    return found


def job_name(cronjob: str, scheduled: datetime) -> str:
    """Name the Job of one scheduled time: a second attempt to create it cannot make a second one."""
    return f"{cronjob}-{int(scheduled.timestamp()) // 60}"
