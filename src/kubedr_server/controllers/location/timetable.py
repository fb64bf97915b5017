"""When a location's maintenance is due: its schedules, in UTC, each moved a little for each location."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from kubedr_server.api import cron_times
from kubedr_server.api.backup_location import BackupLocation, BackupLocationSpec, BackupLocationStatus
from kubedr_server.api.conditions import ConditionType, EventReason, Reason
from kubedr_server.contract import Operation
from kubedr_server.controllers import conditions

_SHARE: Final = 0.1
_LONGEST_SHIFT: Final = timedelta(minutes=30)
_SETTLES: Final = timedelta(minutes=10)
"""How long a new repository is left alone, unless its schedule is closer: there is nothing to be found."""


@dataclass(frozen=True)
class Task:
    """One kind of maintenance."""

    operation: Operation
    condition: ConditionType
    schedule: Callable[[BackupLocationSpec], str]
    schedule_field: str
    last: str
    """The field of the status that says when it last succeeded."""

    next: str
    failed: EventReason
    recovered: EventReason | None = None

    def last_time(self, status: BackupLocationStatus) -> datetime | None:
        """Return when it last succeeded."""
        found: datetime | None = getattr(status, self.last)
        return found

    def next_time(self, status: BackupLocationStatus) -> datetime | None:
        """Return when it is due, as the status says."""
        found: datetime | None = getattr(status, self.next)
        return found


HEALTH: Final = Task(
    Operation.HEALTH,
    ConditionType.HEALTHY,
    lambda spec: spec.health_schedule,
    "healthSchedule",
    "last_health_time",
    "next_health_time",
    EventReason.HEALTH_FAILED,
    EventReason.HEALTH_SUCCEEDED,
)
CHECK: Final = Task(
    Operation.CHECK,
    ConditionType.CHECKED,
    lambda spec: spec.check_schedule,
    "checkSchedule",
    "last_check_time",
    "next_check_time",
    EventReason.CHECK_FAILED,
    EventReason.CHECK_SUCCEEDED,
)
PRUNE: Final = Task(
    Operation.PRUNE,
    ConditionType.PRUNED,
    lambda spec: spec.prune_schedule,
    "pruneSchedule",
    "last_prune_time",
    "next_prune_time",
    EventReason.PRUNE_FAILED,
)
TASKS: Final[Sequence[Task]] = (HEALTH, CHECK, PRUNE)
"""In the order in which they go if several are due: no check of what cannot be reached."""


def task_of(operation: str) -> Task | None:
    """Return the task that a Job of this operation does, or None."""
    return next((task for task in TASKS if task.operation.value == operation), None)


def due(task: Task, location: BackupLocation, now: datetime) -> datetime | None:
    """Return when a task is due, which may have passed; None while maintenance is suspended.

    Raises ValueError for a schedule that cannot be read: only an object that no webhook saw has one.
    """
    status = location.status
    if location.spec.suspend_maintenance:
        return None
    if task is HEALTH and _never_looked_at(status):
        return status.init_time or now
    last, made = task.last_time(status), status.init_time or now
    settled = made + _settles(task, location, made) if last is None else now
    stored = task.next_time(status)
    if stored is None or status.observed_generation != location.metadata.generation:
        # What follows from the last time has passed if the server was down.
        stored = scheduled(task, location, last or settled)
    # A clock that was wrong, or a schedule that was rarer, must not put it off.
    following = scheduled(task, location, max(now, settled))
    return min((each for each in (stored, following) if each is not None), default=None)


def scheduled(task: Task, location: BackupLocation, after: datetime) -> datetime | None:
    """Return the first moment after another at which a task is due; None if there is none for years."""
    try:
        following = cron_times.parse(task.schedule(location.spec), UTC)
    except cron_times.ScheduleError as error:
        raise ValueError(f"spec.{task.schedule_field}: {error}") from error
    first = following(after)
    second = following(first) if first is not None else None
    if first is None or second is None:
        return first
    shift = _fraction(task, location) * min(_SHARE * (second - first), _LONGEST_SHIFT)
    shift = timedelta(seconds=int(shift.total_seconds()))
    moved = following(after - shift)
    return None if moved is None else moved + shift


def _settles(task: Task, location: BackupLocation, made: datetime) -> timedelta:
    first = scheduled(task, location, made)
    second = scheduled(task, location, first) if first is not None else None
    return _SETTLES if first is None or second is None else min(_SETTLES, second - first)


def _never_looked_at(status: BackupLocationStatus) -> bool:
    known = conditions.find(status.conditions, ConditionType.HEALTHY)
    return known is not None and (known.status, known.reason) == ("Unknown", Reason.NOT_CHECKED_YET)


def _fraction(task: Task, location: BackupLocation) -> float:
    """Return this location's share of the shift, from 0 to 1: always the same."""
    identity = f"{location.metadata.uid}/{task.operation.value}".encode()
    return int.from_bytes(hashlib.sha256(identity).digest()[:4]) / 2**32
