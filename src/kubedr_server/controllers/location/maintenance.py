"""What to do about an initialised repository: look at it, check it, free its room, each when it is due. Pure.

At most one of a location's maintenance Jobs is there at a time, and it stays until its outcome is told. What
was due while the server was down is done once, soon after. A failure is tried again sooner than the schedule
says: first soon, then after as long again as it has been failing already.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from kubedr_server.api.backup_location import BackupLocation
from kubedr_server.api.conditions import ConditionType, Reason
from kubedr_server.controllers import conditions, jobs
from kubedr_server.controllers.backoff import Backoff
from kubedr_server.controllers.conditions import ConditionStatus, whole_second
from kubedr_server.controllers.decision import Create, Decision, Delete
from kubedr_server.controllers.location import timetable
from kubedr_server.controllers.location.state import LocationState
from kubedr_server.controllers.location.status import Finding, place, usable
from kubedr_server.controllers.location.tell import is_damaged, next_part, tell
from kubedr_server.controllers.location.timetable import CHECK, HEALTH, PRUNE, TASKS, Task
from kubedr_server.controllers.run import Run, trouble
from kubedr_server.kube.resources import JOBS
from kubedr_server.manifests.jobs import ATTEMPT_ANNOTATION, check_job, health_job, prune_job
from kubedr_server.manifests.settings import RunnerSettings

Times = Mapping[Task, datetime | None]

_TURN_SECONDS: Final = 60.0
"""How often a pruning that waits for others to end looks whether they have: it needs the repository alone."""

_PATIENCE: Final = timedelta(hours=1)
"""How long it waits: then it goes, and waits for restic's lock, so that it comes to its turn at all."""


def decide(state: LocationState, runner: RunnerSettings, attempts: Backoff, now: datetime) -> Decision:
    """Return what to do about a location whose repository is initialised."""
    over = next((run for run in state.maintenance if jobs.ended(run.job) is not None), None)
    if over is not None and is_stale(over, state.location):
        return _removed(state, over, now)
    if over is not None:
        return _told(state, over, attempts, now)
    location, message = state.location, _opens(state.location)
    times = {task: timetable.due(task, location, now) for task in TASKS}
    fields = _shown(times)
    if state.maintenance:
        findings = _stuck(location, state.maintenance[0])
        return Decision(status=usable(location, now, message, findings, **fields))
    task, wake = _turn(state, times, now)
    due = times[task] if task is not None else None
    writes = (
        () if task is None or due is None else (Create(JOBS, _job(task, state, runner, whole_second(due))),)
    )
    return Decision(
        before=writes,
        status=usable(location, now, message, _paused(location), **fields),
        wake_after=None if writes else wake,
    )


def is_due(state: LocationState, now: datetime) -> bool:
    """Whether a Job would be made now, for all that is known of others that work with the repository."""
    if state.maintenance:
        return False
    times = {task: timetable.due(task, state.location, now) for task in TASKS}
    return _turn(state, times, now)[0] is not None


def is_stale(run: Run, location: BackupLocation) -> bool:
    """Whether a Job was made before the last initialisation: with another bucket, or another Secret."""
    made_with = (run.job["metadata"].get("annotations") or {}).get(ATTEMPT_ANNOTATION)
    return made_with is not None and made_with != location.status.attempt_key


def _turn(state: LocationState, times: Times, now: datetime) -> tuple[Task | None, float | None]:
    """Return the task whose turn it is, or when to look again."""
    status, wakes = state.location.status, list[float]()
    healthy = conditions.is_true(status.conditions, ConditionType.HEALTHY)
    # The one that has waited longest: one that is due all the time must not keep the others away.
    waiting = sorted(
        ((due, task) for task, due in times.items() if due is not None), key=lambda pair: pair[0]
    )
    for due, task in waiting:
        if due > now:
            wakes.append((due - now).total_seconds())
        elif task is HEALTH:
            return task, None
        elif not healthy or (task is PRUNE and is_damaged(status)):
            # The look that finds it well, or the check that finds it whole, calls attention to it.
            continue
        elif task is PRUNE and state.busy and now < due + _PATIENCE:
            wakes.append(_TURN_SECONDS)
        else:
            return task, None
    return None, min(wakes, default=None)


def _job(task: Task, state: LocationState, runner: RunnerSettings, due: datetime) -> dict[str, Any]:
    """Return the Job of a task. Its name follows from when it was due."""
    location, attempt = state.location, f"{due:%Y%m%d%H%M%S}"
    if task is HEALTH:
        return health_job(location, runner, attempt, unlock=not state.busy)
    if task is CHECK:
        return check_job(location, runner, attempt, next_part(location), location.spec.check_parts)
    return prune_job(location, runner, attempt)


def _told(state: LocationState, run: Run, attempts: Backoff, now: datetime) -> Decision:
    """Tell the outcome of one, and then take its Job away."""
    outcome = tell(state, run, attempts, now)
    decision = _removed(state, run, now, outcome.findings, **outcome.fields)
    return replace(decision, events=outcome.events)


def _removed(
    state: LocationState, run: Run, now: datetime, findings: Sequence[Finding] = (), **fields: Any
) -> Decision:
    location, metadata = state.location, run.job["metadata"]
    shown = _shown({task: timetable.due(task, location, now) for task in TASKS})
    return Decision(
        status=usable(location, now, _opens(location), findings, **{**shown, **fields}),
        after=(Delete(JOBS, metadata["namespace"], metadata["name"], metadata["uid"]),),
    )


def _shown(times: Times) -> dict[str, Any]:
    """Return the fields that say what is next."""
    return {task.next: _whole(times[task]) for task in TASKS}


def _whole(moment: datetime | None) -> datetime | None:
    return None if moment is None else whole_second(moment)


def _stuck(location: BackupLocation, run: Run) -> tuple[Finding, ...]:
    """Return what keeps a Job that has not ended from getting on, as its condition."""
    task = timetable.task_of(jobs.operation(run.job))
    known = location.status.conditions
    stuck = trouble(run, known, task.condition) if task is not None else None
    if task is None or stuck is None or (task is CHECK and is_damaged(location.status)):
        return ()
    before = conditions.find(known, task.condition)
    status: ConditionStatus = "False" if before is not None and before.status == "False" else "Unknown"
    return (Finding(task.condition, status, stuck.reason, stuck.message),)


def _paused(location: BackupLocation) -> tuple[Finding, ...]:
    """Return what becomes of a failed look that nobody repeats."""
    known = conditions.find(location.status.conditions, ConditionType.HEALTHY)
    if not location.spec.suspend_maintenance or known is None or known.status != "False":
        return ()
    text = f"maintenance is suspended; the last look failed: {known.message}"
    return (Finding(ConditionType.HEALTHY, "Unknown", Reason.SUSPENDED, text),)


def _opens(location: BackupLocation) -> str:
    return f"The repository {place(location)} is initialised and opens"
