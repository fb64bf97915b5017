"""Decides which records share a segment, so that a change of the database touches few of them.

Two things are stored anew in each backup: the segments that a record came into or went from, and restic's
entry for every file there is (about 46 bytes each: restic notes inodes and change times, so a directory's
listing is new each time). The rules below were found by measuring; see docs/design/snapshot-format.md.

- Records of one resource change at one pace: each resource is a stream of segments of its own.
- Leases are renewed every few seconds, and a deletion's own record goes with the next compaction. Nothing of
  them is the same in the next backup, so they are kept from all else, in large segments that compress well.
- Events come and go in order, so there larger segments lose nothing.
- Everything else: about four records a segment; more when there are hundreds of thousands of records.
"""

import zlib
from typing import Final, NamedTuple

RECORDS_PER_SEGMENT: Final = 4
MANY_RECORDS: Final = 1 << 17
"""From here on, and at each fourfold, segments are four times as large: the number of files stays bounded."""

LARGE_VALUE: Final = 32 * 1024
"""A value of this size has a segment for itself: it would be the most of any other's cost."""

MAX_SEGMENT_SIZE: Final = 2 << 20

_SHORT_LIVED: Final = frozenset((b"leases", b"masterleases"))
_IN_ORDER: Final = frozenset((b"events",))
_SHORT_LIVED_FACTOR: Final = 256
_IN_ORDER_FACTOR: Final = 4
_STREAMS: Final = 255
_SHORT_LIVED_STREAM: Final = 255
_MAX_CACHED: Final = 4096


class Stream(NamedTuple):
    """Where a record belongs: a stream, and the bits of its hash that are 0 if it begins a segment."""

    number: int
    mask: int


class Placement:
    """The rules for a database with so many records. The same record always goes to the same stream."""

    def __init__(self, records: int) -> None:
        self.records_per_segment = RECORDS_PER_SEGMENT
        while records > MANY_RECORDS:
            records //= 4
            self.records_per_segment *= 4
        self.short_lived = self._stream(_SHORT_LIVED_STREAM, _SHORT_LIVED_FACTOR)
        self._known: dict[bytes, Stream] = {}

    def of(self, record: bytes) -> Stream:
        """Return the stream of a record that is no deletion. `record` is the value in the `key` bucket."""
        family = family_of(record)
        stream = self._known.get(family)
        if stream is None:
            if len(self._known) >= _MAX_CACHED:
                self._known.clear()
            stream = self._known[family] = self._choose(family)
        return stream

    def _choose(self, family: bytes) -> Stream:
        resource = family.rpartition(b"/")[2]
        if resource in _SHORT_LIVED:
            return self.short_lived
        return self._stream(zlib.crc32(family) % _STREAMS, _IN_ORDER_FACTOR if resource in _IN_ORDER else 1)

    def _stream(self, number: int, factor: int) -> Stream:
        return Stream(number, self.records_per_segment * factor - 1)


def family_of(record: bytes) -> bytes:
    """Return the first two parts of a record's user key, such as `/registry/pods`; nothing if it has fewer.

    Only looks: what is no KeyValue, or has a key of 16 kB and more, belongs to no family.
    """
    if len(record) < 3 or record[0] != 0x0A:
        return b""
    size, start = record[1], 2
    if size >= 0x80:
        size, start = size & 0x7F | record[2] << 7, 3
    key = record[start : start + size]
    return key[: key.find(b"/", key.find(b"/", 1) + 1)] if key.count(b"/", 1) >= 2 else b""
