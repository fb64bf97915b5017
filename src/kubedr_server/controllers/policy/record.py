"""The MetadataBackupRecord of a finished backup."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from kubedr_server.api.conditions import ConditionType, Reason
from kubedr_server.api.group import API_VERSION, RECORD_FINALIZER
from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicy
from kubedr_server.api.metadata_backup_record import MetadataBackupRecord, MetadataBackupRecordStatus
from kubedr_server.api.names import RECORD_PREFIX, SHORT_SNAPSHOT_ID_LENGTH
from kubedr_server.contract import BackupResult, Operation
from kubedr_server.controllers import conditions
from kubedr_server.controllers.conditions import whole_second
from kubedr_server.controllers.decision import Create, Merge, Object, Write
from kubedr_server.controllers.jobs import Report
from kubedr_server.controllers.settings import SNAPSHOT_ANNOTATION
from kubedr_server.kube.resources import METADATA_BACKUP_RECORDS
from kubedr_server.manifests.labels import Label, template_metadata

ID_LENGTHS: Final = (SHORT_SNAPSHOT_ID_LENGTH, 12, 16, 24, 32, 64)
"""How much of a snapshot's id names its record: more only if another snapshot has the shorter name."""


@dataclass(frozen=True)
class Slot:
    """The name that a snapshot's record has, and the record if it exists already."""

    short_id: str
    existing: Object | None = None

    @property
    def name(self) -> str:
        """The record's name."""
        return RECORD_PREFIX + self.short_id


def is_record_of(record: Object, snapshot_id: str) -> bool:
    """Whether a record stands for the snapshot of this whole id."""
    known = (
        (record.get("status") or {}).get("fullSnapshotId")
        or (record["metadata"].get("annotations") or {}).get(SNAPSHOT_ANNOTATION)
        or (record.get("spec") or {}).get("snapshotId", "")
    )
    return bool(known) and snapshot_id.startswith(known)


def writes(
    policy: MetadataBackupPolicy,
    location: str,
    report: Report,
    backup: BackupResult,
    slot: Slot,
    now: datetime,
) -> tuple[Write, ...]:
    """Return what makes the record exist and complete; nothing if it is already."""
    generation = 1 if slot.existing is None else int(slot.existing["metadata"].get("generation") or 1)
    status = _status(report, backup, generation, now).to_wire()
    namespace = policy.metadata.namespace
    if slot.existing is None:
        return (Create(METADATA_BACKUP_RECORDS, _record(policy, location, backup, slot), status),)
    known = MetadataBackupRecord.model_validate(slot.existing)
    if conditions.is_true(known.status.conditions, ConditionType.VERIFIED):
        return ()
    # Made by this process's predecessor, which ended before it wrote the status.
    body = {"metadata": {"resourceVersion": known.metadata.resource_version}, "status": status}
    return (Merge(METADATA_BACKUP_RECORDS, namespace, slot.name, body, "status"),)


def _record(policy: MetadataBackupPolicy, location: str, backup: BackupResult, slot: Slot) -> dict[str, Any]:
    """Return the new record. The policy does not own it: a deleted policy leaves its backups."""
    metadata = template_metadata(
        Operation.BACKUP, {Label.POLICY: policy.metadata.name, Label.LOCATION: location}
    )
    return {
        "apiVersion": API_VERSION,
        "kind": METADATA_BACKUP_RECORDS.kind,
        "metadata": {
            "name": slot.name,
            "namespace": policy.metadata.namespace,
            "labels": metadata["labels"],
            "annotations": {**metadata.get("annotations", {}), SNAPSHOT_ANNOTATION: backup.snapshot_id},
            "finalizers": [RECORD_FINALIZER],
        },
        "spec": {"policy": policy.metadata.name, "backuploc": location, "snapshotId": slot.short_id},
    }


def _status(
    report: Report, backup: BackupResult, generation: int, now: datetime
) -> MetadataBackupRecordStatus:
    message = (
        f"etcd revision {backup.revision} is at or after {backup.minimum_revision}, which was read when the "
        f"backup began; hash {backup.hash}, {backup.total_keys} keys"
    )
    verified = conditions.condition(
        ConditionType.VERIFIED, "True", Reason.SUCCEEDED, message, generation=generation, now=now
    )
    # What was written while the backup ran may be missing from it: the start is what it surely holds.
    taken = report.result.start_time if report.result else report.time
    return MetadataBackupRecordStatus(
        observed_generation=generation,
        conditions=[verified],
        full_snapshot_id=backup.snapshot_id,
        run_id=report.job_uid,
        backup_time=whole_second(taken),
        revision=backup.revision,
        hash=backup.hash,
        total_keys=backup.total_keys,
        sha256=backup.sha256,
        snapshot_size=backup.snapshot_size,
        data_added=backup.data_added,
        data_stored=backup.data_stored,
        snapshot_format=backup.snapshot_format,
        etcd_version=backup.etcd_version,
        certificate_files=backup.certificate_files,
    )
