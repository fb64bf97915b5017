"""How the outcome of a look, a check or a pruning is told: figures, a condition, Events where it is news."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kubedr_server.api.backup_location import BackupLocation, BackupLocationStatus
from kubedr_server.api.conditions import ConditionType, EventReason, Reason
from kubedr_server.contract import Env
from kubedr_server.controllers import conditions, jobs
from kubedr_server.controllers.backoff import Backoff
from kubedr_server.controllers.conditions import whole_second
from kubedr_server.controllers.decision import Announcement
from kubedr_server.controllers.jobs import Report
from kubedr_server.controllers.location import timetable
from kubedr_server.controllers.location.state import LocationState
from kubedr_server.controllers.location.status import Finding
from kubedr_server.controllers.location.timetable import CHECK, HEALTH, Task
from kubedr_server.controllers.run import Run, remembered


@dataclass(frozen=True)
class Told:
    """The parts of a decision that tell one outcome. `fields` are the location's status fields."""

    fields: dict[str, Any]
    findings: Sequence[Finding]
    events: tuple[Announcement, ...] = ()


def is_damaged(status: BackupLocationStatus) -> bool:
    """Whether a check has found damage, and none since has found that very part whole."""
    known = conditions.find(status.conditions, ConditionType.CHECKED)
    return known is not None and known.status == "False" and known.reason == Reason.REPOSITORY_DAMAGED


def tell(state: LocationState, run: Run, attempts: Backoff, now: datetime) -> Told:
    """Return what tells the outcome of a maintenance Job that has ended."""
    location, known = state.location, state.location.status.conditions
    task = timetable.task_of(jobs.operation(run.job))
    if task is None:
        raise ValueError(f"Job {run.name} is none of a location's maintenance")
    report = jobs.report(run.job, run.pods, task.operation, remembered(known, task.condition, run.name))
    if report.succeeded and task.last_time(location.status) == whole_second(report.time):
        # Told before: it is the Job's deletion that has not come through.
        return Told({}, ())
    finding = _found(task, state, run, report)
    following = timetable.scheduled(task, location, now)
    fields: dict[str, Any] = {task.next: following}
    if report.succeeded:
        fields |= {task.last: whole_second(report.time), **_figures(task, state, run, report)}
    elif task is CHECK and report.reason is Reason.REPOSITORY_DAMAGED:
        # It has finished, and is repeated as scheduled, on the same part.
        fields[task.last] = whole_second(report.time)
    else:
        retry = whole_second(now + _wait(task, location, attempts, now, state.luck))
        fields[task.next] = retry if following is None else min(retry, following)
    if task is HEALTH and state.comparison is not None and not state.comparison.compared:
        soon = whole_second(now + timedelta(seconds=attempts.longest_seconds))
        fields[task.next] = soon if following is None else min(soon, following)
    if finding is None:
        return Told(fields, ())
    return Told(fields, [finding], _events(task, location, finding, report))


def _found(task: Task, state: LocationState, run: Run, report: Report) -> Finding | None:
    """Return the outcome as the task's condition; None if what is known of damage stays as it is."""
    message = report.message
    if task is CHECK:
        return _checked(state.location, run, report)
    if not report.succeeded:
        return Finding(task.condition, "False", report.reason, message)
    if task is HEALTH:
        message = _with_remarks(state, report)
    return Finding(task.condition, "True", Reason.SUCCEEDED, message)


def _checked(location: BackupLocation, run: Run, report: Report) -> Finding | None:
    type_, message = CHECK.condition, report.message
    if report.reason is Reason.REPOSITORY_DAMAGED:
        text = (
            f"{message.rstrip('.')}. Backups go on, and nothing is pruned until a check finds the repository "
            "whole: see `restic repair`, or use another location"
        )
        return Finding(type_, "False", report.reason, text)
    known = conditions.find(location.status.conditions, type_)
    damaged = known is not None and is_damaged(location.status)
    if not report.succeeded:
        # Not having been able to look again does not make it whole.
        return (
            None
            if damaged
            else Finding(type_, "Unknown", report.reason, f"it could not be checked: {message}")
        )
    if known is not None and damaged and known.observed_generation != location.metadata.generation:
        # The parts may be other ones since: only all of them together are sure to hold the fault.
        part, parts = jobs.setting(run.job, Env.CHECK_PART), str(location.spec.check_parts)
        if part != parts or not _progress(location, run, report):
            return None
    return Finding(type_, "True", Reason.SUCCEEDED, message)


