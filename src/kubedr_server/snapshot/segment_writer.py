"""Writes one bucket's records to segment files, in one pass.

Which records share a file depends on the records alone (`placement`), so that the same records make the
same files in the next backup. Segments are named by their first record; about 256 neighbours share a
directory, which is named by the first of them.
"""

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import error as struct_error
from typing import Any, Final

from kubedr_server.snapshot.errors import CorruptRecordError
from kubedr_server.snapshot.placement import MAX_SEGMENT_SIZE, Placement
from kubedr_server.snapshot.rebuild_script import RECORD_HEADER, directory_checksum, name_of

_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_FILE_MODE: Final = 0o600
_DIRECTORY_MODE: Final = 0o700
_DIRECTORY_SHIFT: Final = 24
"""A directory begins where a segment begins and the upper eight bits of the hash are 0: one in 256."""


@dataclass(slots=True)
class _Directory:
    name: str
    segments: int = 0
    records: int = 0
    checksum: int = 0


@dataclass(slots=True)
class _Segment:
    name: str
    directory: _Directory
    size: int = 0
    records: int = 0
    parts: list[bytes] = field(default_factory=list)


class SegmentWriter:
    """Writes segments below `<root>/<folder>`; `sizes` gets each file's path below `root` and its size."""

    def __init__(self, root: str, folder: str, placement: Placement, sizes: dict[str, int]) -> None:
        self._root = root
        self._folder = folder
        self._placement = placement
        self._sizes = sizes
        self._open: dict[int, _Segment] = {}
        self._directories: list[_Directory] = []

    def write(self, records: Iterator[tuple[bytes, bytes]]) -> dict[str, Any]:
        """Write all records, sorted by key; return what the manifest says of the bucket.

        Raises CorruptRecordError for a key that is no revision, OSError if a file cannot be written.
        """
        os.mkdir(f"{self._root}/{self._folder}", _DIRECTORY_MODE)  # noqa: PTH102 - as in `write_file`
        placed, opened = self._placement.of, self._open
        pack, crc32 = RECORD_HEADER.pack, zlib.crc32
        total = 0
        for key, value in records:
            number, mask, large = placed(key, value)
            segment = opened.get(number)
            size = len(value)
            checksum = crc32(key)
            if segment is None or not checksum & mask or segment.size >= MAX_SEGMENT_SIZE or size >= large:
                if segment is not None:
                    self._close(segment)
                segment = opened[number] = self._begin(key, checksum)
            segment.parts += (pack(len(key), size), key, value)
            segment.size += size
            segment.records += 1
            total += 1
            if size >= large:
                self._close(opened.pop(number))
        for segment in opened.values():
            self._close(segment)
        directories = {each.name: [each.segments, each.records, each.checksum] for each in self._directories}
        return {"records": total, "folder": self._folder, "directories": directories}

    def _begin(self, key: bytes, checksum: int) -> _Segment:
        try:
            name = name_of(key)
        except (ValueError, struct_error):
            raise CorruptRecordError(f"{key.hex()} is no revision") from None
        if not self._directories or not checksum >> _DIRECTORY_SHIFT:
            self._directories.append(_Directory(name))
            os.mkdir(f"{self._root}/{self._folder}/{name}", _DIRECTORY_MODE)  # noqa: PTH102 - as above
        return _Segment(name, self._directories[-1])

    def _close(self, segment: _Segment) -> None:
        directory = segment.directory
        data = b"".join(segment.parts)
        path = f"{self._folder}/{directory.name}/{segment.name}"
        write_file(f"{self._root}/{path}", data)
        self._sizes[path] = len(data)
        directory.segments += 1
        directory.records += segment.records
        directory.checksum = directory_checksum(directory.checksum, segment.name, data)


def write_file(path: str, data: bytes) -> None:
    """Write a new file in one go. There are ten thousands of them: pathlib would take half of the time."""
    file = os.open(path, _FLAGS, _FILE_MODE)
    try:
        written = os.write(file, data)
        while written < len(data):
            written += os.write(file, data[written:])
    finally:
        os.close(file)
