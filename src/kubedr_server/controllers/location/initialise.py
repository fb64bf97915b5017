"""What to do until a location's repository is initialised. Pure.

An attempt is a Job. Its key is a hash of what the attempt depends on (the spec's fields and the
versions of the Secrets), so that any change is tried at once, and an attempt that succeeded is not repeated.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from kubedr_server.api.backup_location import BackupLocation
from kubedr_server.api.conditions import ConditionType, EventReason, Reason
from kubedr_server.contract import Operation
from kubedr_server.controllers import conditions, jobs
from kubedr_server.controllers.backoff import Backoff
from kubedr_server.controllers.conditions import whole_second
from kubedr_server.controllers.decision import Announcement, Create, Decision, Delete, Write
from kubedr_server.controllers.location.state import LocationState, attempt_key, failures, next_attempt
from kubedr_server.controllers.location.status import Finding, unready, usable
from kubedr_server.controllers.run import Run, remembered, trouble
from kubedr_server.controllers.secrets import Lack
from kubedr_server.kube.resources import JOBS
from kubedr_server.manifests.jobs import init_job, init_job_name
from kubedr_server.manifests.settings import RunnerSettings

_TURN_SECONDS: Final = 10.0
_OF_ONE_REPOSITORY: Final = (
    "snapshots",
    "repository_size",
    "locks",
    "last_health_time",
    "last_check_time",
    "last_full_check_time",
    "check_part",
    "check_parts",
    "last_prune_time",
    "next_health_time",
    "next_check_time",
    "next_prune_time",
    "catalogue_run",
    "catalogue_time",
)
"""Fields of the status that say nothing of another repository."""


def is_initialised(state: LocationState) -> bool:
    """Whether the last attempt was made with these very inputs, and succeeded."""
    status = state.location.status
    return status.init_status == "Completed" and status.attempt_key == attempt_key(
        state.location, state.secrets
    )


def without_secrets(location: BackupLocation, missing: Lack, now: datetime) -> Decision:
    """Return the decision to wait for what a Secret lacks."""
    known = conditions.find(location.status.conditions, ConditionType.READY)
    # Once for each thing that is missing, not at each look.
    is_new = known is None or (known.reason, known.message) != (missing.reason, missing.message)
    warning = Announcement("Warning", EventReason.INIT_FAILED, missing.message)
    return Decision(
        status=unready(location, now, missing.reason, missing.message, both=False),
        events=(warning,) if is_new else (),
    )


def decide(state: LocationState, runner: RunnerSettings, attempts: Backoff, now: datetime) -> Decision:
    """Return what to do about a location that is not initialised, and has its Secrets."""
    location, status = state.location, state.location.status
    key = attempt_key(location, state.secrets)
    same = status.attempt_key == key
    last_error = (status.init_error_message or "") if same else ""
    wait = attempts.left(status.next_attempt_time if same else None, now)
    if wait > 0:
        known = conditions.find(status.conditions, ConditionType.READY)
        is_told = known is not None and known.message == last_error
        reason = known.reason if known is not None and is_told else Reason.NOT_READY
        return Decision(
            status=unready(location, now, reason, last_error),
            wake_after=wait,
        )
    attempt = next_attempt(location, state.secrets)
    name = init_job_name(location, attempt)
    doing = f"Attempt {failures(location, key) + 1} to initialise the repository: Job {name}"
    if last_error:
        doing += f"; the last one failed: {last_error}"
    run = next((known for known in state.runs if known.name == name), None)
    if run is None and state.busy:
        message = f"waits for Job {state.busy[0]}: one at a time has the repository to itself"
        return Decision(status=unready(location, now, Reason.PENDING, message), wake_after=_TURN_SECONDS)
    if run is None:
        create = Create(JOBS, init_job(location, runner, attempt))
        return Decision(
            before=(*_others(state.runs, name), create),
            status=unready(location, now, Reason.IN_PROGRESS, doing),
        )
    if jobs.ended(run.job) is None:
        stuck = trouble(run, status.conditions, ConditionType.READY)
        reason = stuck.reason if stuck else Reason.IN_PROGRESS
        message = stuck.message if stuck else doing
        return Decision(status=unready(location, now, reason, message))
    before = remembered(status.conditions, ConditionType.READY, name)
    report = jobs.report(run.job, run.pods, Operation.INIT, before)
    return _told(location, report, key, attempts, now, state.luck)


def _told(
    location: BackupLocation, report: jobs.Report, key: str, attempts: Backoff, now: datetime, luck: float
) -> Decision:
    """Tell the outcome of an attempt."""
    tried: dict[str, Any] = {
        "attempt_key": key,
        "init_time": whole_second(report.time),
        "init_error_message": None,
        "consecutive_failures": 0,
        "next_attempt_time": None,
    }
    if report.succeeded:
        return _opened(location, report, tried, now)
    failed = failures(location, key) + 1
    wait = attempts.after(failed, luck)
    tried |= {
        "init_status": "Failed",
        "init_error_message": report.message,
        "consecutive_failures": failed,
        "next_attempt_time": whole_second(now + timedelta(seconds=wait)),
    }
    return Decision(
        status=unready(location, now, report.reason, report.message, **tried),
        events=(Announcement("Warning", EventReason.INIT_FAILED, report.message),),
        wake_after=wait,
    )


def _opened(location: BackupLocation, report: jobs.Report, tried: dict[str, Any], now: datetime) -> Decision:
    """Tell that the repository is there and opens."""
    status, result = location.status, report.result
    repository = result.repository_id if result else None
    if status.repository_id is not None and status.repository_id != repository:
        tried |= dict.fromkeys(_OF_ONE_REPOSITORY)
        is_known = False
    else:
        is_known = status.last_health_time is not None
    tried |= {"init_status": "Completed", "repository_id": repository}
    event = Announcement("Normal", EventReason.INIT_SUCCEEDED, report.message)
    findings = [Finding(ConditionType.HEALTHY, "True", Reason.SUCCEEDED, report.message)]
    if result is not None and result.created is False and not is_known:
        # What it holds may be all that is left of another cluster, or of this one's records.
        text = "the repository was there already: what it holds is looked at now"
        findings = [Finding(ConditionType.HEALTHY, "Unknown", Reason.NOT_CHECKED_YET, text)]
    if "check_part" in tried:
        text = "the repository is another one than before, and has not been checked yet"
        findings.append(Finding(ConditionType.CHECKED, "Unknown", Reason.NOT_CHECKED_YET, text))
    return Decision(status=usable(location, now, report.message, findings, **tried), events=(event,))


def _others(runs: Sequence[Run], keep: str) -> tuple[Write, ...]:
    """Return the deletion of all Jobs of other attempts: theirs are other inputs, or they have been told."""
    return tuple(
        Delete(JOBS, run.job["metadata"]["namespace"], run.name, run.job["metadata"]["uid"])
        for run in runs
        if run.name != keep
    )