def _with_remarks(state: LocationState, report: Report) -> str:
    result, status = report.result, state.location.status
    sentences = [report.message.rstrip(".")]
    if (
        result is not None
        and result.repository_id
        and status.repository_id not in {None, result.repository_id}
    ):
        sentences.append(
            f"It is another repository ({result.repository_id[:8]}) than the one that was initialised "
            f"({(status.repository_id or '')[:8]}): someone has replaced it"
        )
    if state.comparison is not None and state.comparison.remark:
        sentences.append(state.comparison.remark)
    return ". ".join(sentences)


def _figures(task: Task, state: LocationState, run: Run, report: Report) -> dict[str, Any]:
    """Return what a good one has measured."""
    result, location = report.result, state.location
    if result is None:
        return {}
    if task is HEALTH:
        fields: dict[str, Any] = {}
        if result.health is not None:
            fields |= {
                "snapshots": result.health.snapshots,
                "repository_size": result.health.repository_size,
                "locks": result.health.locks,
            }
        if state.comparison is not None and state.comparison.compared:
            fields |= {"catalogue_run": run.uid, "catalogue_time": whole_second(report.time)}
        if result.repository_id and location.status.repository_id not in {None, result.repository_id}:
            fields |= {"repository_id": result.repository_id, "check_part": None, "check_parts": None}
        return fields
    if task is CHECK:
        return _progress(location, run, report)
    return {"repository_size": result.prune.repository_size} if result.prune is not None else {}


def _progress(location: BackupLocation, run: Run, report: Report) -> dict[str, Any]:
    """Return how far the rotation through all data has come with a good check.

    It goes on only from part to part in their order: so that when the last one is read, all were.
    """
    part, parts = jobs.setting(run.job, Env.CHECK_PART), jobs.setting(run.job, Env.CHECK_PARTS)
    if parts != str(location.spec.check_parts) or part != str(next_part(location)):
        return {}
    fields: dict[str, Any] = {"check_part": int(part), "check_parts": int(parts)}
    if part == parts:
        fields["last_full_check_time"] = whole_second(report.time)
    return fields


def next_part(location: BackupLocation) -> int:
    """Return the part of the data that the next check reads."""
    status, parts = location.status, location.spec.check_parts
    read = status.check_part or 0
    # With another number of parts, the ones that were read are other ones.
    return read + 1 if status.check_parts == parts and read < parts else 1


def _wait(task: Task, location: BackupLocation, attempts: Backoff, now: datetime, luck: float) -> timedelta:
    """Return how long to wait after a failure: as long again as it has failed already, within bounds."""
    known = conditions.find(location.status.conditions, task.condition)
    failing = 0.0
    if known is not None and known.status != "True":
        failing = max(0.0, (now - known.last_transition_time).total_seconds())
    wait = min(attempts.longest_seconds, max(attempts.first_seconds, failing))
    return timedelta(seconds=wait * (1 - attempts.spread * luck))


def _events(
    task: Task, location: BackupLocation, finding: Finding, report: Report
) -> tuple[Announcement, ...]:
    known = conditions.find(location.status.conditions, task.condition)
    events: list[Announcement] = []
    if not report.succeeded and finding.is_news(location.status.conditions):
        events.append(Announcement("Warning", task.failed, finding.message))
    if report.succeeded and task.recovered and known is not None and known.status == "False":
        events.append(Announcement("Normal", task.recovered, finding.message))
    health = report.result.health if report.result is not None else None
    if report.succeeded and health is not None and health.locks_removed:
        text = f"removed {health.locks_removed} locks of runs that no longer exist"
        events.append(Announcement("Normal", EventReason.LOCKS_REMOVED, text))
    return tuple(events)
