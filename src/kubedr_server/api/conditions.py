"""Condition types and reasons: the words that programs may rely on."""

from enum import StrEnum


class ConditionType(StrEnum):
    """The `type` of a condition."""

    READY = "Ready"
    """The object does what its spec says; the summary to wait for (`kubectl wait --for=condition=Ready`)."""

    INITIALIZED = "Initialized"
    """BackupLocation: the restic repository exists and opens with the given password."""

    DESTINATION_READY = "DestinationReady"
    """MetadataBackupPolicy: the BackupLocation that it names exists and is ready."""

    SCHEDULED = "Scheduled"
    """MetadataBackupPolicy: the CronJob is what the spec says."""

    BACKUP_SUCCEEDED = "BackupSucceeded"
    """MetadataBackupPolicy: the last finished backup succeeded and was proven."""

    VERIFIED = "Verified"
    """MetadataBackupRecord: the snapshot was proven when it was made."""

    SNAPSHOT_DELETED = "SnapshotDeleted"
    """MetadataBackupRecord that is being deleted: its snapshot is no longer in the repository."""

    RESTORED = "Restored"
    """MetadataRestore: the files are in place and complete."""


class Reason(StrEnum):
    """The `reason` of a condition or an Event, and of a runner's result.

    The second group is what the runner can find wrong; each has its own exit code in
    `kubedr_server.contract`.
    """

    # States
    READY = "Ready"
    PENDING = "Pending"
    IN_PROGRESS = "InProgress"
    SUCCEEDED = "Succeeded"
    SUSPENDED = "Suspended"
    SYNCED = "Synced"
    NOT_FOUND = "NotFound"
    NOT_READY = "NotReady"
    NO_BACKUP_YET = "NoBackupYet"
    CONFLICT = "Conflict"
    SECRET_NOT_FOUND = "SecretNotFound"
    SECRET_KEY_MISSING = "SecretKeyMissing"
    JOB_NOT_SCHEDULABLE = "JobNotSchedulable"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    POD_NOT_STARTED = "PodNotStarted"
    """The pod has a node and its image, and its container cannot be started."""
    EVICTED = "Evicted"
    OUT_OF_MEMORY = "OutOfMemory"
    REFUSED = "Refused"
    """The API server does not allow a request that is needed; the message says which, and why."""
    INVALID = "Invalid"
    """The object is stored, and cannot be used as it is."""
    NO_RESULT = "NoResult"
    """The pod ended without a result document, and Kubernetes does not say why."""

    # What the runner found
    WRONG_S3_CREDENTIALS = "WrongS3Credentials"
    S3_ACCESS_DENIED = "S3AccessDenied"
    BUCKET_NOT_FOUND = "BucketNotFound"
    STORAGE_UNREACHABLE = "StorageUnreachable"
    STORAGE_TLS_FAILED = "StorageTLSFailed"
    WRONG_REPOSITORY_PASSWORD = "WrongRepositoryPassword"
    REPOSITORY_NOT_FOUND = "RepositoryNotFound"
    REPOSITORY_LOCKED = "RepositoryLocked"
    REPOSITORY_FAILED = "RepositoryFailed"
    SNAPSHOT_NOT_FOUND = "SnapshotNotFound"
    ETCD_UNREACHABLE = "EtcdUnreachable"
    ETCD_TLS_FAILED = "EtcdTLSFailed"
    ETCD_UNHEALTHY = "EtcdUnhealthy"
    ETCD_SNAPSHOT_FAILED = "EtcdSnapshotFailed"
    SNAPSHOT_CORRUPT = "SnapshotCorrupt"
    SNAPSHOT_STALE = "SnapshotStale"
    BACKUP_INCOMPLETE = "BackupIncomplete"
    CERTIFICATES_UNREADABLE = "CertificatesUnreadable"
    TARGET_NOT_EMPTY = "TargetNotEmpty"
    DISK_FULL = "DiskFull"
    SETTING_MISSING = "SettingMissing"
    PROGRAM_MISSING = "ProgramMissing"
    PROGRAM_TOO_OLD = "ProgramTooOld"
    CANCELLED = "Cancelled"
    INTERNAL_ERROR = "InternalError"


class EventReason(StrEnum):
    """The reasons of this project's Events (KubeDR's documented names)."""

    INIT_SUCCEEDED = "InitSucceeded"
    INIT_FAILED = "InitFailed"
    BACKUP_SUCCEEDED = "BackupSucceeded"
    BACKUP_FAILED = "BackupFailed"
    RESTORE_SUCCEEDED = "RestoreSucceeded"
    RESTORE_FAILED = "RestoreFailed"
    DELETE_SUCCEEDED = "DeleteSucceeded"
    """MetadataBackupRecord: its snapshot is no longer in the repository."""
    DELETE_FAILED = "DeleteFailed"
    SNAPSHOT_KEPT = "SnapshotKept"
    """MetadataBackupRecord: it is deleted, and its snapshot stays in the repository."""
