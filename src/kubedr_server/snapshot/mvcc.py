"""etcd's mvcc records: what the `key` bucket's keys and values mean.

A key is a revision: 8 bytes main, `_`, 8 bytes sub, big-endian, and `t` behind them for a deletion
(etcd `server/storage/mvcc/revision.go`). A value is a protobuf `mvccpb.KeyValue`.
"""

import re
from struct import Struct
from typing import Final, NamedTuple

from kubedr_server.snapshot.errors import CorruptRecordError

KEY_BUCKET: Final = b"key"
REVISION: Final = Struct(">QcQ")

# The fields of a KeyValue between its key and its value, in the order in which etcd writes them:
# create_revision, mod_revision, version, and the value's length.
_AFTER_KEY: Final = re.compile(
    rb"(?:\x10V)?(?:\x18V)?(?:\x20(V))?(?:\x2a(V))?".replace(b"V", rb"[\x80-\xff]*[\x00-\x7f]")
)


class Revision(NamedTuple):
    """When a record was written: transaction, place in it, and whether it is a deletion."""

    main: int
    sub: int
    tombstone: bool


class KeyValue(NamedTuple):
    """One version of one key."""

    key: bytes
    create_revision: int
    mod_revision: int
    version: int
    value: bytes
    lease: int


class Head(NamedTuple):
    """A record without its value.

    `version` says how often the key was written since it was created; the value lies in the record from
    `value_start` to `value_end`.
    """

    key: bytes
    version: int
    value_start: int
    value_end: int


def parse_revision(key: bytes) -> Revision:
    """Read a key of the `key` bucket. Raises CorruptRecordError."""
    if len(key) not in (REVISION.size, REVISION.size + 1) or (len(key) > REVISION.size and key[-1:] != b"t"):
        raise CorruptRecordError(f"{key.hex()} is no revision")
    main, separator, sub = REVISION.unpack_from(key)
    if separator != b"_":
        raise CorruptRecordError(f"{key.hex()} is no revision")
    return Revision(main, sub, len(key) > REVISION.size)


def parse_key_value(data: bytes) -> KeyValue:
    """Read a value of the `key` bucket. Raises CorruptRecordError."""
    numbers = [0] * 7
    texts = {1: b"", 5: b""}
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        field, wire = tag >> 3, tag & 7
        if wire == 0:
            number, at = _varint(data, at)
            if field < len(numbers):
                numbers[field] = number
        elif wire == 2:
            length, at = _varint(data, at)
            if at + length > end:
                raise CorruptRecordError(f"field {field} reaches past the record's end")
            if field in texts:
                texts[field] = data[at : at + length]
            at += length
        else:
            raise CorruptRecordError(f"field {field} has wire type {wire}, which no KeyValue has")
    return KeyValue(texts[1], numbers[2], numbers[3], numbers[4], texts[5], numbers[6])


def parse_head(data: bytes) -> Head:
    """Read what `parse_key_value` reads, without the value, and several times faster.

    Raises CorruptRecordError.
    """
    if data[:1] == b"\x0a":
        size, at = _varint(data, 1)
        if at + size <= len(data) and (fields := _AFTER_KEY.match(data, at + size)):
            version = _varint(fields[1], 0)[0] if fields[1] else 0
            start = fields.end()
            end = start + _varint(fields[2], 0)[0] if fields[2] else start
            if end <= len(data):
                return Head(data[at : at + size], version, start, end)
    parsed = parse_key_value(data)
    start = data.rfind(parsed.value) if parsed.value else len(data)
    return Head(parsed.key, parsed.version, start, start + len(parsed.value))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise CorruptRecordError("a number is cut")
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
        shift += 7
