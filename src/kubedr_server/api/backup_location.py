"""BackupLocation: where backups go."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from kubedr_server.api import rules
from kubedr_server.api.base import Int64, Model, ObjectName, Resource, StatusBase, Timestamp

ACCESS_KEY = "access_key"
SECRET_KEY = "secret_key"
REPOSITORY_PASSWORD = "restic_repo_password"
CREDENTIAL_KEYS = (ACCESS_KEY, SECRET_KEY, REPOSITORY_PASSWORD)
"""The keys of the Secret that `spec.credentials` names (KubeDR README)."""

DEFAULT_HEALTH_SCHEDULE = "@hourly"
DEFAULT_CHECK_SCHEDULE = "@daily"
DEFAULT_CHECK_PARTS = 7
DEFAULT_PRUNE_SCHEDULE = "@weekly"

CA_BUNDLE_KEY = "ca.crt"
"""The key of the Secret that `spec.caSecret` names."""


class BackupLocationSpec(Model):
    """Where backups are stored: a bucket of an S3 service, and the keys to it."""

    model_config = ConfigDict(
        json_schema_extra=rules.all_of(
            rules.ONE_WAY_TO_TRUST,
            rules.required_without("url", "repository"),
            rules.required_without("bucketName", "repository"),
            *(
                rules.forbidden_beside(field, "repository")
                for field in ("url", "bucketName", "prefix", "region")
            ),
        )
    )

    url: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=2048,
            examples=["https://s3.example.com"],
            json_schema_extra=rules.STORAGE_URL,
        ),
    ] = None
    """The S3 endpoint: `http://` or `https://`, a host, and a port where it is not the scheme's own.
    Required, unless `repository` names another kind of storage."""

    bucket_name: Annotated[
        str | None,
        Field(
            min_length=3,
            max_length=63,
            examples=["cluster-backups"],
            json_schema_extra=rules.BUCKET_NAME,
        ),
    ] = None
    """The bucket's name. The bucket is created if it does not exist. Required, unless `repository` names
    another kind of storage."""

    credentials: Annotated[ObjectName, Field(examples=["s3-credentials"])]
    """The name of a Secret in the same namespace with the keys `access_key`, `secret_key` and
    `restic_repo_password`. Keep the password somewhere else, too: without it nothing can be restored. With
    `repository`, the two S3 keys are not needed, and keys that are named as restic's own variables (such as
    `RESTIC_REST_USERNAME` or `AZURE_ACCOUNT_KEY`) are handed to restic."""

    repository: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=2048,
            examples=["rest:https://backup.example.com:8000/cluster"],
            json_schema_extra=rules.REPOSITORY,
        ),
    ] = None
    """A restic repository on another kind of storage, in restic's own words, in place of `url`, `bucketName`,
    `prefix` and `region`: `rest:`, `azure:`, `gs:`, `b2:` or `swift:`. Without credentials in it: they belong
    in the Secret."""

    proxy: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=2048,
            examples=["http://proxy.example.com:3128"],
            json_schema_extra=rules.PROXY,
        ),
    ] = None
    """The HTTP proxy through which the storage is reached."""

    health_schedule: Annotated[str, Field(min_length=1, max_length=256, json_schema_extra=rules.SCHEDULE)] = (
        DEFAULT_HEALTH_SCHEDULE
    )
    """When to look whether the repository is reachable and unlocked, how large it is, and which snapshots it
    holds. In the format of a CronJob's `schedule`, in UTC, and shifted a little for each location."""

    check_schedule: Annotated[str, Field(min_length=1, max_length=256, json_schema_extra=rules.SCHEDULE)] = (
        DEFAULT_CHECK_SCHEDULE
    )
    """When to check the repository: its structure whole, and one part of its data (`checkParts`) read
    back."""

    check_parts: Annotated[Int64, Field(ge=1, le=1000)] = DEFAULT_CHECK_PARTS
    """In how many checks all of the data is read once: 7 with a daily check is all of it in a week."""

    prune_schedule: Annotated[str, Field(min_length=1, max_length=256, json_schema_extra=rules.SCHEDULE)] = (
        DEFAULT_PRUNE_SCHEDULE
    )
    """When to free the room of data that no snapshot needs any more. Backups wait while it runs."""

    suspend_maintenance: bool = False
    """Pause `healthSchedule`, `checkSchedule` and `pruneSchedule`. Backups go on."""

    prefix: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=512,
            examples=["production/east"],
            json_schema_extra=rules.PREFIX,
        ),
    ] = None
    """A folder in the bucket that holds the repository, so that several clusters can share one bucket."""

    region: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=64,
            examples=["eu-central-1"],
            json_schema_extra=rules.REGION,
        ),
    ] = None
    """The bucket's region, for services that ask for one."""

    ca_secret: ObjectName | None = None
    """The name of a Secret whose key `ca.crt` holds the certificates (PEM) that the endpoint's own is
    checked with."""

    insecure_skip_tls_verify: Annotated[bool | None, Field(alias="insecureSkipTLSVerify")] = None
    """Accept any certificate of the endpoint. Whoever stands between can then read the access key's use."""


def needed_keys(spec: BackupLocationSpec) -> tuple[str, ...]:
    """Return the keys without which the Secret of `spec.credentials` cannot open the repository."""
    return CREDENTIAL_KEYS if spec.repository is None else (REPOSITORY_PASSWORD,)


class BackupLocationStatus(StatusBase):
    """What is known of the location."""

    init_status: Literal["Completed", "Failed"] | None = None
    """The outcome of the last finished initialisation of the repository."""

    init_error_message: str | None = None
    """Why it failed; empty when it did not."""

    init_time: Timestamp | None = None
    """When it finished."""

    repository_id: str | None = None
    """The restic repository's own id."""

    consecutive_failures: Int64 | None = None
    """How many initialisations in a row have failed."""

    next_attempt_time: Timestamp | None = None
    """When initialisation is tried again after a failure."""

    attempt_key: str | None = None
    """Names the inputs (spec and Secrets) of the last finished attempt, so that a change is tried at once."""

    snapshots: Int64 | None = None
    """How many backups the repository holds, of all policies and clusters."""

    repository_size: Int64 | None = None
    """Bytes that the repository takes in the storage."""

    locks: Int64 | None = None
    """How many locks were found in the repository at the last look."""

    last_health_time: Timestamp | None = None
    """When the repository was last looked at."""

    last_check_time: Timestamp | None = None
    """When the last check finished."""

    last_full_check_time: Timestamp | None = None
    """When all of the data had last been read back without a fault."""

    check_part: Int64 | None = None
    """The part of the data, from 1 to `checkParts`, that the last good check has read."""

    check_parts: Int64 | None = None
    """Into how many parts it divided the data."""

    last_prune_time: Timestamp | None = None
    """When room was last freed."""

    next_health_time: Timestamp | None = None
    """When the repository is looked at next."""

    next_check_time: Timestamp | None = None
    """When it is checked next."""

    next_prune_time: Timestamp | None = None
    """When room is freed next."""

    catalogue_time: Timestamp | None = None
    """When the records were last compared with the snapshots that the repository holds."""

    catalogue_run: str | None = None
    """The uid of the last Job whose list of snapshots was compared with the records."""

    let_go: list[str] | None = None
    """Snapshots, by the beginnings of their ids, that stay in the repository without a record because someone
    wanted it so: none is made for them again."""


class BackupLocation(Resource):
    """A place for backups: an S3 bucket with an encrypted, deduplicated restic repository in it."""

    spec: BackupLocationSpec
    status: BackupLocationStatus = Field(default_factory=BackupLocationStatus)
