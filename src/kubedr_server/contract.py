"""What the manifests put into a runner's pod, and what the runner reads there and reports back.

Both sides import the names from here and retype none of them. A pod gets: one argument
vector (`command`), plain settings in environment variables (`Env`), secrets as files in
mounted directories, and a path for its result. Every path that the runner uses reaches it in
an environment variable, never as a constant of its own: where a pod runs as a local process, the
executor rewrites the mount paths, and nothing else has to know.
"""

import json
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field

from kubedr_server.api.base import Model, Timestamp
from kubedr_server.api.conditions import Reason

PROGRAM: Final = "kubedr"


class Operation(StrEnum):
    """The runner's sub-commands: `kubedr runner <operation>`."""

    INIT = "init"
    BACKUP = "backup"
    RESTORE = "restore"
    FORGET = "forget"
    HEALTH = "health"
    CHECK = "check"
    PRUNE = "prune"
    DRILL = "drill"


def command(operation: Operation) -> list[str]:
    """Return the container's argument vector. Everything else is in the environment."""
    return [PROGRAM, "runner", operation.value]


class Env(StrEnum):
    """The environment variables of a runner's pod."""

    RUN_ID = "KUBEDR_RUN_ID"
    """Names the run in tags and results: the pod's `job-name` label's Job, by its uid (downward API)."""

    RESULT_PATH = "KUBEDR_RESULT_PATH"
    """Where the result document is written: the container's `terminationMessagePath`."""

    SCRATCH_DIR = "KUBEDR_SCRATCH_DIR"
    """A writable directory for temporary files, on a volume of the pod's own."""

    DEADLINE_SECONDS = "KUBEDR_DEADLINE_SECONDS"
    """How long the operation may take, a little less than the Job's activeDeadlineSeconds."""

    REPOSITORY = "KUBEDR_REPOSITORY"
    """The restic repository, such as `s3:https://s3.example.com/bucket/prefix`. Holds no secret."""

    REPOSITORY_CREDENTIALS_DIR = "KUBEDR_REPOSITORY_CREDENTIALS_DIR"
    """The directory with the files `access_key`, `secret_key` and `restic_repo_password`."""

    REPOSITORY_CA_FILE = "KUBEDR_REPOSITORY_CA_FILE"
    """PEM certificates that the storage endpoint is checked with; the system's if not set."""

    REPOSITORY_INSECURE = "KUBEDR_REPOSITORY_INSECURE_SKIP_TLS_VERIFY"
    """`true`: the storage endpoint's certificate is not checked."""

    REPOSITORY_REGION = "KUBEDR_REPOSITORY_REGION"

    REPOSITORY_PROXY = "KUBEDR_REPOSITORY_PROXY"
    """The HTTP proxy through which the storage is reached; the pod's own proxy variables do not count."""

    CLUSTER_ID = "KUBEDR_CLUSTER_ID"
    """The uid of the cluster's kube-system namespace: which cluster a snapshot is of."""

    POLICY = "KUBEDR_POLICY"
    """`<namespace>/<name>` of the policy that a backup is made for."""

    ETCD_ENDPOINTS = "KUBEDR_ETCD_ENDPOINTS"
    """One or several client URLs, separated by commas."""

    ETCD_CREDENTIALS_DIR = "KUBEDR_ETCD_CREDENTIALS_DIR"
    """The directory with the files `ca.crt`, `client.crt` and `client.key`."""

    CERTIFICATES_DIR = "KUBEDR_CERTIFICATES_DIR"
    """The directory that is backed up beside etcd; not set if the policy names none."""

    STATIC_PODS_DIR = "KUBEDR_STATIC_PODS_DIR"
    """The directory of static pods that is backed up beside etcd; not set if the policy names none."""

    KUBECONFIGS_DIR = "KUBEDR_KUBECONFIGS_DIR"
    """The directory with the kubeconfig files that are backed up; not set if the policy names none."""

    ENCRYPTION_CONFIG_FILE = "KUBEDR_ENCRYPTION_CONFIG_FILE"
    """kube-apiserver's encryption configuration, which is backed up; not set if the policy names none."""

    SNAPSHOT_FORMAT = "KUBEDR_SNAPSHOT_FORMAT"
    """`segments` or `file`: how a backup lays the snapshot out."""

    CHECK_PART = "KUBEDR_CHECK_PART"
    """The part of the data that a check reads, from 1 to `CHECK_PARTS`."""

    CHECK_PARTS = "KUBEDR_CHECK_PARTS"

    UNLOCK = "KUBEDR_UNLOCK"
    """`true`: no other Job of this cluster works with the repository, so that stale locks may be removed."""

    SNAPSHOT_ID = "KUBEDR_SNAPSHOT_ID"
    """The snapshot to restore or to forget: hexadecimal, never `latest`."""

    TARGET_DIR = "KUBEDR_TARGET_DIR"
    """The empty directory that a restore writes to."""


