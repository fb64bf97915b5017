"""MetadataBackupRecord: when it is deleted, its snapshot goes first and its finalizer last.

While it is there, it says whether damage was found in the repository (see `doubt`).

A record must not be stuck for ever, and a snapshot must not be lost sight of by accident. So a failed
deletion is told and tried again, and there are three ways to let the record go without it: the annotation
`kubedr.catalogicsoftware.com/orphan-snapshot: "true"`, the deletion of the BackupLocation, and the
deletion of the whole namespace. Each says in an Event that the snapshot stays in the repository.
"""

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from kubedr_server.api.backup_location import BackupLocation
from kubedr_server.api.conditions import ConditionType, EventReason, Reason
from kubedr_server.api.group import RECORD_FINALIZER
from kubedr_server.api.metadata_backup_record import MetadataBackupRecord, MetadataBackupRecordStatus
from kubedr_server.contract import Operation
from kubedr_server.controllers import conditions, doubt, jobs
from kubedr_server.controllers.backoff import Backoff
from kubedr_server.controllers.conditions import whole_second
from kubedr_server.controllers.decision import Announcement, Create, Decision, Merge, Write
from kubedr_server.controllers.jobs import Report
from kubedr_server.controllers.location.state import location_secrets
from kubedr_server.controllers.outcome import Done, Outcome
from kubedr_server.controllers.reconciler import Context, Read, outcome, read
from kubedr_server.controllers.restore import location_of
from kubedr_server.controllers.run import Run, confirm, find_run, remembered, trouble
from kubedr_server.controllers.secrets import SecretReader, SecretState, lack
from kubedr_server.controllers.settings import ORPHAN_ANNOTATION, SNAPSHOT_ANNOTATION, ControllerSettings
from kubedr_server.controllers.turns import Turns
from kubedr_server.kube import errors
from kubedr_server.kube.cache import Key
from kubedr_server.kube.resources import BACKUP_LOCATIONS, JOBS, METADATA_BACKUP_RECORDS
from kubedr_server.manifests.jobs import forget_job, forget_job_name
from kubedr_server.manifests.parts import repository_url

logger = logging.getLogger(__name__)

_TURN_SECONDS = 10.0
"""How soon a record that waits for its turn looks again, in case it was not told."""

_LET_GO_DIGITS: Final = 16
_LET_GO_MOST: Final = 1000
"""How many snapshots without a record a location remembers."""


@dataclass(frozen=True)
class DeletionState:
    """All that a decision about a record's deletion depends on. `luck` is random, from 0 to 1."""

    record: MetadataBackupRecord
    location: BackupLocation | None = None
    secrets: tuple[SecretState, ...] = ()
    run: Run | None = None
    """The Job of the attempt that is due or under way."""

    busy_with: str | None = None
    """Another Job that has the same repository to itself right now."""

    luck: float = 0.0


def is_held(record: MetadataBackupRecord) -> bool:
    """Whether a record is being deleted and waits for its snapshot to go."""
    return record.metadata.deletion_timestamp is not None and RECORD_FINALIZER in record.metadata.finalizers


def next_attempt(record: MetadataBackupRecord) -> str:
    """Return what tells the attempt that is due, or under way, from the others."""
    return str(record.status.consecutive_failures or 0)


