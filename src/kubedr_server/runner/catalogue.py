"""What a restic snapshot's tags say, and how they are read back.

The tags hold the backup's whole proof, so that a result that was never reported (the runner was killed in
the moment between) and a record that is lost can be made again from the repository alone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from kubedr_server.catalogue import CatalogueEntry
from kubedr_server.contract import (
    CERTIFICATES_FOLDER,
    SNAPSHOT_FILE,
    TAG,
    TAG_BYTES,
    TAG_CERTIFICATES,
    TAG_CERTIFICATES_EXPIRE,
    TAG_CLUSTER,
    TAG_ENCRYPTED,
    TAG_ETCD_ENDPOINT,
    TAG_ETCD_VERSION,
    TAG_FILES,
    TAG_FORMAT,
    TAG_HASH,
    TAG_KEYS,
    TAG_MINIMUM_REVISION,
    TAG_POLICY,
    TAG_REVISION,
    TAG_RUN,
    TAG_SHA256,
    TAG_SIZE,
    TAG_UNRESTORABLE,
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
    TAG_CERTIFICATES_EXPIRE: "certificates_expire",
    TAG_ENCRYPTED: "encrypted_objects",
    TAG_UNRESTORABLE: "unrestorable_objects",
}
"""Each tag, and the field of the result that it holds. A field without a value has no tag."""


def host(cluster_id: str) -> str:
    """Return the host name that a cluster's snapshots bear: the node that made one says nothing about it."""
    return f"kubedr-{cluster_id}" if cluster_id else "kubedr"


def search_tags(settings: BackupSettings) -> list[str]:
    """Return the tags that only this run's snapshots have."""
    return [TAG, f"{TAG_RUN}={settings.run.run_id}"]


def tags(settings: BackupSettings, result: BackupResult, sizes: Mapping[str, int] | None = None) -> list[str]:
    """Return all tags of a snapshot. `sizes` are the files that it has to hold: path to bytes."""
    values = {tag: getattr(result, field) for tag, field in _FIELDS.items()}
    totals = {} if sizes is None else {TAG_FILES: len(sizes), TAG_BYTES: sum(sizes.values())}
    return [
        *search_tags(settings),
        f"{TAG_CLUSTER}={settings.run.cluster_id}",
        f"{TAG_POLICY}={settings.policy}",
        *(f"{tag}={_text(value)}" for tag, value in values.items() if value is not None),
        *(f"{tag}={count}" for tag, count in totals.items()),
    ]


def from_snapshot(snapshot: Snapshot, sizes: Mapping[str, int] | None = None) -> BackupResult | None:
    """Return the result of a snapshot that is complete; None if it is not.

    `sizes`, if they are known, are the files that the repository lists for it.
    """
    result = _judge(snapshot).backup
    if result is None or sizes is None:
        return result
    expected = _number(snapshot, TAG_BYTES)
    whole = expected is None or sum(sizes.values()) == expected
    if result.snapshot_format == "file":
        whole = whole and sizes.get(SNAPSHOT_FILE) == result.snapshot_size
    certificate_files = sum(1 for path in sizes if path.startswith(f"{CERTIFICATES_FOLDER}/"))
    return result if whole and certificate_files == result.certificate_files else None


def entry(snapshot: Snapshot) -> CatalogueEntry:
    """Return a snapshot's entry in the list that the controllers make records of."""
    judged = _judge(snapshot)
    return CatalogueEntry(
        snapshot_id=snapshot.id,
        time=snapshot.time,
        host=snapshot.hostname,
        cluster_id=snapshot.tag(TAG_CLUSTER) or "",
        policy=snapshot.tag(TAG_POLICY) or "",
        run_id=snapshot.tag(TAG_RUN) or "",
        complete=judged.backup is not None,
        why=judged.why,
        backup=judged.backup,
    )


@dataclass(frozen=True)
class _Judged:
    """A backup, or why a snapshot is none."""

    backup: BackupResult | None = None
    why: str | None = None


def _judge(snapshot: Snapshot) -> _Judged:
    """Tell whether a snapshot is a whole backup, by its own words: without listing its files.

    restic writes a snapshot last, after all its data. What can be missing then is a file that restic could
    not read (exit code 3): its own summary does not count that one, and the tags, written before, do.
    """
    told = {field: snapshot.tag(tag) for tag, field in _FIELDS.items()}
    values: dict[str, object] = {field: value for field, value in told.items() if value is not None}
    summary = snapshot.summary
    if summary is None:
        return _Judged(why="it has no summary of what restic stored")
    values |= {
        "files_new": summary.new_files,
        "files_changed": summary.files_changed,
        "data_added": summary.data_added,
        "data_stored": summary.data_added_packed,
        "total_bytes_processed": summary.total_bytes_processed,
    }
    try:
        result = BackupResult.model_validate(
            {"snapshot_id": snapshot.id, "total_duration_secs": 0.0, **values}
        )
    except ValidationError as error:
        fields = {str(each["loc"][0]) for each in error.errors() if each["loc"]}
        lacking = sorted(tag for tag, field in _FIELDS.items() if to_camel(field) in fields)
        return _Judged(why=f"these tags of it are missing or wrong: {', '.join(lacking)}")
    files = _number(snapshot, TAG_FILES)
    if files is None:
        # Made before these tags were: the snapshot file and the certificates are all there was.
        files = result.certificate_files + 1
    if summary.total_files_processed < files:
        return _Judged(why=f"it has {summary.total_files_processed} files of {files}")
    size = _number(snapshot, TAG_BYTES)
    if size is not None and summary.total_bytes_processed != size:
        return _Judged(why=f"it has {summary.total_bytes_processed} bytes and not {size}")
    if result.snapshot_format == "file" and summary.total_bytes_processed < result.snapshot_size:
        return _Judged(why=f"it has {summary.total_bytes_processed} bytes of {result.snapshot_size}")
    return _Judged(backup=result)


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _number(snapshot: Snapshot, tag: str) -> int | None:
    value = snapshot.tag(tag)
    return int(value) if value is not None and re.fullmatch(r"[0-9]{1,18}", value) else None
