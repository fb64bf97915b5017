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

    SNAPSHOT_AVAILABLE = "SnapshotAvailable"
    """MetadataBackupRecord: its snapshot was in the repository at the last look."""

    RESTORABLE = "Restorable"
    """MetadataBackupRecord: what is encrypted in it can be decrypted with a key that is in it, too."""

    RESTORE_VERIFIED = "RestoreVerified"
    """MetadataBackupRecord, and MetadataBackupPolicy for its last drill: it was brought back into a running
    etcd that equals what was recorded."""

    HEALTHY = "Healthy"
    """BackupLocation: the repository was reachable and opened at the last look."""

    CHECKED = "Checked"
    """BackupLocation: the last check found no fault in the repository and the data that it read."""

    PRUNED = "Pruned"
    """BackupLocation: the last pruning has freed what room there was to free."""

    RESTORED = "Restored"
    """MetadataRestore: the files are in place and complete."""


class Reason(StrEnum):
    """The `reason` of a condition or an Event, and of a runner's result.

    The second group is what the runner can find wrong; each has its own exit code in
    `kubedr_server.contract`.
    """

    # States
    READY = "Ready"
    """All is as the spec says."""

    PENDING = "Pending"
    """Nothing has been tried yet."""

    IN_PROGRESS = "InProgress"
    """A Job is at work on it."""

    SUCCEEDED = "Succeeded"
    """The last run did all that it was to do."""

    SUSPENDED = "Suspended"
    """`spec.suspend` is true: no backup is started."""

    SYNCED = "Synced"
    """The CronJob is what the spec says."""

    NOT_FOUND = "NotFound"
    """An object that the spec names does not exist; the message says which."""

    NOT_READY = "NotReady"
    """An object that the spec names exists and is not ready; its own conditions say why."""

    MISSED = "Missed"
    """A backup was due and never started."""

    SNAPSHOT_GONE = "SnapshotGone"
    """The repository no longer holds the snapshot that the record stands for."""

    ADOPTED = "Adopted"
    """The record was made from what the repository holds: its result never arrived, or another cluster made
    it."""

    KEY_MISSING = "KeyMissing"
    """Objects are encrypted with a key that is not in the backup."""

    NOT_CHECKED_YET = "NotCheckedYet"
    """Nothing has been looked at yet."""

    NO_BACKUP_YET = "NoBackupYet"
    """No backup has finished yet."""

    CONFLICT = "Conflict"
    """An object of the needed name exists and belongs to someone else."""

    SECRET_NOT_FOUND = "SecretNotFound"
    """A Secret that the spec names does not exist in the namespace."""

    SECRET_KEY_MISSING = "SecretKeyMissing"
    """A Secret lacks a key that is needed, or the key is empty."""

    JOB_NOT_SCHEDULABLE = "JobNotSchedulable"
    """No node fits the pod: look at the nodes' labels and free resources."""

    IMAGE_PULL_FAILED = "ImagePullFailed"
    """The backup image cannot be pulled."""

    DEADLINE_EXCEEDED = "DeadlineExceeded"
    """The run took longer than it may, and was ended."""

    POD_NOT_STARTED = "PodNotStarted"
    """The pod has a node and its image, and its container cannot be started."""

    EVICTED = "Evicted"
    """The node put the pod out, such as for lack of disk or memory."""

    OUT_OF_MEMORY = "OutOfMemory"
    """The container needed more memory than its limit."""

    REFUSED = "Refused"
    """The API server does not allow a request that is needed; the message says which, and why."""

    INVALID = "Invalid"
    """The object is stored, and cannot be used as it is."""

    NO_RESULT = "NoResult"
    """The pod ended without a result document, and Kubernetes does not say why."""

    # What the runner found
    WRONG_S3_CREDENTIALS = "WrongS3Credentials"
    """The storage does not know the access key, or the secret key is not its own."""

    S3_ACCESS_DENIED = "S3AccessDenied"
    """The storage knows the key and does not allow what is needed."""

    BUCKET_NOT_FOUND = "BucketNotFound"
    """The bucket does not exist and could not be created."""

    STORAGE_UNREACHABLE = "StorageUnreachable"
    """The storage endpoint does not answer, or its name is unknown."""

    STORAGE_TLS_FAILED = "StorageTLSFailed"
    """The storage endpoint's certificate is not trusted."""

    WRONG_REPOSITORY_PASSWORD = "WrongRepositoryPassword"
    """The repository exists and does not open with `restic_repo_password`."""

    REPOSITORY_NOT_FOUND = "RepositoryNotFound"
    """The bucket holds no repository where one must be. None is made over it."""

    REPOSITORY_LOCKED = "RepositoryLocked"
    """Another process holds the repository's lock."""

    REPOSITORY_FAILED = "RepositoryFailed"
    """restic failed in another way; the message has its words."""

    SNAPSHOT_NOT_FOUND = "SnapshotNotFound"
    """The repository does not hold the snapshot."""

    ETCD_UNREACHABLE = "EtcdUnreachable"
    """etcd does not answer at the endpoint."""

    ETCD_TLS_FAILED = "EtcdTLSFailed"
    """etcd and the runner do not accept each other's certificates."""

    ETCD_UNHEALTHY = "EtcdUnhealthy"
    """etcd answers and is not fit to be backed up, such as without a leader."""

    ETCD_SNAPSHOT_FAILED = "EtcdSnapshotFailed"
    """etcd broke the snapshot off."""

    SNAPSHOT_CORRUPT = "SnapshotCorrupt"
    """The snapshot's checksum or structure is wrong."""

    SNAPSHOT_STALE = "SnapshotStale"
    """The snapshot is older than the run's beginning: the member lags behind."""

    BACKUP_INCOMPLETE = "BackupIncomplete"
    """restic could not read all that was to be stored."""

    CERTIFICATES_UNREADABLE = "CertificatesUnreadable"
    """`certsDir` is missing, empty, or holds what cannot be read."""

    NODE_FILES_UNREADABLE = "NodeFilesUnreadable"
    """Another path that the policy names (`staticPodsDir`, `kubeconfigs`, `encryptionConfig`) is missing,
    empty, or cannot be read."""

    REPOSITORY_DAMAGED = "RepositoryDamaged"
    """restic's check found data that is missing or does not match its digest."""

    ETCD_CORRUPT = "EtcdCorrupt"
    """etcd says, or its members' hashes show, that its data is corrupt: no snapshot of it can be trusted."""

    REBUILD_DIFFERS = "RebuildDiffers"
    """What was rebuilt is not what was backed up: its hash, revision or keys differ."""

    DRILL_FAILED = "DrillFailed"
    """The backup was restored, and etcd did not run on it as it should."""

    TARGET_NOT_EMPTY = "TargetNotEmpty"
    """The volume to restore to holds files. Nothing was overwritten."""

    DISK_FULL = "DiskFull"
    """A disk has no room left."""

    DISK_FAILED = "DiskFailed"
    """A disk gives I/O errors, or takes no writes."""

    SETTING_MISSING = "SettingMissing"
    """A setting or a Secret's key is missing in the pod."""

    PROGRAM_MISSING = "ProgramMissing"
    """The image lacks a program."""

    PROGRAM_TOO_OLD = "ProgramTooOld"
    """A program in the image is too old."""

    CANCELLED = "Cancelled"
    """The run was told to end before it had finished."""

    INTERNAL_ERROR = "InternalError"
    """A mistake in this program; the pod's log has more."""


