"""The four kinds, with their names on the wire and their columns in `kubectl get`."""

from dataclasses import dataclass
from typing import Final

from kubedr_server.api.backup_location import BackupLocation
from kubedr_server.api.base import Resource
from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicy
from kubedr_server.api.metadata_backup_record import MetadataBackupRecord
from kubedr_server.api.metadata_restore import MetadataRestore


@dataclass(frozen=True)
class Column:
    """One column of `kubectl get`. `priority` 1 is shown with `-o wide` only."""

    name: str
    json_path: str
    type: str = "string"
    description: str = ""
    priority: int = 0


@dataclass(frozen=True)
class Kind:
    """A kind of the group. `short_names` are for `kubectl get`."""

    model: type[Resource]
    plural: str
    short_names: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def name(self) -> str:
        """The kind's name, such as `BackupLocation`."""
        return self.model.__name__

    @property
    def singular(self) -> str:
        """The lower-case singular, such as `backuplocation`."""
        return self.name.lower()


READY: Final = Column("Ready", '.status.conditions[?(@.type=="Ready")].status')
REASON: Final = Column("Reason", '.status.conditions[?(@.type=="Ready")].reason')
MESSAGE: Final = Column("Message", '.status.conditions[?(@.type=="Ready")].message', priority=1)
AGE: Final = Column("Age", ".metadata.creationTimestamp", "date")

BACKUP_LOCATION: Final = Kind(
    BackupLocation,
    "backuplocations",
    ("bl",),
    (
        Column("URL", ".spec.url"),
        Column("Bucket", ".spec.bucketName"),
        READY,
        REASON,
        Column("Checked", '.status.conditions[?(@.type=="Checked")].status'),
        Column("Backups", ".status.snapshots", "integer", priority=1),
        MESSAGE,
        AGE,
    ),
)
METADATA_BACKUP_POLICY: Final = Kind(
    MetadataBackupPolicy,
    "metadatabackuppolicies",
    ("mbp",),
    (
        Column("Schedule", ".spec.schedule"),
        Column("Suspend", ".spec.suspend", "boolean"),
        Column("Destination", ".spec.destination"),
        Column("Last Backup", ".status.backupStatus"),
        Column("Last Success", ".status.lastSuccessTime", "date"),
        Column("Record", ".status.mbrName", priority=1),
        READY,
        MESSAGE,
        AGE,
    ),
)
METADATA_BACKUP_RECORD: Final = Kind(
    MetadataBackupRecord,
    "metadatabackuprecords",
    ("mbr",),
    (
        Column("Policy", ".spec.policy"),
        Column("Location", ".spec.backuploc"),
        Column("Snapshot", ".spec.snapshotId"),
        Column("Revision", ".status.revision", "integer"),
        Column("Size", ".status.snapshotSize", "integer", priority=1),
        Column("Verified", '.status.conditions[?(@.type=="Verified")].status'),
        Column("Available", '.status.conditions[?(@.type=="SnapshotAvailable")].status'),
        AGE,
    ),
)
METADATA_RESTORE: Final = Kind(
    MetadataRestore,
    "metadatarestores",
    ("mr",),
    (
        Column("Record", ".spec.mbrName"),
        Column("PVC", ".spec.pvcName"),
        Column("Status", ".status.restoreStatus"),
        REASON,
        MESSAGE,
        AGE,
    ),
)
KINDS: Final = (BACKUP_LOCATION, METADATA_BACKUP_POLICY, METADATA_BACKUP_RECORD, METADATA_RESTORE)
