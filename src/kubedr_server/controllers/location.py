"""BackupLocation: its repository is initialised once for each identity, and whether it works is told.

An attempt is a Job. Its key is a hash of what the attempt depends on (the spec's fields and the
versions of the Secrets), so that any change is tried at once, and an attempt that succeeded is not repeated.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kubedr_server.api.backup_location import (
    CA_BUNDLE_KEY,
    CREDENTIAL_KEYS,
    BackupLocation,
    BackupLocationStatus,
)
from kubedr_server.api.base import Condition
from kubedr_server.api.conditions import ConditionType, EventReason, Reason
from kubedr_server.contract import Operation
from kubedr_server.controllers import conditions, jobs
from kubedr_server.controllers.backoff import Backoff
from kubedr_server.controllers.conditions import ConditionStatus, whole_second
from kubedr_server.controllers.decision import Announcement, Create, Decision, Delete, Write
from kubedr_server.controllers.outcome import Done, Outcome
from kubedr_server.controllers.reconciler import Context, outcome, read
from kubedr_server.controllers.run import Run, confirmed, remembered, runs_of, trouble
from kubedr_server.controllers.secrets import SecretReader, SecretState, lack
from kubedr_server.kube.cache import Key
from kubedr_server.kube.resources import BACKUP_LOCATIONS, JOBS
from kubedr_server.manifests.jobs import init_job, init_job_name
from kubedr_server.manifests.settings import RunnerSettings


@dataclass(frozen=True)
class LocationState:
    """All that a decision about a location depends on. `luck` is random, from 0 to 1."""

    location: BackupLocation
    secrets: tuple[SecretState, ...]
    runs: tuple[Run, ...]
    luck: float = 0.0


def attempt_key(location: BackupLocation, secrets: Sequence[SecretState]) -> str:
    """Return what names the inputs of an attempt. Secrets count by their version, never by their content."""
    spec = location.spec.to_wire()
    versions = [[secret.name, secret.version] for secret in secrets]
    return hashlib.sha256(json.dumps([spec, versions], sort_keys=True).encode()).hexdigest()[:16]


def next_attempt(location: BackupLocation, secrets: Sequence[SecretState]) -> str:
    """Return what tells the attempt that is due, or under way, from all others."""
    key = attempt_key(location, secrets)
    return f"{key}-{_failures(location, key)}"


def _failures(location: BackupLocation, key: str) -> int:
    same = location.status.attempt_key == key
    return (location.status.consecutive_failures or 0) if same else 0


def decide(state: LocationState, runner: RunnerSettings, attempts: Backoff, now: datetime) -> Decision:
    """Return what to do about a location now."""
    location = state.location
    missing = lack(state.secrets, location.metadata.namespace)
    if missing is not None:
        known = conditions.find(location.status.conditions, ConditionType.READY)
        # Once for each thing that is missing, not at each look.
        is_new = known is None or (known.reason, known.message) != (missing.reason, missing.message)
        warning = Announcement("Warning", EventReason.INIT_FAILED, missing.message)
        return Decision(
            status=_status(location, now, "False", missing.reason, missing.message, both=False),
            events=(warning,) if is_new else (),
        )
    key = attempt_key(location, state.secrets)
    status = location.status
    same = status.attempt_key == key
    failures = _failures(location, key)
    if same and status.init_status == "Completed":
        message = f"The repository {_place(location)} is initialised and opens"
        return Decision(status=_status(location, now, "True", Reason.READY, message))
    last_error = (status.init_error_message or "") if same else ""
    if same and status.next_attempt_time is not None and now < status.next_attempt_time:
        known = conditions.find(status.conditions, ConditionType.READY)
        is_told = known is not None and known.message == last_error
        reason = known.reason if known is not None and is_told else Reason.NOT_READY
        return Decision(
            status=_status(location, now, "False", reason, last_error),
            wake_after=(status.next_attempt_time - now).total_seconds(),
        )
    attempt = next_attempt(location, state.secrets)
    name = init_job_name(location, attempt)
    doing = f"Attempt {failures + 1} to initialise the repository: Job {name}"
    if last_error:
        doing += f"; the last one failed: {last_error}"
    run = next((known for known in state.runs if known.name == name), None)
    if run is None:
        create = Create(JOBS, init_job(location, runner, attempt))
        return Decision(
            before=(*_others(state.runs, name), create),
            status=_status(location, now, "False", Reason.IN_PROGRESS, doing),
        )
    if jobs.ended(run.job) is None:
        stuck = trouble(run, status.conditions, ConditionType.READY)
        reason = stuck.reason if stuck else Reason.IN_PROGRESS
        message = stuck.message if stuck else doing
        return Decision(status=_status(location, now, "False", reason, message))
    before = remembered(status.conditions, ConditionType.READY, name)
    report = jobs.report(run.job, run.pods, Operation.INIT, before)
    return _told(location, report, key, failures, attempts, now, state.luck)


def _told(
    location: BackupLocation,
    report: jobs.Report,
    key: str,
    failures: int,
    attempts: Backoff,
    now: datetime,
    luck: float,
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
        repository = report.result.repository_id if report.result else None
        tried |= {"init_status": "Completed", "repository_id": repository}
        status = _status(location, now, "True", Reason.READY, report.message, **tried)
        return Decision(
            status=status, events=(Announcement("Normal", EventReason.INIT_SUCCEEDED, report.message),)
        )
    wait = attempts.after(failures + 1, luck)
    tried |= {
        "init_status": "Failed",
        "init_error_message": report.message,
        "consecutive_failures": failures + 1,
        "next_attempt_time": whole_second(now + timedelta(seconds=wait)),
    }
    return Decision(
        status=_status(location, now, "False", report.reason, report.message, **tried),
        events=(Announcement("Warning", EventReason.INIT_FAILED, report.message),),
        wake_after=wait,
    )


def _place(location: BackupLocation) -> str:
    spec = location.spec
    return f"in bucket {spec.bucket_name}" if spec.repository is None else spec.repository


def _others(runs: Sequence[Run], keep: str) -> tuple[Write, ...]:
    """Return the deletion of all Jobs of other attempts: theirs are other inputs, or they have been told."""
    return tuple(
        Delete(JOBS, run.job["metadata"]["namespace"], run.name, run.job["metadata"]["uid"])
        for run in runs
        if run.name != keep
    )


def _status(
    location: BackupLocation,
    now: datetime,
    ready: ConditionStatus,
    reason: str,
    message: str,
    both: bool = True,
    **fields: Any,
) -> BackupLocationStatus:
    """Return the status with its conditions. Without `both`, what is known of the repository stays."""
    generation = location.metadata.generation

    def made(type_: ConditionType, status: ConditionStatus) -> Condition:
        return conditions.condition(type_, status, reason, message, generation=generation, now=now)

    wanted = [made(ConditionType.READY, ready)]
    known = conditions.find(location.status.conditions, ConditionType.INITIALIZED)
    if both or known is None:
        wanted.insert(0, made(ConditionType.INITIALIZED, ready))
    return location.status.model_copy(
        update={
            **fields,
            "observed_generation": generation,
            "conditions": conditions.merge(location.status.conditions, wanted),
        }
    )


class LocationReconciler:
    """Gathers a location's state and carries out what is decided."""

    resource = BACKUP_LOCATIONS

    def __init__(self, context: Context, secrets: SecretReader) -> None:
        self._context = context
        self._secrets = secrets

    async def reconcile(self, key: Key) -> Outcome:
        """Make a location's repository exist, and tell whether it does."""
        context = self._context
        found = await read(context.cluster, BACKUP_LOCATIONS, BackupLocation, key)
        if found is None or found.model.metadata.deletion_timestamp is not None:
            # Its Jobs are its own and go with it. What is in the bucket stays.
            return Done()
        location = found.model
        secrets = await location_secrets(self._secrets, location)
        current = init_job_name(location, next_attempt(location, secrets))
        runs = await confirmed(
            context.cluster, runs_of(context.cluster, location.metadata.uid, Operation.INIT), current
        )
        state = LocationState(location, secrets, runs, context.rng.random())
        decision = decide(state, context.settings.runner, context.settings.attempts, context.clock())
        await context.writer.carry_out(decision, BACKUP_LOCATIONS, found.raw)
        return outcome(decision)


async def location_secrets(secrets: SecretReader, location: BackupLocation) -> tuple[SecretState, ...]:
    """Return the state of the Secrets that opening a location's repository takes."""
    namespace = location.metadata.namespace
    found = [await secrets.look(namespace, location.spec.credentials, CREDENTIAL_KEYS)]
    if location.spec.ca_secret is not None:
        found.append(await secrets.look(namespace, location.spec.ca_secret, (CA_BUNDLE_KEY,)))
    return tuple(found)
