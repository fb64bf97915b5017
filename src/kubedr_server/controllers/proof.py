"""What a record says of its snapshot: the same whether a Job's result told it or the snapshot's tags."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from kubedr_server.api.base import Condition
from kubedr_server.api.conditions import ConditionType, Reason
from kubedr_server.api.metadata_backup_record import MetadataBackupRecordStatus
from kubedr_server.contract import BackupResult
from kubedr_server.controllers import conditions
from kubedr_server.controllers.conditions import ConditionStatus, whole_second

AVAILABLE: Final = "the repository holds the snapshot"


@dataclass(frozen=True)
class Origin:
    """Where a snapshot comes from."""

    run_id: str
    """The uid of its Job."""

    taken: datetime
    """When the backup began: what was written while it ran may be missing from it."""

    cluster_id: str | None
    is_adopted: bool = False
    """Whether the repository told of it, and not the Job's own result."""


def record_status(
    backup: BackupResult, origin: Origin, generation: int, now: datetime
) -> MetadataBackupRecordStatus:
    """Return the status of a proven backup's record."""

    def made(type_: ConditionType, status: ConditionStatus, reason: Reason, message: str) -> Condition:
        return conditions.condition(type_, status, reason, message, generation=generation, now=now)

    verified = Reason.ADOPTED if origin.is_adopted else Reason.SUCCEEDED
    known = [
        made(ConditionType.VERIFIED, "True", verified, _proof(backup, origin)),
        made(ConditionType.SNAPSHOT_AVAILABLE, "True", Reason.SUCCEEDED, AVAILABLE),
    ]
    # Tags do not say what is encrypted: nothing is claimed where nothing is known.
    counted = backup.encrypted_objects > 0 or not origin.is_adopted
    if counted:
        known.append(made(ConditionType.RESTORABLE, *_restorable(backup)))
    return MetadataBackupRecordStatus(
        observed_generation=generation,
        conditions=known,
        full_snapshot_id=backup.snapshot_id,
        run_id=origin.run_id or None,
        backup_time=whole_second(origin.taken),
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
        cluster_id=origin.cluster_id,
        certificates_expire=whole_second(backup.certificates_expire) if backup.certificates_expire else None,
        encrypted_objects=backup.encrypted_objects if counted else None,
        unrestorable_objects=backup.unrestorable_objects if counted else None,
    )


def _proof(backup: BackupResult, origin: Origin) -> str:
    message = (
        f"etcd revision {backup.revision} is at or after {backup.minimum_revision}, which was read when the "
        f"backup began; hash {backup.hash}, {backup.total_keys} stored revisions"
    )
    return f"{message}; as the snapshot's tags in the repository say" if origin.is_adopted else message


def _restorable(backup: BackupResult) -> tuple[ConditionStatus, Reason, str]:
    if backup.unrestorable_objects:
        text = (
            f"{backup.unrestorable_objects} of {backup.encrypted_objects} encrypted objects have no key in "
            "the backup: name kube-apiserver's encryption configuration in the policy's encryptionConfig, "
            "and keep the present key somewhere else, for this backup"
        )
        return "False", Reason.KEY_MISSING, text
    if backup.encrypted_objects:
        text = f"the keys of all {backup.encrypted_objects} encrypted objects are in the backup"
    else:
        text = "nothing in the backup is encrypted by kube-apiserver"
    return "True", Reason.SUCCEEDED, text
