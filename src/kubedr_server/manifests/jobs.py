"""The Jobs that no CronJob starts: those of a repository, restore a backup, forget a snapshot.

Each has a name that follows from its inputs, so that creating it twice is creating it once. None is
retried by the Job controller: the controllers of this project decide on the next attempt, with a back-off
and a reason to show.
"""

from collections.abc import Mapping
from typing import Any, Final

from kubedr_server.api.backup_location import BackupLocation
from kubedr_server.api.base import Resource
from kubedr_server.api.group import GROUP
from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicy
from kubedr_server.api.metadata_backup_record import MetadataBackupRecord
from kubedr_server.api.metadata_restore import MetadataRestore
from kubedr_server.api.names import job_name
from kubedr_server.contract import Env, Mount, Operation
from kubedr_server.manifests.labels import Label, object_metadata, template_metadata
from kubedr_server.manifests.parts import Part, join, repository, setting
from kubedr_server.manifests.pod import pod_spec
from kubedr_server.manifests.settings import RunnerSettings

ATTEMPT_ANNOTATION: Final = f"{GROUP}/attempt"
"""On a Job of a location: its `status.attemptKey` when the Job was made, so its bucket and Secrets."""


def init_job_name(location: BackupLocation, attempt: str) -> str:
    """Return the name of one attempt at initialising a location."""
    return job_name(Operation.INIT, location.metadata.name, location.metadata.uid, attempt)


def init_job(location: BackupLocation, settings: RunnerSettings, attempt: str) -> dict[str, Any]:
    """Return the Job that makes, or opens, a location's repository. `attempt` tells one try from another."""
    return _location_job(
        init_job_name(location, attempt),
        location,
        Operation.INIT,
        repository(location),
        settings,
        settings.job_deadline_seconds,
    )


def health_job_name(location: BackupLocation, attempt: str) -> str:
    """Return the name of one look at a location's repository."""
    return job_name(Operation.HEALTH, location.metadata.name, location.metadata.uid, attempt)


def health_job(
    location: BackupLocation, settings: RunnerSettings, attempt: str, *, unlock: bool
) -> dict[str, Any]:
    """Return the Job that looks at a repository and lists its snapshots.

    `unlock`: no other Job of this cluster works with the repository, so that stale locks may be removed.
    """
    parts = [repository(location)]
    if unlock:
        parts.append(setting(Env.UNLOCK, "true"))
    return _location_job(
        health_job_name(location, attempt),
        location,
        Operation.HEALTH,
        join(parts),
        settings,
        settings.job_deadline_seconds,
    )


def check_job_name(location: BackupLocation, attempt: str) -> str:
    """Return the name of one check of a location's repository."""
    return job_name(Operation.CHECK, location.metadata.name, location.metadata.uid, attempt)


def check_job(
    location: BackupLocation, settings: RunnerSettings, attempt: str, part: int, parts: int
) -> dict[str, Any]:
    """Return the Job that checks a repository and reads one part of its data, from 1 to `parts`."""
    return _location_job(
        check_job_name(location, attempt),
        location,
        Operation.CHECK,
        join(
            (repository(location), setting(Env.CHECK_PART, str(part)), setting(Env.CHECK_PARTS, str(parts)))
        ),
        settings,
        settings.maintenance_deadline_seconds,
    )


def prune_job_name(location: BackupLocation, attempt: str) -> str:
    """Return the name of one attempt at freeing a location's room."""
    return job_name(Operation.PRUNE, location.metadata.name, location.metadata.uid, attempt)


def prune_job(location: BackupLocation, settings: RunnerSettings, attempt: str) -> dict[str, Any]:
    """Return the Job that frees the room of data that no snapshot needs any more."""
    return _location_job(
        prune_job_name(location, attempt),
        location,
        Operation.PRUNE,
        repository(location),
        settings,
        settings.maintenance_deadline_seconds,
    )


def restore_job_name(restore: MetadataRestore) -> str:
    """Return the name of a restore's one Job."""
    return job_name(Operation.RESTORE, restore.metadata.name, restore.metadata.uid)