class Mount(StrEnum):
    """Where volumes are mounted in the runner's container."""

    SCRATCH = "/kubedr/scratch"
    REPOSITORY_CREDENTIALS = "/kubedr/repository-credentials"
    REPOSITORY_CA = "/kubedr/repository-ca"
    ETCD_CREDENTIALS = "/kubedr/etcd-credentials"
    CERTIFICATES = "/kubedr/certificates"
    STATIC_PODS = "/kubedr/static-pods"
    KUBECONFIGS = "/kubedr/kubeconfigs"
    ENCRYPTION_CONFIG = "/kubedr/encryption-config"
    TARGET = "/kubedr/target"


CONTAINER_NAME: Final = "kubedr-runner"
TERMINATION_MESSAGE_PATH: Final = "/dev/termination-log"
MAX_RESULT_BYTES: Final = 4096
"""Kubernetes cuts a termination message at this length."""

# What a snapshot holds, as paths below its root.
SNAPSHOT_FILE: Final = "etcd-snapshot.db"
CERTIFICATES_FOLDER: Final = "certificates"
STATIC_PODS_FOLDER: Final = "static-pods"
KUBECONFIGS_FOLDER: Final = "kubeconfigs"
ENCRYPTION_FOLDER: Final = "encryption-config"
SEGMENTS_FOLDER: Final = "etcd-segments"
"""The snapshot taken apart (`snapshot_format` `segments`); a restore puts `SNAPSHOT_FILE` together of it."""

RECOVERY_FOLDER: Final = "recovery"
"""What a person needs to get everything back by hand, and what a drill compares with."""

# The tags of a restic snapshot, `name=value`: what the catalogue is rebuilt from.
TAG: Final = "kubedr"
TAG_CLUSTER: Final = "cluster"
TAG_POLICY: Final = "policy"
TAG_RUN: Final = "run"
TAG_REVISION: Final = "revision"
TAG_MINIMUM_REVISION: Final = "minimum-revision"
TAG_HASH: Final = "hash"
TAG_KEYS: Final = "keys"
TAG_SHA256: Final = "sha256"
TAG_SIZE: Final = "size"
TAG_FORMAT: Final = "format"
TAG_ETCD_VERSION: Final = "etcd-version"
TAG_ETCD_ENDPOINT: Final = "etcd-endpoint"
TAG_CERTIFICATES: Final = "certificates"
TAG_FILES: Final = "files"
"""How many regular files the snapshot must hold; with `TAG_BYTES`, the sum of their sizes, it is whole."""

TAG_BYTES: Final = "bytes"
TAG_CERTIFICATES_EXPIRE: Final = "certificates-expire"
TAG_ENCRYPTED: Final = "encrypted"
TAG_UNRESTORABLE: Final = "unrestorable"

EXIT_CODES: Final[dict[Reason, int]] = {
    Reason.INTERNAL_ERROR: 1,
    Reason.SETTING_MISSING: 2,
    Reason.WRONG_S3_CREDENTIALS: 10,
    Reason.S3_ACCESS_DENIED: 11,
    Reason.BUCKET_NOT_FOUND: 12,
    Reason.STORAGE_UNREACHABLE: 13,
    Reason.STORAGE_TLS_FAILED: 14,
    Reason.WRONG_REPOSITORY_PASSWORD: 20,
    Reason.REPOSITORY_NOT_FOUND: 21,
    Reason.REPOSITORY_LOCKED: 22,
    Reason.REPOSITORY_FAILED: 23,
    Reason.SNAPSHOT_NOT_FOUND: 24,
    Reason.BACKUP_INCOMPLETE: 25,
    Reason.REPOSITORY_DAMAGED: 26,
    Reason.ETCD_UNREACHABLE: 30,
    Reason.ETCD_TLS_FAILED: 31,
    Reason.ETCD_UNHEALTHY: 32,
    Reason.ETCD_SNAPSHOT_FAILED: 33,
    Reason.SNAPSHOT_CORRUPT: 34,
    Reason.SNAPSHOT_STALE: 35,
    Reason.ETCD_CORRUPT: 36,
    Reason.REBUILD_DIFFERS: 37,
    Reason.DRILL_FAILED: 38,
    Reason.CERTIFICATES_UNREADABLE: 40,
    Reason.TARGET_NOT_EMPTY: 41,
    Reason.DISK_FULL: 42,
    Reason.NODE_FILES_UNREADABLE: 43,
    Reason.DISK_FAILED: 44,
    Reason.PROGRAM_MISSING: 50,
    Reason.PROGRAM_TOO_OLD: 51,
    Reason.DEADLINE_EXCEEDED: 60,
    Reason.CANCELLED: 130,
}
"""The runner's exit code for each way to fail; 0 is success, and nothing else is."""


