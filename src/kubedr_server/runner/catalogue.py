"""What a restic snapshot's tags say, and how they are read back.

The tags hold the backup's whole proof, so that a result that was never reported (the runner was killed in
the moment between) and a record that is lost can be made again from the repository alone.
"""

from typing import Final

from pydantic import ValidationError

from kubedr_server.contract import (
    CERTIFICATES_FOLDER,
    SNAPSHOT_FILE,
    TAG,
    TAG_CERTIFICATES,
    TAG_CLUSTER,
    TAG_ETCD_ENDPOINT,
    TAG_ETCD_VERSION,
    TAG_FORMAT,
    TAG_HASH,
    TAG_KEYS,
    TAG_MINIMUM_REVISION,
    TAG_POLICY,
    TAG_REVISION,
    TAG_RUN,
    TAG_SHA256,
    TAG_SIZE,
    BackupResult,
)
from kubedr_server.runner.restic_messages import Snapshot
from kubedr_server.runner.settings import BackupSettings

_FIELDS: Final = {
    TAG_REVISION: "revision",
    TAG_MINIMUM_REVISION: "minimum_revision",
    TAG_HASH: "hash",
    TAG_KEYS: "total_keys",
    TAG_SHA256: "sha256",
    TAG_SIZE: "snapshot_size",
    TAG_FORMAT: "snapshot_format",
    TAG_ETCD_VERSION: "etcd_version",
    TAG_ETCD_ENDPOINT: "etcd_endpoint",
    TAG_CERTIFICATES: "certificate_files",
}
"""Each tag, and the field of the result that it holds."""


def host(cluster_id: str) -> str:
    """Return the host name that a cluster's snapshots bear: the node that made one says nothing about it."""
    return f"kubedr-{cluster_id}" if cluster_id else "kubedr"


def search_tags(settings: BackupSettings) -> list[str]:
    """Return the tags that only this run's snapshots have."""
    return [TAG, f"{TAG_RUN}={settings.run.run_id}"]


def tags(settings: BackupSettings, result: BackupResult) -> list[str]:
    """Return all tags of a snapshot."""
    return [
        *search_tags(settings),
        f"{TAG_CLUSTER}={settings.run.cluster_id}",
        f"{TAG_POLICY}={settings.policy}",
        *(f"{tag}={getattr(result, field)}" for tag, field in _FIELDS.items()),
    ]


def from_snapshot(snapshot: Snapshot, sizes: dict[str, int]) -> BackupResult | None:
    """Return the result of a snapshot that is complete; None if it is not.

    `sizes` are the files that the repository lists for it.
    """
    values: dict[str, object] = {field: snapshot.tag(tag) for tag, field in _FIELDS.items()}
    summary = snapshot.summary
    if summary is not None:
        values |= {
            "files_new": summary.files_new,
            "files_changed": summary.files_changed,
            "data_added": summary.data_added,
            "data_stored": summary.data_added_packed,
            "total_bytes_processed": summary.total_bytes_processed,
        }
    try:
        result = BackupResult.model_validate(
            {"snapshot_id": snapshot.id, "total_duration_secs": 0.0, **values}
        )
    except ValidationError:
        return None
    certificate_files = sum(1 for path in sizes if path.startswith(f"{CERTIFICATES_FOLDER}/"))
    whole = sizes.get(SNAPSHOT_FILE) == result.snapshot_size and certificate_files == result.certificate_files
    return result if whole else None
