"""What a policy learns of a backup whose Job was gone before its result was told."""

from datetime import datetime
from typing import Any

from kubedr_server.api.conditions import ConditionType, Reason
from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicy
from kubedr_server.api.metadata_backup_record import MetadataBackupRecord
from kubedr_server.controllers import conditions
from kubedr_server.controllers.conditions import whole_second
from kubedr_server.controllers.decision import Merge, Object
from kubedr_server.controllers.writer import merge_patch
from kubedr_server.kube.resources import METADATA_BACKUP_POLICIES


def lesson(policy: MetadataBackupPolicy, record: Object, now: datetime) -> Merge | None:
    """Return what an adopted record changes in a policy's status; None if the policy knows of a later one.

    The record's time is the backup's beginning, and a node's clock may run ahead: no backup is of the future.
    """
    model = MetadataBackupRecord.model_validate(record)
    status = policy.status
    if model.status.backup_time is None:
        return None
    taken = min(model.status.backup_time, whole_second(now))
    if status.last_success_time is not None and taken <= status.last_success_time:
        return None
    fields: dict[str, Any] = {
        "last_success_time": taken,
        "mbr_name": model.metadata.name,
        "snapshot_id": model.status.full_snapshot_id,
    }
    was_told = model.status.run_id is not None and model.status.run_id == status.last_job
    if status.backup_time is None or taken > status.backup_time or was_told:
        # Nothing that is known to have failed came after it, or it is this very run that left no result.
        text = f"the backup of {taken.isoformat()} succeeded; its result was found in the repository"
        succeeded = conditions.condition(
            ConditionType.BACKUP_SUCCEEDED,
            "True",
            Reason.ADOPTED,
            text,
            generation=policy.metadata.generation,
            now=now,
        )
        fields |= {
            "backup_status": "Completed",
            "backup_time": max(taken, status.backup_time or taken),
            "backup_error_message": None,
            "consecutive_failures": 0,
            "conditions": conditions.merge(status.conditions, [succeeded]),
        }
    patch = merge_patch(status.to_wire(), status.model_copy(update=fields).to_wire())
    metadata = policy.metadata
    body = {"metadata": {"resourceVersion": metadata.resource_version}, "status": patch}
    return Merge(METADATA_BACKUP_POLICIES, metadata.namespace, metadata.name, body, "status")