class BackupResult(Model):
    """What a backup made, and the proof of it."""

    snapshot_id: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    revision: int
    minimum_revision: int
    """The linearizable read taken before the snapshot: `revision` is at or after it."""

    hash: str
    """`etcdutl snapshot status`, hexadecimal."""

    total_keys: int
    sha256: str
    """Of the whole snapshot file, trailer included."""

    snapshot_size: int
    snapshot_format: str
    etcd_version: str
    etcd_endpoint: str
    certificate_files: int
    files_new: int
    files_changed: int
    data_added: int
    data_stored: int
    total_bytes_processed: int
    total_duration_secs: float
    certificates_expire: Timestamp | None = None
    """When the first of the certificates in the backup expires."""

    encrypted_objects: int = 0
    """Objects that kube-apiserver has encrypted."""

    unrestorable_objects: int = 0
    """Encrypted objects whose key is not in the backup."""


class HealthResult(Model):
    """What a look at the repository found. The list of its snapshots is on the pod's log (`Catalogue`)."""

    snapshots: int
    repository_size: int
    """Bytes in the storage."""

    locks: int
    """Locks that are left after stale ones were removed."""

    locks_removed: int = 0


class CheckResult(Model):
    """What a check read without finding a fault."""

    part: int
    parts: int
    bytes_read: int = 0


class PruneResult(Model):
    """What was freed."""

    bytes_freed: int
    repository_size: int


class DrillResult(Model):
    """What ran on the backup that was brought back."""

    snapshot_id: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    revision: int
    total_keys: int
    hash: str
    recovery_duration_secs: float
    """From an empty directory to an etcd that answers."""


class RestoreResult(Model):
    """What a restore brought back."""

    snapshot_id: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    files_restored: int
    bytes_restored: int
    revision: int
    hash: str
    """`etcdutl snapshot status` of the restored file, checked after its SHA-256."""


class RunResult(Model):
    """The one document that a run ends with: the container's termination message."""

    version: Literal[1] = 1
    operation: Operation
    outcome: Literal["Succeeded", "Failed"]
    reason: Reason
    """`Succeeded`, or what was found wrong."""

    message: str
    """One sentence: what happened, and for a failure what to do next. Never a secret."""

    run_id: str
    start_time: Timestamp
    completion_time: Timestamp
    repository_id: str | None = None
    created: bool | None = None
    """Of an initialisation: whether it made the repository, or found one."""

    warnings: list[str] = Field(default_factory=list)
    backup: BackupResult | None = None
    restore: RestoreResult | None = None
    health: HealthResult | None = None
    check: CheckResult | None = None
    prune: PruneResult | None = None
    drill: DrillResult | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the run did all that it was to do."""
        return self.outcome == "Succeeded"

    def to_termination_message(self) -> bytes:
        """Return the document in at most `MAX_RESULT_BYTES`: warnings go first, then the message's end."""
        document = self
        while len(encoded := _encode(document)) > MAX_RESULT_BYTES:
            if document.warnings:
                document = document.model_copy(update={"warnings": document.warnings[:-1]})
            elif len(message := document.message.encode()) > 64:
                # Counted in bytes, as the limit is; a character that is cut through goes as a whole.
                keep = len(message) - (len(encoded) - MAX_RESULT_BYTES) - len("…".encode())
                shorter = message[: max(0, keep)].decode(errors="ignore") + "…"
                document = document.model_copy(update={"message": shorter})
            else:
                raise ValueError(f"a result of {len(encoded)} bytes does not fit into {MAX_RESULT_BYTES}")
        return encoded

    @classmethod
    def from_termination_message(cls, message: str) -> "RunResult":
        """Read a result; raises ValueError (pydantic.ValidationError) if it is none."""
        return cls.model_validate_json(message)


def _encode(document: RunResult) -> bytes:
    return json.dumps(document.to_wire(), ensure_ascii=False, separators=(",", ":")).encode()
