"""MetadataRestore: what is brought back, and where to."""

from typing import Literal

from pydantic import ConfigDict, Field

from kubedr_server.api.base import Int64, Model, ObjectName, Resource, StatusBase, Timestamp
from kubedr_server.api.rules import cel


class MetadataRestoreSpec(Model):
    """Which backup is brought back, and where to. It runs once: to restore again, make another."""

    model_config = ConfigDict(
        json_schema_extra=cel("self == oldSelf", "a restore runs once: make another one instead")
    )

    mbr_name: ObjectName
    """The MetadataBackupRecord to bring back. It is always named: there is no `latest`."""

    pvc_name: ObjectName
    """The PersistentVolumeClaim, in the same namespace, that the files are written to. It must be empty."""


class MetadataRestoreStatus(StatusBase):
    """The outcome."""

    restore_status: Literal["Completed", "Failed"] | None = None
    """How the restore ended; absent while it runs."""

    restore_error_message: str | None = None
    """Why it failed; empty when it did not."""

    restore_time: Timestamp | None = None
    """When it finished."""

    restore_pod: str | None = None
    """The pod that did it."""

    files_restored: Int64 | None = None
    """How many files were written."""

    bytes_restored: Int64 | None = None
    """How many bytes they hold together."""


class MetadataRestore(Resource):
    """Brings one backup's files back onto a volume: the etcd snapshot and the certificates."""

    spec: MetadataRestoreSpec
    status: MetadataRestoreStatus = Field(default_factory=MetadataRestoreStatus)
