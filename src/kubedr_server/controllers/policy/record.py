"""The MetadataBackupRecord of a finished backup."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from kubedr_server.api.conditions import ConditionType
from kubedr_server.api.group import API_VERSION, RECORD_FINALIZER
from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicy
from kubedr_server.api.metadata_backup_record import MetadataBackupRecord, MetadataBackupRecordStatus
from kubedr_server.api.names import RECORD_PREFIX, SHORT_SNAPSHOT_ID_LENGTH
from kubedr_server.contract import BackupResult, Operation
from kubedr_server.controllers import conditions
from kubedr_server.controllers.decision import Create, Merge, Object, Write
from kubedr_server.controllers.jobs import Report
from kubedr_server.controllers.proof import Origin, record_status
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
    job_made: datetime | None = None,
) -> tuple[Write, ...]:
    """Return what makes the record exist and complete; nothing if it is already."""
    generation = 1 if slot.existing is None else int(slot.existing["metadata"].get("generation") or 1)
    status = _status(report, backup, generation, now, job_made).to_wire()
    namespace = policy.metadata.namespace
    if slot.existing is None:
        owner = policy.metadata
        record = new_record(owner.namespace, owner.name, location, backup.snapshot_id, slot)
        return (Create(METADATA_BACKUP_RECORDS, record, status),)
    known = MetadataBackupRecord.model_validate(slot.existing)
    if conditions.is_true(known.status.conditions, ConditionType.VERIFIED):
        return ()
    # Made by this process's predecessor, which ended before it wrote the status.
    body = {"metadata": {"resourceVersion": known.metadata.resource_version}, "status": status}
    return (Merge(METADATA_BACKUP_RECORDS, namespace, slot.name, body, "status"),)


def new_record(
    namespace: str,
    policy: str,
    location: str,
    snapshot_id: str,
    slot: Slot,
    labels: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the new record. The policy does not own it: a deleted policy leaves its backups."""
    metadata = template_metadata(Operation.BACKUP, {Label.POLICY: policy, Label.LOCATION: location})
    return {
        "apiVersion": API_VERSION,
        "kind": METADATA_BACKUP_RECORDS.kind,
        "metadata": {
            "name": slot.name,
            "namespace": namespace,
            "labels": {**metadata["labels"], **(labels or {})},
            "annotations": {**metadata.get("annotations", {}), SNAPSHOT_ANNOTATION: snapshot_id},
            "finalizers": [RECORD_FINALIZER],
        },
        "spec": {"policy": policy, "backuploc": location, "snapshotId": slot.short_id},
    }


def _status(
    report: Report, backup: BackupResult, generation: int, now: datetime, job_made: datetime | None
) -> MetadataBackupRecordStatus:
    taken = report.result.start_time if report.result else report.time
    if job_made is not None:
        # A node's clock that is behind must not make the newest backup look like the oldest. The Job has
        # the API server's time.
        taken = max(taken, job_made)
    return record_status(backup, Origin(report.job_uid, taken, report.cluster_id), generation, now)
