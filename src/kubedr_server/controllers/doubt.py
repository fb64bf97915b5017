"""What a record says while a check has found damage in the repository that holds its snapshot. Pure.

Snapshots share their data, so any of them may need what is damaged, a new one as well: all records of the
location are in doubt, until a check finds it whole. One in doubt neither expires nor pushes another out (see
`retention`), because the oldest may be the only one that is whole.
"""

from datetime import datetime

from kubedr_server.api.conditions import ConditionType, Reason
from kubedr_server.api.metadata_backup_record import MetadataBackupRecord, MetadataBackupRecordStatus
from kubedr_server.controllers import conditions
from kubedr_server.controllers.conditions import ConditionStatus
from kubedr_server.controllers.decision import Object
from kubedr_server.controllers.proof import AVAILABLE


def is_damaged(location: Object) -> bool:
    """Whether the last check of a location, as it is stored, has found damage."""
    return any(
        (known.get("type"), known.get("status"), known.get("reason"))
        == (ConditionType.CHECKED.value, "False", Reason.REPOSITORY_DAMAGED.value)
        for known in (location.get("status") or {}).get("conditions") or ()
    )


def status(
    record: MetadataBackupRecord, location: Object, now: datetime
) -> MetadataBackupRecordStatus | None:
    """Return what a record's status becomes by what is known of its location; None if it stays."""
    known = conditions.find(record.status.conditions, ConditionType.SNAPSHOT_AVAILABLE)
    if is_damaged(location):
        if known is not None and known.status != "True":
            return None
        name = location["metadata"]["name"]
        text = (
            f"the last check of BackupLocation {name} found damage: it is not sure that the backup can be "
            "restored, and a restore to a new volume shows whether it can"
        )
        return _with(record, "Unknown", Reason.REPOSITORY_DAMAGED, text, now)
    if known is not None and (known.status, known.reason) == ("Unknown", Reason.REPOSITORY_DAMAGED):
        return _with(record, "True", Reason.SUCCEEDED, AVAILABLE, now)
    return None


def _with(
    record: MetadataBackupRecord, available: ConditionStatus, reason: Reason, message: str, now: datetime
) -> MetadataBackupRecordStatus:
    condition = conditions.condition(
        ConditionType.SNAPSHOT_AVAILABLE,
        available,
        reason,
        message,
        generation=record.metadata.generation,
        now=now,
    )
    return record.status.model_copy(
        update={"conditions": conditions.merge(record.status.conditions, [condition])}
    )
