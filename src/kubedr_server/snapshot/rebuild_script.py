#!/usr/bin/env python3
"""Puts an etcd snapshot together again from the segments of a backup.

This file lies in every backup as `recovery/rebuild.py`. It needs Python 3.8 or newer and nothing else: no
package, and nothing of the program that made the backup. In a directory with restored files:

    python3 -I recovery/rebuild.py etcd-segments etcd-snapshot.db

Then `etcdutl snapshot status etcd-snapshot.db` prints the hash that the original had, and
`etcdutl snapshot restore etcd-snapshot.db --data-dir …` makes an etcd of it.

The segments are checked in full before success is told: their manifest, names, sizes, order and checksums.
The same segments give the same bytes, so the result has a SHA-256 that the backup could note beforehand.
The format is docs/design/snapshot-format.md of the kubedr-server project. All is in this one file, because
`python3 -I` finds no other beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import mmap
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush, heapreplace
from struct import Struct
from struct import error as struct_error
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

FORMAT = "kubedr-segments"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
DIGESTS = "SHA256SUMS"
"""The list beside this program in a backup, with the digest that the result must have."""

BUCKETS = "buckets"
RECORD_HEADER = Struct("<HI")
"""Before each record: the sizes of its key and of its value."""

if TYPE_CHECKING:  # Python 3.8 cannot do this when it runs.
    Record = tuple[bytes, bytes]
    Progress = Callable[[int, int], None]

_PROGRESS_EVERY = 8192
_SNAPSHOT = "etcd-snapshot.db"


class RebuildError(Exception):
    """What is wrong with the segments, and where: `path` is relative to their directory."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class Rebuilt(NamedTuple):
    """The snapshot file that was made. Size in bytes and SHA-256 are of the whole file, trailer included."""

    size: int
    sha256: str
    records: int


# --- The manifest -----------------------------------------------------------------------------------


def encode_manifest(content: dict[str, Any]) -> bytes:
    """Return the manifest's one possible text: compact, sorted, with a digest of itself."""
    text = _compact(content)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return (_compact({"manifest": content, "sha256": digest}) + "\n").encode()