def decide(state: DeletionState, settings: ControllerSettings, now: datetime) -> Decision:
    """Return what to do about a record that is being deleted."""
    record, run = state.record, state.run
    if record.metadata.annotations.get(ORPHAN_ANNOTATION) == "true":
        kept = keep(record, f"the annotation {ORPHAN_ANNOTATION} says so")
        return kept if state.location is None else replace(kept, before=_let_go(record, state.location))
    if state.location is None:
        return keep(
            record, f"BackupLocation {record.spec.backuploc or 'of its policy'} does not exist any more"
        )
    name = forget_job_name(record, next_attempt(record))
    if run is not None and jobs.ended(run.job) is not None:
        before = remembered(record.status.conditions, ConditionType.SNAPSHOT_DELETED, name)
        report = jobs.report(run.job, run.pods, Operation.FORGET, before)
        return _told(record, report, settings.attempts, now, state.luck)
    if run is not None:
        stuck = trouble(run, record.status.conditions, ConditionType.SNAPSHOT_DELETED)
        reason = stuck.reason if stuck else Reason.IN_PROGRESS
        message = stuck.message if stuck else f"Job {name} deletes the snapshot"
        return Decision(_status(record, now, reason, message))
    wait = settings.attempts.left(record.status.next_attempt_time, now)
    if wait > 0:
        return Decision(wake_after=wait)
    missing = lack(state.secrets, record.metadata.namespace)
    if missing is not None:
        known = conditions.find(record.status.conditions, ConditionType.SNAPSHOT_DELETED)
        is_new = known is None or known.message != missing.message
        warning = Announcement("Warning", EventReason.DELETE_FAILED, missing.message)
        status = _status(record, now, missing.reason, missing.message)
        return Decision(status, events=(warning,) if is_new else ())
    if state.busy_with is not None:
        message = f"waits for Job {state.busy_with}: one at a time has the repository to itself"
        return Decision(_status(record, now, Reason.PENDING, message), wake_after=_TURN_SECONDS)
    job = forget_job(_named_in_full(record), state.location, settings.runner, next_attempt(record))
    return Decision(
        before=(Create(JOBS, job),),
        status=_status(record, now, Reason.IN_PROGRESS, f"Job {name} deletes the snapshot"),
    )


def keep(record: MetadataBackupRecord, why: str) -> Decision:
    """Return the decision to let the record go and leave its snapshot."""
    message = f"snapshot {_snapshot_id(record)} stays in the repository: {why}"
    return _release(record, Announcement("Normal", EventReason.SNAPSHOT_KEPT, message, "kept"))


def _let_go(record: MetadataBackupRecord, location: BackupLocation) -> tuple[Write, ...]:
    """Return what makes the location remember that the snapshot is to stay without a record."""
    known, short = location.status.let_go or [], _snapshot_id(record)[:_LET_GO_DIGITS]
    if short in known:
        return ()
    metadata = location.metadata
    body = {
        "metadata": {"resourceVersion": metadata.resource_version},
        "status": {"letGo": [*known, short][-_LET_GO_MOST:]},
    }
    return (Merge(BACKUP_LOCATIONS, metadata.namespace, metadata.name, body, "status"),)


def _told(
    record: MetadataBackupRecord, report: Report, attempts: Backoff, now: datetime, luck: float
) -> Decision:
    if report.succeeded or report.reason is Reason.SNAPSHOT_NOT_FOUND:
        text = "is deleted" if report.succeeded else "was not in the repository any more"
        message = f"snapshot {_snapshot_id(record)} {text}"
        return _release(record, Announcement("Normal", EventReason.DELETE_SUCCEEDED, message, "deleted"))
    failures = (record.status.consecutive_failures or 0) + 1
    wait = attempts.after(failures, luck)
    message = (
        f"{report.message.rstrip('.')}. To delete the record and leave the snapshot, annotate it with "
        f'{ORPHAN_ANNOTATION}="true"'
    )
    status = _status(
        record,
        now,
        report.reason,
        message,
        consecutive_failures=failures,
        next_attempt_time=whole_second(now + timedelta(seconds=wait)),
    )
    return Decision(
        status, events=(Announcement("Warning", EventReason.DELETE_FAILED, message),), wake_after=wait
    )


def _release(record: MetadataBackupRecord, event: Announcement) -> Decision:
    metadata = record.metadata
    body = {
        "metadata": {
            "resourceVersion": metadata.resource_version,
            "finalizers": [name for name in metadata.finalizers if name != RECORD_FINALIZER],
        }
    }
    return Decision(
        events=(event,),
        after=(Merge(METADATA_BACKUP_RECORDS, metadata.namespace, metadata.name, body),),
    )


