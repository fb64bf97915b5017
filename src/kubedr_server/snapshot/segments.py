"""Stores a snapshot file as small segments that stay the same from one backup to the next.

A bbolt file changes all over with every write, so a repository that removes duplicates stores most of it
anew each time. Its records do not change: etcd never alters a revision. So they are written, in their own
order, to small files whose boundaries depend on the records only (docs/design/snapshot-format.md). What goes
away leaves a gap in one file; what is new makes new files.

Where a record goes is a matter of cost alone: `rebuild` takes any partition into segments.
"""

import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kubedr_server.snapshot import rebuild_script, trailer
from kubedr_server.snapshot.bolt_file import BoltFile, Bucket
from kubedr_server.snapshot.errors import SegmentError
from kubedr_server.snapshot.mvcc import KEY_BUCKET, REVISION
from kubedr_server.snapshot.placement import Placement
from kubedr_server.snapshot.rebuild_script import RECORD_HEADER, RebuildError, Rebuilt
from kubedr_server.snapshot.segment_writer import SegmentWriter, write_file

__all__ = ["SegmentsManifest", "rebuild", "write_segments"]

Progress = Callable[[int, int], None]
"""Called now and then with the records done and the records in total."""

_FILE_NAME: Final = re.compile(rb"[A-Za-z0-9_]{1,64}")
_PROGRESS_EVERY: Final = 8192
_META_BUCKET: Final = b"meta"
_COMPACTED: Final = b"finishedCompactRev"


@dataclass(frozen=True)
class SegmentsManifest:
    """What was written. `sizes` has each file's path below the directory, and its size in bytes."""

    content: dict[str, Any]
    sizes: dict[str, int]
    records: int

    @property
    def total_size(self) -> int:
        """All files' bytes."""
        return sum(self.sizes.values())


def write_segments(snapshot: Path, directory: Path, *, progress: Progress | None = None) -> SegmentsManifest:
    """Write a snapshot file as segments into `directory`, which must be empty or not exist.

    The file ends with its SHA-256 trailer, which is not compared here, and is not changed. Blocks; memory is
    flat. Raises SnapshotError if the file is no snapshot or is corrupt, OSError if the directory cannot be
    written.
    """
    size = snapshot.stat().st_size
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (directory / rebuild_script.BUCKETS).mkdir(mode=0o700)
    sizes: dict[str, int] = {}
    with BoltFile(snapshot, size - trailer.TRAILER_SIZE) as bolt:
        compacted = _compacted_revision(bolt)
        buckets = list(bolt.buckets())
        counts = {bucket.name: bolt.count(bucket) for bucket in buckets}
        told = _Told(progress, sum(counts.values()))
        content: dict[str, Any] = {
            "format": rebuild_script.FORMAT,
            "version": rebuild_script.FORMAT_VERSION,
            "pageSize": bolt.meta.page_size,
            "transaction": bolt.meta.transaction,
            "snapshot": {"size": size},
            "buckets": [],
        }
        for index, bucket in enumerate(buckets):
            records = told.count(bolt.records(bucket))
            if bucket.name == KEY_BUCKET:
                placement = Placement(counts[bucket.name], compacted)
                content["placement"] = {"compacted": compacted, "factor": placement.factor}
                written = SegmentWriter(str(directory), "key", placement, sizes).write(records)
            else:
                written = _write_bucket(directory, bucket, index, records, sizes)
            content["buckets"].append({"name": bucket.name.hex(), "sequence": bucket.sequence, **written})
    manifest = rebuild_script.encode_manifest(content)
    write_file(str(directory / rebuild_script.MANIFEST), manifest)
    sizes[rebuild_script.MANIFEST] = len(manifest)
    return SegmentsManifest(content, sizes, told.done)


def rebuild(directory: Path, target: Path, *, progress: Progress | None = None) -> Rebuilt:
    """Make the snapshot file `target`, which must not exist, from the segments in `directory`.

    It is the same program that lies in every backup, so each backup proves it as well. Blocks; memory is
    flat. Raises SegmentError for whatever is wrong with the segments, OSError for the target.
    """
    try:
        return rebuild_script.rebuild(str(directory), str(target), progress)
    except RebuildError as error:
        raise SegmentError(error.path, error.problem) from error


def rebuild_program() -> bytes:
    """Return the stand-alone program that a backup has as `recovery/rebuild.py`."""
    return Path(rebuild_script.__file__).read_bytes()


class _Told:
    """Counts records as they pass, and tells it from time to time."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.done = 0
        self._progress = progress
        self._total = total

    def count(self, records: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        for record in records:
            self.done += 1
            if self._progress and not self.done % _PROGRESS_EVERY:
                self._progress(self.done, self._total)
            yield record


def _compacted_revision(bolt: BoltFile) -> int:
    """Return the revision that etcd has compacted to; 0 if it never has."""
    for bucket in list(bolt.buckets()):
        if bucket.name == _META_BUCKET:
            found = dict(bolt.records(bucket)).get(_COMPACTED, b"")
            return int.from_bytes(found[:8], "big") if len(found) == REVISION.size else 0
    return 0


def _write_bucket(
    directory: Path,
    bucket: Bucket,
    index: int,
    records: Iterator[tuple[bytes, bytes]],
    sizes: dict[str, int],
) -> dict[str, Any]:
    """Write a bucket that is not cut: etcd's own are small. Its file has its name, if that can be one."""
    name = bucket.name.decode() if _FILE_NAME.fullmatch(bucket.name) else f"bucket-{index}"
    path = f"{rebuild_script.BUCKETS}/{name}"
    count = size = checksum = 0
    with (directory / path).open("xb") as file:
        for key, value in records:
            data = RECORD_HEADER.pack(len(key), len(value)) + key + value
            file.write(data)
            count += 1
            size += len(data)
            checksum = zlib.crc32(data, checksum)
    sizes[path] = size
    return {"records": count, "file": name, "size": size, "crc32": checksum}