def restore_job(
    restore: MetadataRestore,
    record: MetadataBackupRecord,
    location: BackupLocation,
    settings: RunnerSettings,
) -> dict[str, Any]:
    """Return the Job that writes a record's files to the restore's PersistentVolumeClaim."""
    target = Part(
        env=setting(Env.TARGET_DIR, Mount.TARGET).env,
        volumes=({"name": "target", "persistentVolumeClaim": {"claimName": restore.spec.pvc_name}},),
        mounts=({"name": "target", "mountPath": Mount.TARGET.value},),
    )
    return _job(
        restore_job_name(restore),
        restore,
        Operation.RESTORE,
        {
            Label.RESTORE: restore.metadata.name,
            Label.RECORD: record.metadata.name,
            Label.LOCATION: location.metadata.name,
        },
        join((repository(location), _snapshot(record), target)),
        settings,
        settings.restore_deadline_seconds,
    )


def forget_job_name(record: MetadataBackupRecord, attempt: str) -> str:
    """Return the name of one attempt at forgetting a record's snapshot."""
    return job_name(Operation.FORGET, record.metadata.name, record.metadata.uid, attempt)


def forget_job(
    record: MetadataBackupRecord,
    location: BackupLocation,
    settings: RunnerSettings,
    attempt: str,
) -> dict[str, Any]:
    """Return the Job that removes a record's snapshot from its repository.

    It belongs to the location, not to the record: the record is being deleted while the Job runs, and a
    foreground deletion (`kubectl delete --cascade=foreground`) would delete the Job before it has
    done its work. The record is named by a label.
    """
    return _job(
        forget_job_name(record, attempt),
        location,
        Operation.FORGET,
        {Label.RECORD: record.metadata.name, Label.LOCATION: location.metadata.name},
        join((repository(location), _snapshot(record))),
        settings,
        settings.job_deadline_seconds,
    )


def drill_job_name(policy: MetadataBackupPolicy, attempt: str) -> str:
    """Return the name of one of a policy's drills."""
    return job_name(Operation.DRILL, policy.metadata.name, policy.metadata.uid, attempt)


def drill_job(
    policy: MetadataBackupPolicy,
    location: BackupLocation,
    record: MetadataBackupRecord,
    settings: RunnerSettings,
    attempt: str,
) -> dict[str, Any]:
    """Return the Job that brings a record's backup back into an etcd of its own, as no privileged user."""
    return _job(
        drill_job_name(policy, attempt),
        policy,
        Operation.DRILL,
        {
            Label.POLICY: policy.metadata.name,
            Label.RECORD: record.metadata.name,
            Label.LOCATION: location.metadata.name,
        },
        join((repository(location), _snapshot(record))),
        settings,
        settings.restore_deadline_seconds,
    )


def _snapshot(record: MetadataBackupRecord) -> Part:
    """Return the snapshot's id, in full where the record knows it: eight digits can be ambiguous."""
    return setting(Env.SNAPSHOT_ID, record.status.full_snapshot_id or record.spec.snapshot_id)


def _location_job(
    name: str,
    location: BackupLocation,
    operation: Operation,
    part: Part,
    settings: RunnerSettings,
    deadline_seconds: int,
) -> dict[str, Any]:
    subjects = {Label.LOCATION: location.metadata.name}
    job = _job(name, location, operation, subjects, part, settings, deadline_seconds)
    if location.status.attempt_key is not None:
        job["metadata"].setdefault("annotations", {})[ATTEMPT_ANNOTATION] = location.status.attempt_key
    return job


def _job(
    name: str,
    owner: Resource,
    operation: Operation,
    subjects: Mapping[Label, str],
    part: Part,
    settings: RunnerSettings,
    deadline_seconds: int,
) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": object_metadata(name, owner, operation, subjects),
        "spec": {
            "activeDeadlineSeconds": deadline_seconds,
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": settings.ttl_seconds_after_finished,
            "template": {
                "metadata": template_metadata(operation, subjects),
                "spec": pod_spec(operation, part, settings, deadline_seconds),
            },
        },
    }