def _snapshot_id(record: MetadataBackupRecord) -> str:
    """Return the snapshot's id, in full if it is known."""
    return (
        record.status.full_snapshot_id
        or record.metadata.annotations.get(SNAPSHOT_ANNOTATION)
        or record.spec.snapshot_id
    )


def _named_in_full(record: MetadataBackupRecord) -> MetadataBackupRecord:
    status = record.status.model_copy(update={"full_snapshot_id": _snapshot_id(record)})
    return record.model_copy(update={"status": status})


def _status(
    record: MetadataBackupRecord, now: datetime, reason: Reason, message: str, **fields: Any
) -> MetadataBackupRecordStatus:
    generation = record.metadata.generation
    wanted = conditions.condition(
        ConditionType.SNAPSHOT_DELETED, "False", reason, message, generation=generation, now=now
    )
    return record.status.model_copy(
        update={
            **fields,
            "observed_generation": generation,
            "conditions": conditions.merge(record.status.conditions, [wanted]),
        }
    )


class RecordReconciler:
    """Gathers the state of a record that is being deleted, and carries out what is decided."""

    resource = METADATA_BACKUP_RECORDS

    def __init__(self, context: Context, secrets: SecretReader, turns: Turns) -> None:
        self._context = context
        self._secrets = secrets
        self._turns = turns

    async def reconcile(self, key: Key) -> Outcome:
        """Delete a record's snapshot, if the record is being deleted; else say whether it is in doubt."""
        context = self._context
        found = await read(context.cluster, METADATA_BACKUP_RECORDS, MetadataBackupRecord, key)
        if found is None:
            return Done()
        if found.model.metadata.deletion_timestamp is None:
            return await self._doubt(found)
        if not is_held(found.model):
            return Done()
        state = await self._gather(key, found.model)
        decision = decide(state, context.settings, context.clock())
        with self._turns.beginning(decision.before):
            return await self._carry_out(key, found, decision)

    async def _doubt(self, found: Read[MetadataBackupRecord]) -> Outcome:
        record, context = found.model, self._context
        name = record.spec.backuploc
        location = name and context.cluster.cached(BACKUP_LOCATIONS, Key(record.metadata.namespace, name))
        status = doubt.status(record, location, context.clock()) if location else None
        if status is not None:
            await context.writer.write_status(METADATA_BACKUP_RECORDS, found.raw, status)
        return Done()

    async def _carry_out(self, key: Key, found: Read[MetadataBackupRecord], decision: Decision) -> Outcome:
        context = self._context
        try:
            await context.writer.carry_out(decision, METADATA_BACKUP_RECORDS, found.raw)
        except errors.NamespaceTerminating:
            # No Job can be made any more, and whoever deletes a namespace did not ask to lose backups.
            decision = keep(found.model, f"namespace {key.namespace} is being deleted")
            await context.writer.carry_out(decision, METADATA_BACKUP_RECORDS, found.raw)
        except errors.Invalid as error:
            if not decision.after:
                raise
            # A location that cannot be written to must not hold the record that someone wants to be rid of.
            logger.warning("%s: that its snapshot was let go is not noted: %s", key, error)
            await context.writer.carry_out(replace(decision, before=()), METADATA_BACKUP_RECORDS, found.raw)
        return outcome(decision)

    async def _gather(self, key: Key, record: MetadataBackupRecord) -> DeletionState:
        cluster = self._context.cluster
        location = await location_of(cluster, record)
        if location is None:
            return DeletionState(record)
        name = forget_job_name(record, next_attempt(record))
        run = await find_run(cluster, Key(key.namespace, name))
        if run is not None:
            run = await confirm(cluster, run)
        return DeletionState(
            record=record,
            location=location,
            secrets=await location_secrets(self._secrets, location),
            run=run,
            luck=self._context.rng.random(),
            # Last: what is decided on it must not be late.
            busy_with=await self._turns.taken(repository_url(location.spec), name),
        )