def _compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def read_manifest(directory: str) -> dict[str, Any]:
    """Read and check the manifest; RebuildError if it is missing, damaged, or of a newer format."""
    data = _read(directory, MANIFEST)
    try:
        document = json.loads(data)
        content = document["manifest"]
        name, version = content["format"], content["version"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RebuildError(MANIFEST, "is no manifest, or it is damaged") from error
    if name != FORMAT or version != FORMAT_VERSION:
        raise RebuildError(
            MANIFEST,
            f"has format {name!r} version {version!r}; this program knows {FORMAT!r} version "
            f"{FORMAT_VERSION}. Use the rebuild.py of the same backup.",
        )
    if data != encode_manifest(content):
        raise RebuildError(MANIFEST, "is damaged: it is not what its SHA-256 says")
    return dict(content)


# --- The segments -----------------------------------------------------------------------------------


class _Place(NamedTuple):
    """A segment or a directory of them: the first record's key, and the path."""

    first: bytes
    path: str


_NAME = re.compile(r"([1-9a-f][0-9a-f]{0,15}|0)(?:\.([1-9a-f][0-9a-f]{0,15}))?(t?)")
_REVISION = Struct(">QcQ")


def name_of(key: bytes) -> str:
    """Return a segment's name: its first record's revision, hexadecimal, such as `1a2b` or `1a2b.3t`."""
    main, separator, sub = _REVISION.unpack_from(key)
    if separator != b"_" or key[_REVISION.size :] not in (b"", b"t"):
        raise ValueError(f"{key.hex()} is no revision")
    return f"{main:x}.{sub:x}{key[17:].decode()}" if sub else f"{main:x}{key[17:].decode()}"


def _key_of(name: str, path: str) -> bytes:
    found = _NAME.fullmatch(name)
    if found is None:
        raise RebuildError(path, "does not belong here: its name is no revision")
    main, sub, deleted = found.groups()
    return _REVISION.pack(int(main, 16), b"_", int(sub or "0", 16)) + deleted.encode()


class _Directory:
    """What is read of one directory of segments, to compare with what the manifest says."""

    def __init__(self, path: str, told: list[Any]) -> None:
        self.path = path
        self.told = told
        self.left = 0
        self.records = 0
        self.checksum = 0


def directory_checksum(checksum: int, name: str, data: bytes) -> int:
    """Add a segment to its directory's checksum, in whatever order they come."""
    return (checksum + zlib.crc32(data, zlib.crc32(name.encode()))) & 0xFFFFFFFF


def _merged(root: str, bucket: dict[str, Any]) -> Iterator[Record]:
    """Yield the records of a bucket that is stored as segments, in order of their keys.

    Segments overlap: each one is opened when the merge reaches its first record, so that of each stream of
    records only one segment is in memory.
    """
    waiting = _segments(root, bucket)
    following = next(waiting, None)
    heap: list[tuple[bytes, int, list[Record]]] = []
    opened = 0
    while heap or following:
        while following and (not heap or following[1].first <= heap[0][0]):
            records = _read_segment(root, *following)
            heappush(heap, (records[-1][0], opened, records))
            opened += 1
            following = next(waiting, None)
        _, ident, records = heap[0]
        yield records.pop()
        if records:
            heapreplace(heap, (records[-1][0], ident, records))
        else:
            heappop(heap)


def _segments(root: str, bucket: dict[str, Any]) -> Iterator[tuple[_Directory, _Place]]:
    """Yield all segments by their revisions; check that the directories are those of the manifest."""
    folder = bucket["folder"]
    told = bucket["directories"]
    found = _places(root, folder, set(told))
    for index, place in enumerate(found):
        directory = _Directory(place.path, told[os.path.basename(place.path)])
        segments = _places(root, place.path, None)
        directory.left = len(segments)
        if directory.left != directory.told[0]:
            raise RebuildError(
                place.path, f"has {directory.left} segments; there should be {directory.told[0]}"
            )
        if not segments or segments[0].first != place.first:
            raise RebuildError(place.path, "does not begin with the segment that it is named by")
        if index + 1 < len(found) and segments[-1].first >= found[index + 1].first:
            raise RebuildError(segments[-1].path, "belongs into another directory")
        for segment in segments:
            yield directory, segment


def _places(root: str, folder: str, expected: Iterable[str] | None) -> list[_Place]:
    try:
        names = os.listdir(os.path.join(root, folder))
    except OSError as error:
        raise RebuildError(folder, f"cannot be read: {error.strerror}") from error
    if expected is not None:
        for name in sorted(set(names) ^ set(expected)):
            problem = "does not belong here" if name in names else "is missing"
            raise RebuildError(f"{folder}/{name}", problem)
    paths = ((name, f"{folder}/{name}") for name in names)
    return sorted(_Place(_key_of(name, path), path) for name, path in paths)


def _read_segment(root: str, directory: _Directory, segment: _Place) -> list[Record]:
    """Return a segment's records, the first one last."""
    data = _read(root, segment.path)
    records = list(_parse(data, segment.path))
    if not records or records[0][0] != segment.first:
        raise RebuildError(
            segment.path, "does not begin with the record that it is named by: is it another one?"
        )
    directory.records += len(records)
    directory.checksum = directory_checksum(directory.checksum, os.path.basename(segment.path), data)
    directory.left -= 1
    if not directory.left:
        _, count, checksum = directory.told
        if directory.records != count:
            raise RebuildError(directory.path, f"holds {directory.records} records; there should be {count}")
        if directory.checksum != checksum:
            raise RebuildError(directory.path, "a segment in this directory is damaged: the checksum differs")
    records.reverse()
    return records


def _parse(data: bytes, path: str) -> Iterator[Record]:
    unpack, header, at, end = RECORD_HEADER.unpack_from, RECORD_HEADER.size, 0, len(data)
    previous = b""
    while at < end:
        if at + header > end:
            raise RebuildError(path, "is cut")
        key_size, value_size = unpack(data, at)
        key_at = at + header
        value_at = key_at + key_size
        at = value_at + value_size
        if at > end:
            raise RebuildError(path, "is cut, or damaged: a record reaches past its end")
        key = data[key_at:value_at]
        if key <= previous:
            raise RebuildError(path, "is damaged: its records are out of order")
        previous = key
        yield key, data[value_at:at]


def _read(root: str, path: str) -> bytes:
    try:
        # Without a buffer: there are ten thousand of them, each read in one go.
        with open(os.path.join(root, path), "rb", buffering=0) as file:
            return file.read()
    except OSError as error:
        problem = (
            "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        )
        raise RebuildError(path, problem) from error


def _bucket_file(root: str, bucket: dict[str, Any]) -> Iterator[Record]:
    """Yield the records of a bucket that is stored as one file, however large it is."""
    path = f"{BUCKETS}/{bucket['file']}"
    try:
        with open(os.path.join(root, path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            data: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    except OSError as error:
        problem = (
            "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        )
        raise RebuildError(path, problem) from error
    if size != bucket["size"] or zlib.crc32(data) != bucket["crc32"]:
        raise RebuildError(path, "is damaged: its size or checksum differs from the manifest's")
    yield from _parse(data, path)


def _records(
    root: str, bucket: dict[str, Any], counted: list[int], progress: Progress | None
) -> Iterator[Record]:
    """Yield a bucket's records; check their number. `counted` is (so far, in total) over all buckets."""
    records = _merged(root, bucket) if "folder" in bucket else _bucket_file(root, bucket)
    before = counted[0]
    for record in records:
        counted[0] += 1
        if progress and not counted[0] % _PROGRESS_EVERY:
            progress(counted[0], counted[1])
        yield record
    if counted[0] - before != bucket["records"]:
        found = counted[0] - before
        raise RebuildError(_path_of(bucket), f"holds {found} records; there should be {bucket['records']}")


def _path_of(bucket: dict[str, Any]) -> str:
    return str(bucket["folder"]) if "folder" in bucket else f"{BUCKETS}/{bucket['file']}"


def _check_names(root: str, buckets: list[dict[str, Any]]) -> None:
    """Refuse files that the manifest does not name, and names that lead out of the directory."""
    for bucket in buckets:
        for name in (bucket.get("folder"), bucket.get("file")):
            if name is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", name):
                raise RebuildError(MANIFEST, f"names {name!r}, which is no name for a file here")
    files = {bucket["file"] for bucket in buckets if "file" in bucket}
    folders = {bucket["folder"] for bucket in buckets if "folder" in bucket}
    _compare_names(root, "", {MANIFEST, BUCKETS, *folders})
    _compare_names(root, BUCKETS, files)


def _compare_names(root: str, folder: str, needed: set[str]) -> None:
    try:
        names = set(os.listdir(os.path.join(root, folder)))
    except OSError as error:
        raise RebuildError(folder or ".", f"cannot be read: {error.strerror}") from error
    for name in sorted(names ^ needed):
        problem = "does not belong here" if name in names else "is missing"
        raise RebuildError(os.path.join(folder, name), problem)


# --- The database file ------------------------------------------------------------------------------

_PAGE_HEADER = Struct("<QHHI")
_BRANCH_ELEMENT = Struct("<IIQ")
_LEAF_ELEMENT = Struct("<IIII")
_BUCKET_HEADER = Struct("<QQ")
_META = Struct("<IIIIQQQQQQ")
_BRANCH, _LEAF, _META_PAGE, _FREELIST = 0x01, 0x02, 0x04, 0x10
_BUCKET_ELEMENT = 0x01
_MAGIC, _BOLT_VERSION = 0xED0CDAED, 2
_LEAF_PAGES = 4
_MAX_KEY_SIZE = 32768
_MAX_VALUE_SIZE = (1 << 31) - 2
_MAX_COUNT = 0xFFFF
_PAGE_SIZES = tuple(1 << n for n in range(9, 21))


class BoltWriter:
    """Writes a bbolt file bottom-up from sorted records, in one pass and in flat memory.

    `write_bucket` for each bucket, in the order of their names, then `finish`. Leaves are written as they
    fill, and only each one's first key is kept for the branches above. The result has no free pages. A leaf
    is up to four pages long: with records of some kilobytes, that wastes far less than one page does.
    Raises ValueError for what a database cannot hold: keys out of order, empty, or too large.
    """

    def __init__(self, file: BinaryIO, page_size: int = 4096) -> None:
        if page_size not in _PAGE_SIZES:
            raise ValueError(f"{page_size} is no page size")
        self._file = file
        self._page_size = page_size
        self._next_page = 2
        self._buckets: list[Record] = []
        file.write(bytes(2 * page_size))

    def write_bucket(self, name: bytes, sequence: int, records: Iterable[Record]) -> None:
        """Write one bucket whole. `records` are sorted by key; they are consumed as a stream."""
        if self._buckets and name <= self._buckets[-1][0]:
            raise ValueError(f"bucket {name!r} comes after {self._buckets[-1][0]!r}: out of order")
        root = self._write_tree(records, 0, f"bucket {name!r}")
        self._buckets.append((name, _BUCKET_HEADER.pack(root, sequence)))

    def finish(self, transaction: int) -> int:
        """Write the root, the freelist and both meta pages; return the file's size in bytes."""
        root = self._write_tree(self._buckets, _BUCKET_ELEMENT, "the root")
        freelist = self._append(_FREELIST, 0, b"")
        transaction = max(transaction, 1)
        for number in (0, 1):
            # The second copy has the older transaction, as bbolt's own copies of a database have.
            fields = (_MAGIC, _BOLT_VERSION, self._page_size, 0, root, 0, freelist, self._next_page)
            body = _META.pack(*fields, transaction - number, 0)[:-8]
            checksum = _fnv64a(body).to_bytes(8, "little")
            self._file.seek(number * self._page_size)
            self._file.write(_PAGE_HEADER.pack(number, _META_PAGE, 0, 0) + body + checksum)
        self._file.seek(0, 2)
        return self._next_page * self._page_size

    def _write_tree(self, records: Iterable[Record], flags: int, what: str) -> int:
        """Write leaves and the branches over them; return the root's page."""
        level = self._write_leaves(records, flags, what)
        while len(level) > 1:
            level = self._write_branches(level)
        return level[0][1]

    def _write_leaves(self, records: Iterable[Record], flags: int, what: str) -> list[tuple[bytes, int]]:
        limit = _LEAF_PAGES * self._page_size
        children: list[tuple[bytes, int]] = []
        pending: list[Record] = []
        size = _PAGE_HEADER.size
        previous = b""
        for record in records:
            key, value = record
            if key <= previous:
                raise ValueError(f"{what}: keys are empty or out of order at {key!r}")
            if len(key) > _MAX_KEY_SIZE or len(value) > _MAX_VALUE_SIZE:
                raise ValueError(f"{what}: a record of {len(key)} + {len(value)} bytes is not possible")
            previous = key
            need = _LEAF_ELEMENT.size + len(key) + len(value)
            if pending and (size + need > limit or len(pending) >= _MAX_COUNT):
                children.append(self._write_leaf(pending, flags))
                pending, size = [], _PAGE_HEADER.size
            pending.append(record)
            size += need
        if pending or not children:
            children.append(self._write_leaf(pending, flags))
        return children

    def _write_leaf(self, records: list[Record], flags: int) -> tuple[bytes, int]:
        parts: list[bytes] = []
        pack, element = _LEAF_ELEMENT.pack, _LEAF_ELEMENT.size
        position = len(records) * element
        for key, value in records:
            parts.append(pack(flags, position, len(key), len(value)))
            position += len(key) + len(value) - element
        for record in records:
            parts += record
        return records[0][0] if records else b"", self._append(_LEAF, len(records), b"".join(parts))

    def _write_branches(self, level: list[tuple[bytes, int]]) -> list[tuple[bytes, int]]:
        parents: list[tuple[bytes, int]] = []
        pending: list[tuple[bytes, int]] = []
        size = _PAGE_HEADER.size
        for child in level:
            need = _BRANCH_ELEMENT.size + len(child[0])
            # A branch has at least two children: otherwise very long keys would build no tree.
            if len(pending) >= 2 and (size + need > self._page_size or len(pending) >= _MAX_COUNT):
                parents.append(self._write_branch(pending))
                pending, size = [], _PAGE_HEADER.size
            pending.append(child)
            size += need
        parents.append(self._write_branch(pending))
        return parents

    def _write_branch(self, children: list[tuple[bytes, int]]) -> tuple[bytes, int]:
        elements, keys = [], []
        position = len(children) * _BRANCH_ELEMENT.size
        for key, page in children:
            elements.append(_BRANCH_ELEMENT.pack(position, len(key), page))
            keys.append(key)
            position += len(key) - _BRANCH_ELEMENT.size
        return children[0][0], self._append(_BRANCH, len(children), b"".join(elements + keys))

    def _append(self, flags: int, count: int, body: bytes) -> int:
        number = self._next_page
        length = _PAGE_HEADER.size + len(body)
        used = -(-length // self._page_size)
        header = _PAGE_HEADER.pack(number, flags, count, used - 1)
        self._file.write(b"".join((header, body, bytes(used * self._page_size - length))))
        self._next_page += used
        return number


def _fnv64a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


# --- The whole --------------------------------------------------------------------------------------


def rebuild(root: str, target: str, progress: Progress | None = None, sha256: str | None = None) -> Rebuilt:
    """Make the snapshot file `target`, which must not exist, from the segments in `root`.

    `progress` is called now and then with the records done and in total. Raises RebuildError for whatever is
    wrong with the segments, or if the result has not the digest `sha256`; OSError for the target. Then there
    is no target.
    """
    manifest = read_manifest(root)
    if os.path.lexists(target):
        raise RebuildError(target, "exists already: name another file")
    partial = target + ".partial"
    try:
        with open(partial, "wb", buffering=1 << 20) as file:
            records = _write(root, manifest, file, progress)
        rebuilt = _seal(partial, records)
        if sha256 not in (None, rebuilt.sha256):
            raise RebuildError(
                target, f"would have the SHA-256 {rebuilt.sha256}; the backup's list says {sha256}"
            )
        os.replace(partial, target)
    finally:
        if os.path.lexists(partial):
            os.unlink(partial)
    return rebuilt


def _write(root: str, manifest: dict[str, Any], file: BinaryIO, progress: Progress | None) -> int:
    counted = [0, 0]
    try:
        buckets = manifest["buckets"]
        _check_names(root, buckets)
        counted[1] = sum(int(bucket["records"]) for bucket in buckets)
        writer = BoltWriter(file, manifest["pageSize"])
        for bucket in buckets:
            name, sequence = bytes.fromhex(bucket["name"]), int(bucket["sequence"])
            records = _records(root, bucket, counted, progress)
            try:
                writer.write_bucket(name, sequence, records)
            except ValueError as error:
                raise RebuildError(_path_of(bucket), str(error)) from error
        writer.finish(manifest["transaction"])
    except (KeyError, TypeError, IndexError, ValueError, struct_error) as error:
        # Its digest is right, so whoever wrote it made the mistake: still no reason for a traceback.
        raise RebuildError(MANIFEST, f"does not describe a snapshot: {error}") from error
    return counted[0]


def _seal(path: str, records: int) -> Rebuilt:
    """Append the SHA-256 that `etcdctl snapshot save` ends a file with."""
    state = hashlib.sha256()
    with open(path, "r+b", buffering=0) as file:
        while chunk := file.read(1 << 20):
            state.update(chunk)
        trailer = state.digest()
        file.write(trailer)
        size = file.tell()
    state.update(trailer)
    return Rebuilt(size, state.hexdigest(), records)


def told_digest(directory: str) -> str | None:
    """Return the digest that the backup's list in `directory` has of the snapshot; None without a list."""
    try:
        with open(os.path.join(directory, DIGESTS), encoding="utf-8", errors="replace") as file:
            found = [line.split()[0] for line in file if line.rstrip().endswith("  " + _SNAPSHOT)]
    except OSError:
        return None
    return found[0] if found else None


def main(arguments: list[str] | None = None) -> int:
    """Rebuild as the command line says; return the exit code."""
    parser = argparse.ArgumentParser(
        description="Puts an etcd snapshot together again from the segments of a backup."
    )
    parser.add_argument("directory", help=f"the restored directory that has the file {MANIFEST}")
    parser.add_argument("target", help="the file to write, such as etcd-snapshot.db; it must not exist")
    options = parser.parse_args(arguments)
    sha256 = told_digest(os.path.dirname(os.path.abspath(__file__)))
    try:
        rebuilt = rebuild(options.directory, options.target, sha256=sha256)
    except RebuildError as error:
        print(f"The snapshot cannot be rebuilt. {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"The snapshot cannot be written. {error}", file=sys.stderr)
        return 1
    print(f"{rebuilt.sha256}  {options.target}")
    print(f"{rebuilt.records} records, {rebuilt.size} bytes. Now: etcdutl snapshot status {options.target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
