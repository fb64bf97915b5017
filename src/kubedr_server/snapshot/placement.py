"""Decides which records share a segment, so that a change of the database touches few of them.

Two things are stored anew in each backup: the segments that a record came into or went from, and restic's
entry for every file there is (about 46 bytes each: restic notes inodes and change times, so a directory's
listing is new each time). The rules below were found by measuring; see docs/design/snapshot-format.md.

- What is newer than etcd's last compaction: nothing of it has gone away, it only grows at its end, and much
  of it goes with the next compaction. It has large segments, in which versions of one object compress well.
- Leases and the reports of nodes are written again within minutes, and a deletion's own record goes with the
  next compaction: large segments of their own, each for a share of the keys.
- All else is kept apart by resource, because a resource's objects change at one pace. Events come and go in
  order, and configuration hardly changes: segments of some records. Of pods and all that is unknown a segment
  has two; a record that is large has one for itself.
"""

import zlib
from dataclasses import dataclass
from typing import Final, NamedTuple

from kubedr_server.snapshot.mvcc import REVISION

MANY_RECORDS: Final = 1 << 17
"""From here on, and at each fourfold, segments are four times as large: the number of files stays bounded."""

MAX_SEGMENT_SIZE: Final = 2 << 20

_SHORT_LIVED: Final = frozenset((b"leases", b"masterleases", b"minions"))
_STEADY: Final = frozenset(
    (
        b"apiextensions.k8s.io",
        b"apiregistration.k8s.io",
        b"clusterrolebindings",
        b"clusterroles",
        b"configmaps",
        b"controllerrevisions",
        b"namespaces",
        b"persistentvolumeclaims",
        b"persistentvolumes",
        b"rolebindings",
        b"roles",
        b"secrets",
        b"serviceaccounts",
        b"services",
    )
)
_RESOURCE_STREAMS: Final = 255
_SHARES: Final = 8
"""How many streams the short-lived records of a resource are spread over, by their keys."""

_MAX_CACHED: Final = 4096


class Stream(NamedTuple):
    """Where a record belongs. It begins a segment if its checksum's bits in `mask` are 0, or it is large."""

    number: int
    mask: int
    large: int


@dataclass(frozen=True, slots=True)
class _Rule:
    """How many records a segment has on average, and from which size on a value has one for itself."""

    records: int
    large: int

    def stream(self, number: int, factor: int) -> Stream:
        large = min(self.large * factor, MAX_SEGMENT_SIZE)
        return Stream(number, self.records * factor - 1, large)


_TOGETHER: Final = _Rule(1024, MAX_SEGMENT_SIZE)
_PODS: Final = _Rule(2, 4 << 10)
_EVENTS: Final = _Rule(16, 32 << 10)
_CONFIGURATION: Final = _Rule(16, 8 << 10)
_OTHER: Final = _Rule(2, 8 << 10)


class Placement:
    """The rules for a database with so many records, compacted at a revision (0: never).

    Each record's place depends on itself only, so it is the same in the next backup.
    """

    def __init__(self, records: int, compacted: int) -> None:
        self.factor = 1
        while records > MANY_RECORDS:
            records //= 4
            self.factor *= 4
        self._compacted = compacted.to_bytes(8, "big")
        first = _RESOURCE_STREAMS
        self._fresh = _TOGETHER.stream(first, 1)
        self._deleted = self._spread(first + 1)
        self._short_lived = {
            resource: self._spread(first + 1 + _SHARES * index)
            for index, resource in enumerate(sorted(_SHORT_LIVED), start=1)
        }
        self._known: dict[bytes, Stream | tuple[Stream, ...]] = {}

    def of(self, key: bytes, record: bytes) -> Stream:
        """Return the stream of a record: its key and value in the `key` bucket."""
        user_key = user_key_of(record)
        if len(key) > REVISION.size:
            return self._deleted[zlib.crc32(user_key) % _SHARES]
        family = user_key[: user_key.find(b"/", user_key.find(b"/", 1) + 1)]
        stream = self._known.get(family) or self._choose(family)
        if not isinstance(stream, Stream):
            return stream[zlib.crc32(user_key) % _SHARES]
        return self._fresh if key[:8] > self._compacted else stream

    def _choose(self, family: bytes) -> Stream | tuple[Stream, ...]:
        """Return the stream, or several, of all keys that begin with the same two parts: `/registry/pods`.

        A group's custom resources are one family. Keys of other programs may have any number of first parts.
        """
        if len(self._known) >= _MAX_CACHED:
            self._known.clear()
        resource = family.rpartition(b"/")[2]
        stream: Stream | tuple[Stream, ...]
        if resource in self._short_lived:
            stream = self._short_lived[resource]
        else:
            rule = _OTHER
            if resource in _STEADY:
                rule = _CONFIGURATION
            elif resource == b"events":
                rule = _EVENTS
            elif resource == b"pods":
                rule = _PODS
            stream = rule.stream(zlib.crc32(family) % _RESOURCE_STREAMS, self.factor)
        self._known[family] = stream
        return stream

    @staticmethod
    def _spread(first: int) -> tuple[Stream, ...]:
        return tuple(_TOGETHER.stream(first + share, 1) for share in range(_SHARES))


def user_key_of(record: bytes) -> bytes:
    """Return the key that a record is of. Only looks: what is no KeyValue has none, a long one is cut."""
    if len(record) < 3 or record[0] != 0x0A:
        return b""
    size, start = record[1], 2
    if size >= 0x80:
        size, start = size & 0x7F | record[2] << 7, 3
    return record[start : start + size]
