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

CA_BUNDLE_KEY = "ca.crt"
"""The key of the Secret that `spec.caSecret` names."""


class BackupLocationSpec(Model):
    """Where backups are stored: a bucket of an S3 service, and the keys to it."""

    model_config = ConfigDict(json_schema_extra=rules.ONE_WAY_TO_TRUST)

    url: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2048,
            examples=["https://s3.example.com"],
            json_schema_extra=rules.STORAGE_URL,
        ),
    ]
    """The S3 endpoint: `http://` or `https://`, a host, and a port where it is not the scheme's own."""

    bucket_name: Annotated[
        str,
        Field(
            min_length=3,
            max_length=63,
            examples=["cluster-backups"],
            json_schema_extra=rules.BUCKET_NAME,
        ),
    ]
    """The bucket's name. The bucket is created if it does not exist."""

    credentials: Annotated[ObjectName, Field(examples=["s3-credentials"])]
    """The name of a Secret in the same namespace with the keys `access_key`, `secret_key` and
    `restic_repo_password`. Keep the password somewhere else, too: without it nothing can be restored."""

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


class BackupLocation(Resource):
    """A place for backups: an S3 bucket with an encrypted, deduplicated restic repository in it."""

    spec: BackupLocationSpec
    status: BackupLocationStatus = Field(default_factory=BackupLocationStatus)
