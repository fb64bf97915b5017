"""MetadataBackupPolicy: what is backed up, and when."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from kubedr_server.api import rules
from kubedr_server.api.base import Int64, Model, ObjectName, Resource, StatusBase, Timestamp
from kubedr_server.api.pod_parts import ResourceRequirements, Toleration

DEFAULT_ETCD_ENDPOINT = "https://127.0.0.1:2379"
DEFAULT_ETCD_CREDS = "etcd-creds"
DEFAULT_RETAIN_NUM_BACKUPS = 120
ETCD_CA = "ca.crt"
ETCD_CERTIFICATE = "client.crt"
ETCD_KEY = "client.key"
ETCD_CREDENTIAL_KEYS = (ETCD_CA, ETCD_CERTIFICATE, ETCD_KEY)
"""The keys of the Secret that `spec.etcdCreds` names (KubeDR backup guide)."""

MASTER_LABEL_OPTION = "master-node-label-name"
KNOWN_OPTIONS = (MASTER_LABEL_OPTION,)
"""The keys that `spec.options` may have (KubeDR backup guide)."""

CONTROL_PLANE_LABELS = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
"""A node with any of these is a control-plane node, unless the option names another label."""

_MAX_LABEL_KEY = 253 + 1 + 63


class MetadataBackupPolicySpec(Model):
    """What is backed up, when, and where to."""

    destination: ObjectName
    """The name of the BackupLocation, in the same namespace, that backups are stored in."""

    schedule: Annotated[
        str,
        Field(
            min_length=1,
            max_length=256,
            examples=["*/10 * * * *"],
            json_schema_extra=rules.SCHEDULE,
        ),
    ]
    """When to back up, in the format of a Kubernetes CronJob's `schedule`."""

    time_zone: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=64,
            examples=["Europe/Berlin"],
            json_schema_extra=rules.TIME_ZONE,
        ),
    ] = None
    """The IANA time zone of `schedule`; that of the cluster's controller manager if not given."""

    certs_dir: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=4096,
            examples=["/etc/kubernetes/pki"],
            json_schema_extra=rules.DIRECTORY,
        ),
    ] = None
    """A directory of the control-plane nodes, such as the one with the cluster's certificates, that is
    backed up whole beside etcd."""

    etcd_endpoint: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2048,
            json_schema_extra=rules.ETCD_ENDPOINTS,
        ),
    ] = DEFAULT_ETCD_ENDPOINT
    """Where etcd listens, as seen from a control-plane node: one URL, or several separated by commas."""

    etcd_creds: ObjectName = DEFAULT_ETCD_CREDS
    """The name of a Secret with the keys `ca.crt`, `client.crt` and `client.key`."""

    retain_num_backups: Annotated[Int64, Field(ge=1, le=100_000)] = DEFAULT_RETAIN_NUM_BACKUPS
    """How many successful backups are kept. When there are more, the oldest is removed."""

    suspend: bool = False
    """Pause the schedule. What is stored stays."""

    options: Annotated[
        dict[str, Annotated[str, Field(max_length=_MAX_LABEL_KEY)]] | None,
        Field(
            max_length=16,
            json_schema_extra=rules.all_of(
                rules.only_keys(KNOWN_OPTIONS), rules.label_key_in(MASTER_LABEL_OPTION)
            ),
        ),
    ] = None
    """Further settings. The one that is known is `master-node-label-name`: the label that control-plane nodes
    have, where it is neither `node-role.kubernetes.io/control-plane` nor
    `node-role.kubernetes.io/master`."""

    starting_deadline_seconds: Annotated[Int64 | None, Field(ge=10, le=86_400)] = None
    """A backup that could not start within this many seconds of its time is not started late."""

    active_deadline_seconds: Annotated[Int64, Field(ge=60, le=86_400)] = 3600
    """A backup that takes longer than this many seconds is ended and counts as failed."""

    successful_jobs_history_limit: Annotated[Int64, Field(ge=0, le=100)] = 3
    """How many finished Jobs of successful backups are kept to look at. It does not touch the backups."""

    failed_jobs_history_limit: Annotated[Int64, Field(ge=1, le=100)] = 3
    """How many finished Jobs of failed backups are kept to look at."""

    tolerations: Annotated[list[Toleration] | None, Field(max_length=32)] = None
    """The backup pod's tolerations. Without this, it tolerates every taint, because control-plane nodes are
    tainted."""

    resources: ResourceRequirements | None = None
    """The backup container's resource requests and limits."""


class MetadataBackupPolicyStatus(StatusBase):
    """The outcome of the last finished backup, in KubeDR's fields, and what comes next."""

    backup_status: Literal["Completed", "Failed"] | None = None
    """The outcome of the last finished backup."""

    backup_time: Timestamp | None = None
    """When it finished."""

    backup_error_message: str | None = None
    """Why it failed; empty when it did not."""

    files_new: Int64 | None = None
    """How many files the last good backup holds that the one before did not."""

    files_changed: Int64 | None = None
    """How many files differ from the backup before."""

    data_added: Int64 | None = None
    """Bytes that the repository grew by, before compression."""

    total_bytes_processed: Int64 | None = None
    """Bytes that were read."""

    total_duration_secs: str | None = None
    """Seconds from start to proof, as a decimal number."""

    snapshot_id: str | None = None
    """The last good snapshot's id."""

    mbr_name: str | None = None
    """The last good backup's MetadataBackupRecord."""

    backup_pod: str | None = None
    """The pod of the last finished backup."""

    last_success_time: Timestamp | None = None
    """When the last good backup finished."""

    last_schedule_time: Timestamp | None = None
    """When a backup was last due and started."""

    next_schedule_time: Timestamp | None = None
    """When the next backup is due."""

    consecutive_failures: Int64 | None = None
    """How many backups in a row have failed."""

    last_job: str | None = None
    """The uid of the last finished Job that this status tells of."""


class MetadataBackupPolicy(Resource):
    """A schedule of backups of etcd and, where named, of the cluster's certificates."""

    model_config = ConfigDict(json_schema_extra=rules.POLICY_NAME)

    spec: MetadataBackupPolicySpec
    status: MetadataBackupPolicyStatus = Field(default_factory=MetadataBackupPolicyStatus)
