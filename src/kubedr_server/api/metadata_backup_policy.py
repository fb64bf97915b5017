"""MetadataBackupPolicy: what is backed up, and when."""

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from kubedr_server.api import rules
from kubedr_server.api.base import Int64, Model, ObjectName, Resource, StatusBase, Timestamp
from kubedr_server.api.pod_parts import ResourceRequirements, Toleration

DEFAULT_ETCD_ENDPOINT = "https://127.0.0.1:2379"
DEFAULT_ETCD_CREDS = "etcd-creds"
DEFAULT_RETAIN_NUM_BACKUPS = 120
DEFAULT_SNAPSHOT_FORMAT: Final = "segments"
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

    static_pods_dir: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=4096,
            examples=["/etc/kubernetes/manifests"],
            json_schema_extra=rules.DIRECTORY,
        ),
    ] = None
    """The directory of the control plane's static pods, which is backed up beside etcd."""

    kubeconfigs: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=1024, json_schema_extra=rules.FILE)]] | None,
        Field(max_length=16, examples=[["/etc/kubernetes/admin.conf"]]),
    ] = None
    """Kubeconfig files of the control-plane nodes that are backed up beside etcd. No two may have the same
    file name."""

    encryption_config: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=4096,
            examples=["/etc/kubernetes/encryption.yaml"],
            json_schema_extra=rules.FILE,
        ),
    ] = None
    """The file that kube-apiserver's `--encryption-provider-config` names. Without it, what is encrypted in
    etcd cannot be read after a restore."""

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
    """How many of the newest successful backups are kept, whatever their age. The others are removed, unless
    one of `retainHourly`, `retainDaily`, `retainWeekly` and `retainMonthly` keeps them."""

    retain_hourly: Annotated[Int64 | None, Field(ge=0, le=10_000)] = None
    """Keep the newest backup of each of the last so many hours that have one."""

    retain_daily: Annotated[Int64 | None, Field(ge=0, le=10_000)] = None
    """Keep the newest backup of each of the last so many days (UTC) that have one."""

    retain_weekly: Annotated[Int64 | None, Field(ge=0, le=10_000)] = None
    """Keep the newest backup of each of the last so many weeks (ISO 8601, UTC) that have one."""

    retain_monthly: Annotated[Int64 | None, Field(ge=0, le=10_000)] = None
    """Keep the newest backup of each of the last so many months (UTC) that have one."""

    snapshot_format: Literal["segments", "file"] = DEFAULT_SNAPSHOT_FORMAT
    """How the etcd snapshot is laid out in the repository: `segments`, where a backup costs what has changed,
    or `file`, the snapshot as the one file that etcd gives. Both restore to the same file."""

    spread_minutes: Annotated[Int64 | None, Field(ge=0, le=59)] = None
    """Start up to so many minutes after the scheduled minute, always the same for one policy, so that many
    clusters with one schedule do not meet at the storage. `status.effectiveSchedule` shows the outcome."""

    drill_schedule: Annotated[
        str | None,
        Field(min_length=1, max_length=256, examples=["@weekly"], json_schema_extra=rules.SCHEDULE),
    ] = None
    """When to prove that the newest backup can be brought back, by doing so: it is restored into an etcd on
    scratch space and compared with what was recorded. In UTC; no drill is held without it."""

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
    """How many files of the last good backup held something new."""

    files_changed: Int64 | None = None
    """How many of its files differ from those of the same name before; as segments, these are new ones."""

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

    effective_schedule: str | None = None
    """The schedule of the CronJob: `spec.schedule`, moved as `spec.spreadMinutes` says, and its time zone."""

    consecutive_failures: Int64 | None = None
    """How many backups in a row have failed."""

    missed_runs: Int64 | None = None
    """How many backups were due and never started, since the policy was made."""

    last_missed_time: Timestamp | None = None
    """When the last backup that never started was due."""

    missed_checked_time: Timestamp | None = None
    """Up to when it is known which backups that were due have started."""

    drill_status: Literal["Completed", "Failed"] | None = None
    """The outcome of the last finished drill."""

    drill_time: Timestamp | None = None
    """When it finished."""

    drill_mbr_name: str | None = None
    """The MetadataBackupRecord that it brought back."""

    drill_error_message: str | None = None
    """Why it failed; empty when it did not."""

    recovery_duration_secs: str | None = None
    """How long it took, from an empty disk to an etcd that answers, in seconds, as a decimal number."""

    next_drill_time: Timestamp | None = None
    """When the next drill is due."""

    last_job: str | None = None
    """The uid of the last finished Job that this status tells of."""


class MetadataBackupPolicy(Resource):
    """A schedule of backups of etcd and, where named, of the cluster's certificates."""

    model_config = ConfigDict(json_schema_extra=rules.POLICY_NAME)

    spec: MetadataBackupPolicySpec
    status: MetadataBackupPolicyStatus = Field(default_factory=MetadataBackupPolicyStatus)
