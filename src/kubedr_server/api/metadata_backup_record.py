"""MetadataBackupRecord: what exists."""

from typing import Annotated

from pydantic import ConfigDict, Field

from kubedr_server.api.base import Int64, Model, ObjectName, Resource, StatusBase, Timestamp
from kubedr_server.api.rules import cel

SNAPSHOT_ID_PATTERN = r"^[0-9a-f]{8,64}$"


class MetadataBackupRecordSpec(Model):
    """Which snapshot this is. It never changes."""

    model_config = ConfigDict(
        json_schema_extra=cel("self == oldSelf", "a record describes a finished backup: it cannot be changed")
    )

    policy: ObjectName
    """The MetadataBackupPolicy that made it."""

    snapshot_id: Annotated[str, Field(pattern=SNAPSHOT_ID_PATTERN, max_length=64)]
    """The restic snapshot's id. This value is used in restores."""

    backuploc: ObjectName | None = None
    """The BackupLocation that holds it; the policy's destination if not given."""


class MetadataBackupRecordStatus(StatusBase):
    """What was recorded, and proven, when the backup was made."""

    full_snapshot_id: str | None = None
    """All 64 digits of the snapshot's id."""

    run_id: str | None = None
    """The run that made it: the uid of its Job."""

    backup_time: Timestamp | None = None
    """When etcd's state was read."""

    revision: Int64 | None = None
    """etcd's revision in the snapshot."""

    hash: str | None = None
    """What `etcdutl snapshot status` prints as the snapshot's hash, in hexadecimal."""

    total_keys: Int64 | None = None
    """The number of keys, as `etcdutl snapshot status` counts them."""

    sha256: str | None = None
    """The SHA-256 of the snapshot file, trailer included."""

    snapshot_size: Int64 | None = None
    """The snapshot file's size in bytes."""

    data_added: Int64 | None = None
    """Bytes that the repository grew by, before compression."""

    data_stored: Int64 | None = None
    """Bytes that the repository grew by, after compression."""

    snapshot_format: str | None = None
    """How the snapshot is laid out in the repository."""

    etcd_version: str | None = None
    """The version of the etcd member that was read."""

    certificate_files: Int64 | None = None
    """How many files of `certsDir` are in it."""

    cluster_id: str | None = None
    """The cluster that it is of: the uid of its namespace kube-system."""

    certificates_expire: Timestamp | None = None
    """When the first of the certificates in it expires."""

    encrypted_objects: Int64 | None = None
    """How many objects in it are encrypted by kube-apiserver."""

    unrestorable_objects: Int64 | None = None
    """How many of these no key in the backup can decrypt."""

    recovery_duration_secs: str | None = None
    """How long the last drill took to bring it back, in seconds, as a decimal number."""

    drill_time: Timestamp | None = None
    """When the last drill with it finished."""

    consecutive_failures: Int64 | None = None
    """How many attempts in a row to delete the snapshot have failed, once the record is being deleted."""

    next_attempt_time: Timestamp | None = None
    """When deleting the snapshot is tried again after a failure."""


class MetadataBackupRecord(Resource):
    """One successful backup: the catalogue's entry for a snapshot in the repository."""

    spec: MetadataBackupRecordSpec
    status: MetadataBackupRecordStatus = Field(default_factory=MetadataBackupRecordStatus)
