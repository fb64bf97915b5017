"""MetadataRestore: what is brought back, and where to."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from kubedr_server.api.base import Int64, Model, Resource, StatusBase, Timestamp, cel


class MetadataRestoreSpec(Model):
    """Which backup is brought back, and where to. It runs once: to restore again, make another."""

    model_config = ConfigDict(
        json_schema_extra=cel("self == oldSelf", "a restore runs once: make another one instead")
    )

    mbr_name: Annotated[str, Field(min_length=1, max_length=253)]
    """The MetadataBackupRecord to bring back. It is always named: there is no `latest`."""

    pvc_name: Annotated[str, Field(min_length=1, max_length=253)]
    """The PersistentVolumeClaim, in the same namespace, that the files are written to. It must be empty."""


class MetadataRestoreStatus(StatusBase):
    """The outcome."""

    restore_status: Literal["Completed", "Failed"] | None = None
    restore_error_message: str | None = None
    """Why it failed; empty when it did not."""

    restore_time: Timestamp | None = None
    """When it finished."""

    restore_pod: str | None = None
    """The pod that did it."""

    files_restored: Int64 | None = None
    bytes_restored: Int64 | None = None


class MetadataRestore(Resource):
    """Brings one backup's files back onto a volume: the etcd snapshot and the certificates."""

    spec: MetadataRestoreSpec
    status: MetadataRestoreStatus = Field(default_factory=MetadataRestoreStatus)
