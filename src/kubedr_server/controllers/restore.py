"""MetadataRestore: one Job brings one backup back, once."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubedr_server.api.backup_location import BackupLocation
from kubedr_server.api.conditions import ConditionType, EventReason, Reason
from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicy
from kubedr_server.api.metadata_backup_record import MetadataBackupRecord
from kubedr_server.api.metadata_restore import MetadataRestore, MetadataRestoreStatus
from kubedr_server.contract import Operation
from kubedr_server.controllers import conditions, jobs
from kubedr_server.controllers.cluster import Cluster
from kubedr_server.controllers.conditions import ConditionStatus, whole_second
from kubedr_server.controllers.decision import Announcement, Create, Decision
from kubedr_server.controllers.jobs import Report
from kubedr_server.controllers.location.state import location_secrets
from kubedr_server.controllers.outcome import Done, Outcome
from kubedr_server.controllers.reconciler import Context, outcome, read
from kubedr_server.controllers.run import TROUBLES, Run, confirm, find_run, remembered, trouble
from kubedr_server.controllers.secrets import SecretReader, SecretState, lack
from kubedr_server.kube.cache import Key
from kubedr_server.kube.resources import (
    BACKUP_LOCATIONS,
    JOBS,
    METADATA_BACKUP_POLICIES,
    METADATA_BACKUP_RECORDS,
    METADATA_RESTORES,
    PVCS,
)
from kubedr_server.manifests.jobs import restore_job, restore_job_name
from kubedr_server.manifests.settings import RunnerSettings


@dataclass(frozen=True)
class RestoreState:
    """All that a decision about a restore depends on. What is None does not exist."""

    restore: MetadataRestore
    record: MetadataBackupRecord | None = None
    location: BackupLocation | None = None
    secrets: tuple[SecretState, ...] = ()
    pvc_exists: bool = False
    run: Run | None = None


def decide(state: RestoreState, runner: RunnerSettings, recheck: float, now: datetime) -> Decision:
    """Return what to do about a restore that has not ended. `recheck`: seconds between looks at the PVC."""
    restore, run = state.restore, state.run
    name = restore_job_name(restore)
    known = conditions.find(restore.status.conditions, ConditionType.RESTORED)
    if run is not None:
        if jobs.ended(run.job) is not None:
            before = remembered(restore.status.conditions, ConditionType.RESTORED, name)
            return _told(restore, jobs.report(run.job, run.pods, Operation.RESTORE, before), now)
        stuck = trouble(run, restore.status.conditions, ConditionType.RESTORED)
        if stuck is not None:
            return Decision(status=_status(restore, now, "False", stuck.reason, stuck.message))
        return Decision(
            status=_status(restore, now, "False", Reason.IN_PROGRESS, f"Job {name} restores the backup")
        )
    if known is not None and known.reason in {Reason.IN_PROGRESS, *TROUBLES}:
        # It had begun. To begin again could write over what a person already works with.
        message = (
            f"Job {name} is gone and its result is not known; check the volume, then make another restore"
        )
        return _told(restore, Report(name, "", None, now, Reason.NO_RESULT, message), now)
    waits = _waits_for(state)
    if waits is not None or state.record is None or state.location is None:
        reason, message = waits or (Reason.PENDING, "the restore waits for its backup")
        status = _status(restore, now, "False", reason, message)
        # Nobody tells of PersistentVolumeClaims; all else is watched.
        return Decision(status=status, wake_after=recheck)
    return Decision(
        before=(Create(JOBS, restore_job(restore, state.record, state.location, runner)),),
        status=_status(restore, now, "False", Reason.IN_PROGRESS, f"Job {name} restores the backup"),
    )


def _waits_for(state: RestoreState) -> tuple[Reason, str] | None:
    """Return the first thing that is missing before the restore can begin."""
    spec, namespace = state.restore.spec, state.restore.metadata.namespace
    record = state.record
    if record is None:
        return (
            Reason.NOT_FOUND,
            f"MetadataBackupRecord {spec.mbr_name} does not exist in namespace {namespace}",
        )
    if record.metadata.deletion_timestamp is not None:
        return Reason.NOT_READY, f"MetadataBackupRecord {spec.mbr_name} is being deleted, with its snapshot"
    if state.location is None:
        name = record.spec.backuploc or "of the record's policy"
        return Reason.NOT_FOUND, f"BackupLocation {name}, which holds the backup, does not exist"
    missing = lack(state.secrets, namespace)
    if missing is not None:
        return missing.reason, missing.message
    if not state.pvc_exists:
        return (
            Reason.NOT_FOUND,
            f"PersistentVolumeClaim {spec.pvc_name} does not exist in namespace {namespace}; create it",
        )
    return None


def _told(restore: MetadataRestore, report: Report, now: datetime) -> Decision:
    result = report.result.restore if report.result else None
    fields: dict[str, Any] = {
        "restore_status": "Completed" if report.succeeded else "Failed",
        "restore_error_message": None if report.succeeded else report.message,
        "restore_time": whole_second(report.time),
        "restore_pod": report.pod,
        "files_restored": result.files_restored if result else None,
        "bytes_restored": result.bytes_restored if result else None,
    }
    if report.succeeded:
        status = _status(restore, now, "True", Reason.SUCCEEDED, report.message, **fields)
        return Decision(
            status, events=(Announcement("Normal", EventReason.RESTORE_SUCCEEDED, report.message),)
        )
    status = _status(restore, now, "False", report.reason, report.message, **fields)
    return Decision(status, events=(Announcement("Warning", EventReason.RESTORE_FAILED, report.message),))


def _status(
    restore: MetadataRestore,
    now: datetime,
    restored: ConditionStatus,
    reason: Reason,
    message: str,
    **fields: Any,
) -> MetadataRestoreStatus:
    generation = restore.metadata.generation
    wanted = [
        conditions.condition(type_, restored, reason, message, generation=generation, now=now)
        for type_ in (ConditionType.RESTORED, ConditionType.READY)
    ]
    return restore.status.model_copy(
        update={
            **fields,
            "observed_generation": generation,
            "conditions": conditions.merge(restore.status.conditions, wanted),
        }
    )


class RestoreReconciler:
    """Gathers a restore's state and carries out what is decided."""

    resource = METADATA_RESTORES

    def __init__(self, context: Context, secrets: SecretReader) -> None:
        self._context = context
        self._secrets = secrets

    async def reconcile(self, key: Key) -> Outcome:
        """Run one restore to its end."""
        context = self._context
        found = await read(context.cluster, METADATA_RESTORES, MetadataRestore, key)
        if (
            found is None
            or found.model.metadata.deletion_timestamp is not None
            or found.model.status.restore_status is not None
        ):
            return Done()
        state = await self._gather(key, found.model)
        settings = context.settings
        decision = decide(state, settings.runner, settings.recheck_seconds, context.clock())
        await context.writer.carry_out(decision, METADATA_RESTORES, found.raw)
        return outcome(decision)

    async def _gather(self, key: Key, restore: MetadataRestore) -> RestoreState:
        cluster = self._context.cluster
        run = await find_run(cluster, Key(key.namespace, restore_job_name(restore)))
        if run is not None:
            return RestoreState(restore, run=await confirm(cluster, run))
        raw = cluster.cached(METADATA_BACKUP_RECORDS, Key(key.namespace, restore.spec.mbr_name))
        if raw is None:
            return RestoreState(restore)
        record = MetadataBackupRecord.model_validate(raw)
        location = await location_of(cluster, record)
        secrets = await location_secrets(self._secrets, location) if location else ()
        pvc = await cluster.live(PVCS, Key(key.namespace, restore.spec.pvc_name))
        return RestoreState(restore, record, location, secrets, pvc_exists=pvc is not None)


async def location_of(cluster: Cluster, record: MetadataBackupRecord) -> BackupLocation | None:
    """Return the location that holds a record's snapshot; None only if the API server has none."""
    namespace, name = record.metadata.namespace, record.spec.backuploc
    if name is None:
        policy = cluster.cached(METADATA_BACKUP_POLICIES, Key(namespace, record.spec.policy))
        if policy is None:
            policy = await cluster.live(METADATA_BACKUP_POLICIES, Key(namespace, record.spec.policy))
        if policy is None:
            return None
        name = MetadataBackupPolicy.model_validate(policy).spec.destination
    key = Key(namespace, name)
    # A cache that is behind must not let anyone give a snapshot up.
    raw = cluster.cached(BACKUP_LOCATIONS, key) or await cluster.live(BACKUP_LOCATIONS, key)
    return BackupLocation.model_validate(raw) if raw else None
