"""What the controllers are told at their start."""

from dataclasses import dataclass, field
from typing import Final

from kubedr_server.api.group import GROUP
from kubedr_server.controllers.backoff import Backoff
from kubedr_server.manifests.settings import RunnerSettings

FIELD_MANAGER: Final = "kubedr-controller"
"""Who owns the fields that the controllers write."""

TOLD_ANNOTATION: Final = f"{GROUP}/told"
"""On a finished backup Job whose outcome has been recorded: `Completed` or `Failed`."""

SPEC_DIGEST_ANNOTATION: Final = f"{GROUP}/spec-digest"
"""On a CronJob: the SHA-256 of what was said of it when it was last written."""

SNAPSHOT_ANNOTATION: Final = f"{GROUP}/snapshot-id"
"""On a MetadataBackupRecord: the snapshot's whole id, there from the record's first moment."""

ORPHAN_ANNOTATION: Final = f"{GROUP}/orphan-snapshot"
"""Set to `true` on a MetadataBackupRecord, it lets the record be deleted without deleting its snapshot."""

FOREIGN_LABEL: Final = f"{GROUP}/foreign-cluster"
"""On a MetadataBackupRecord of another cluster's backup: that cluster's id. No retention rule counts or
deletes it."""


@dataclass(frozen=True)
class ControllerSettings:
    """How the controllers run. Times are in seconds."""

    runner: RunnerSettings
    """How pods are made. Its cluster id is filled in at the start if it is empty."""

    namespace: str | None = None
    """The only namespace that is watched; None for all."""

    workers: int = 10
    """How many objects of a kind are reconciled at once: they mostly wait for the API server."""

    resync_seconds: float = 600.0
    """How often every object is looked at again although nothing was heard of it; 0 for never."""

    attempts: Backoff = field(default_factory=Backoff)
    """The wait after a failed initialisation, or a failed deletion of a snapshot."""

    retry_base_seconds: float = 0.1
    retry_longest_seconds: float = 60.0
    """The wait after a request to the API server that failed."""

    recheck_seconds: float = 30.0
    """How often something is looked for that nobody tells of, such as a PersistentVolumeClaim."""

    drain_seconds: float = 10.0
    """How long a reconciliation that is under way may take to end at shutdown."""