class EventReason(StrEnum):
    """The reasons of this project's Events (KubeDR's documented names)."""

    INIT_SUCCEEDED = "InitSucceeded"
    """BackupLocation: the repository is ready."""

    INIT_FAILED = "InitFailed"
    """BackupLocation: it could not be made or opened."""

    BACKUP_SUCCEEDED = "BackupSucceeded"
    """MetadataBackupPolicy: a backup was stored and proven."""

    BACKUP_FAILED = "BackupFailed"
    """MetadataBackupPolicy: a backup was not made."""

    BACKUP_MISSED = "BackupMissed"
    """MetadataBackupPolicy: a backup was due and never started."""

    HEALTH_FAILED = "HealthFailed"
    """BackupLocation: the repository cannot be reached or opened any more."""

    HEALTH_SUCCEEDED = "HealthSucceeded"
    """BackupLocation: the repository can be reached and opened again."""

    CHECK_FAILED = "CheckFailed"
    """BackupLocation: the repository is damaged, or could not be checked."""

    CHECK_SUCCEEDED = "CheckSucceeded"
    """BackupLocation: a check found no fault, after one that had."""

    PRUNE_FAILED = "PruneFailed"
    """BackupLocation: room could not be freed."""

    LOCKS_REMOVED = "LocksRemoved"
    """BackupLocation: locks of runs that no longer exist were removed."""

    RECORD_ADOPTED = "RecordAdopted"
    """MetadataBackupRecord: it was made from what the repository holds."""

    SNAPSHOT_GONE = "SnapshotGone"
    """MetadataBackupRecord: its snapshot is no longer in the repository."""

    DRILL_SUCCEEDED = "DrillSucceeded"
    """MetadataBackupPolicy: its newest backup was brought back into a running etcd, and equals what was
    recorded."""

    DRILL_FAILED = "DrillFailed"
    """MetadataBackupPolicy: its newest backup could not be brought back."""

    RESTORE_SUCCEEDED = "RestoreSucceeded"
    """MetadataRestore: the files are in place and complete."""

    RESTORE_FAILED = "RestoreFailed"
    """MetadataRestore: nothing, or not all, was brought back."""

    DELETE_SUCCEEDED = "DeleteSucceeded"
    """MetadataBackupRecord: its snapshot is no longer in the repository."""

    DELETE_FAILED = "DeleteFailed"
    """MetadataBackupRecord: its snapshot could not be removed from the repository."""

    SNAPSHOT_KEPT = "SnapshotKept"
    """MetadataBackupRecord: it is deleted, and its snapshot stays in the repository."""
