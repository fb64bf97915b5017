"""Backups that were due and never started: a backup system's most silent fault.

The CronJob controller starts the latest of the runs that are due and leaves out those before it, when it was
down, when the run before had not ended, when the CronJob was suspended for want of a location. Each time of
the schedule is looked at here, once, after it can no longer begin: either there is a trace of it (a Job for
that very time, or a record made from it) or it was missed.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

from kubedr_server.api import cron_times
from kubedr_server.api.cron import CronError, Every, Schedule, parse
from kubedr_server.controllers.decision import Object
from kubedr_server.controllers.jobs import ended

GRACE: Final = timedelta(minutes=2)
"""How long after its time a run may take to begin, where nothing else is said."""

_PATIENCE: Final = timedelta(hours=2)
"""How long after a start the repository's list of backups is waited for. Then what left no trace is told."""

_AT_ONCE: Final = 2000
"""How many times are looked at in one go: a schedule of each minute for a month has 43,200."""

_SCHEDULED_AT: Final = "batch.kubernetes.io/cronjob-scheduled-timestamp"


@dataclass(frozen=True)
class Seen:
    """What is known of a policy's runs."""

    started: frozenset[datetime]
    """The scheduled times that have, or had, a Job."""

    trusted_since: datetime
    """Since when Jobs have been watched, so that one that is not known never was."""

    recorded: tuple[datetime, ...] = ()
    """When the policy's backups were made: the trace of a Job that is gone."""

    catalogue_time: datetime | None = None
    """When the records were last compared with the repository."""

    running: tuple[tuple[datetime, datetime | None], ...] = ()
    """From when to when known Jobs ran; None for one that has not ended."""

    told_until: datetime | None = None
    """The last time that was told to be missed: it lies ahead after a clock was set back."""


@dataclass(frozen=True)
class Missed:
    """What a look has found."""

    checked_until: datetime
    """All times up to this one are accounted for."""

    count: int = 0
    first: datetime | None = None
    last: datetime | None = None
    because_busy: int = 0
    """How many of them were due while the run before had not ended."""

    overdue: datetime | None = None
    """A time for which nothing has started, but might still."""

    look_again: datetime | None = None
    """When there is more to find although nothing is heard of it."""


def look(
    schedule: str, zone: str | None, since: datetime, now: datetime, deadline_seconds: int | None, seen: Seen
) -> Missed:
    """Account for the times of a schedule after `since`, as far as they are decided by `now`."""
    try:
        parsed, location = parse(schedule), cron_times.zone_of(zone)
    except (CronError, cron_times.ScheduleError):
        return Missed(now)
    if isinstance(parsed, Every):
        return Missed(now)  # counted from the controller's own last start, which it does not tell
    return _look(parsed, location, since, now, deadline_seconds, seen)


def _look(
    schedule: Schedule,
    zone: tzinfo,
    since: datetime,
    now: datetime,
    deadline_seconds: int | None,
    seen: Seen,
) -> Missed:
    found = Missed(since)
    due = cron_times.next_time(schedule, since, zone)
    for _ in range(_AT_ONCE):
        if due is None or due > now:
            return found
        following = cron_times.next_time(schedule, due, zone)
        if _has_trace(due, following, seen):
            found = replace(found, checked_until=due)
        elif now < due + GRACE:
            return replace(found, look_again=due + GRACE)
        elif now < (decided := _decided(due, following, deadline_seconds)):
            return replace(found, overdue=due, look_again=decided)
        elif seen.told_until is not None and due <= seen.told_until:
            found = replace(found, checked_until=due)
        elif not _is_trusted(due, following, now, seen):
            return found
        else:
            found = replace(
                found,
                checked_until=due,
                count=found.count + 1,
                first=found.first or due,
                last=due,
                because_busy=found.because_busy + _is_busy(due, seen),
            )
        due = following
    return replace(found, look_again=now)


def _has_trace(due: datetime, following: datetime | None, seen: Seen) -> bool:
    if due in seen.started:
        return True
    return any(due <= taken and (following is None or taken < following) for taken in seen.recorded)


def _decided(due: datetime, following: datetime | None, deadline_seconds: int | None) -> datetime:
    """Return when a run that has not begun no longer can: its deadline is over, or the next one is due."""
    ends = [following] if following is not None else []
    if deadline_seconds is not None:
        ends.append(due + timedelta(seconds=deadline_seconds))
    return min(ends, default=due) + GRACE


def _is_trusted(due: datetime, following: datetime | None, now: datetime, seen: Seen) -> bool:
    """Whether a Job for this time would be known, or its backup."""
    if due >= seen.trusted_since or now >= seen.trusted_since + _PATIENCE:
        return True
    return seen.catalogue_time is not None and seen.catalogue_time >= (following or due)


def _is_busy(due: datetime, seen: Seen) -> bool:
    return any(start < due and (end is None or end > due) for start, end in seen.running)


def scheduled_time(job: Object, cronjob: str) -> datetime | None:
    """Return the time of the schedule that a CronJob's Job was made for; None for one made by hand."""
    metadata: dict[str, Any] = job["metadata"]
    noted = (metadata.get("annotations") or {}).get(_SCHEDULED_AT)
    if noted:
        try:
            return datetime.fromisoformat(noted)
        except ValueError:
            return None
    # The controller names a Job by the minutes since 1970.
    minutes = str(metadata["name"]).removeprefix(f"{cronjob}-")
    if minutes.isdigit() and len(minutes) in (8, 9):
        return datetime.fromtimestamp(int(minutes) * 60, tz=UTC)
    return None


def times_of(jobs: Collection[Object], cronjob: Object) -> frozenset[datetime]:
    """Return the scheduled times that have a Job, and the last one that is known to have had one."""
    name = cronjob["metadata"]["name"]
    found = {time for job in jobs if (time := scheduled_time(job, name)) is not None}
    last = (cronjob.get("status") or {}).get("lastScheduleTime")
    if last:
        found.add(datetime.fromisoformat(last))
    return frozenset(found)


def windows(jobs: Collection[Object]) -> tuple[tuple[datetime, datetime | None], ...]:
    """Return from when to when Jobs ran."""
    found: list[tuple[datetime, datetime | None]] = []
    for job in jobs:
        status = job.get("status") or {}
        if status.get("startTime"):
            end = ended(job)
            found.append((datetime.fromisoformat(status["startTime"]), end.time if end else None))
    return tuple(found)
