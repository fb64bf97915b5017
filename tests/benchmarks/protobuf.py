"""Writes Kubernetes objects as a kube-apiserver stores them in etcd: protobuf in a `runtime.Unknown`.

Objects are plain dicts in the names that YAML has; a schema tells each field's number and kind, as the
`generated.proto` files of Kubernetes do. Only what the benchmarks' objects use is here.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

Object = dict[str, Any]
Encoder = Callable[[Any], bytes]
"""Makes a field's content; the length in front of it is written by the message that has it."""

_MAGIC: Final = b"k8s\0"
_VARINT, _LENGTH = 0, 2


class Number:
    """An integer or a boolean: the one kind without a length."""

    @staticmethod
    def encode(value: int) -> bytes:
        """Return the varint; a negative number is one of 64 bits."""
        return varint(value & 0xFFFFFFFFFFFFFFFF)


class Map:
    """A map from strings to something: an entry is a message with field 1 and field 2."""

    def __init__(self, value: Encoder) -> None:
        self._value = value

    def entries(self, mapping: Mapping[str, Any]) -> list[bytes]:
        """Return the entries in the keys' order, as the API server writes them."""
        return [
            _field(1, key.encode()) + _field(2, self._value(value)) for key, value in sorted(mapping.items())
        ]


class Message:
    """A message type: `Message(metadata=(1, META), spec=(2, SPEC))`. Unknown names raise KeyError."""

    def __init__(self, **fields: "tuple[int, Encoder | Message | Map | Number]") -> None:
        self._fields = fields
        self._order = {name: number for name, (number, _) in fields.items()}

    def __call__(self, value: Object | bytes) -> bytes:
        """Return the message, its fields in the order of their numbers. Bytes are one made already."""
        if isinstance(value, bytes):
            return value
        parts = []
        for name in sorted(value, key=self._order.__getitem__):
            number, kind = self._fields[name]
            content = value[name]
            if isinstance(kind, Number):
                parts.append(varint(number << 3 | _VARINT) + kind.encode(content))
            elif isinstance(kind, Map):
                parts += [_field(number, entry) for entry in kind.entries(content)]
            elif isinstance(content, list):
                parts += [_field(number, kind(item)) for item in content]
            else:
                parts.append(_field(number, kind(content)))
        return b"".join(parts)


def text(value: str) -> bytes:
    """Encode a string."""
    return value.encode()


def data(value: bytes) -> bytes:
    """Encode bytes."""
    return value


def time(value: datetime) -> bytes:
    """Encode a `Time`: whole seconds."""
    return varint(1 << 3) + varint(int(value.timestamp())) + varint(2 << 3) + b"\0"


def micro_time(value: datetime) -> bytes:
    """Encode a `MicroTime`."""
    seconds = varint(1 << 3) + varint(int(value.timestamp()))
    return seconds + varint(2 << 3) + varint(value.microsecond * 1000)


def quantity(value: str) -> bytes:
    """Encode a resource quantity, such as `250m`."""
    return _field(1, value.encode())


def port(value: int | str) -> bytes:
    """Encode an `IntOrString`."""
    if isinstance(value, int):
        return varint(1 << 3) + b"\0" + varint(2 << 3) + varint(value)
    return varint(1 << 3) + b"\1" + _field(3, value.encode())


def stored(api_version: str, kind: str, message: bytes) -> bytes:
    """Put a message into the envelope that the API server stores: the magic and a `runtime.Unknown`."""
    type_meta = _field(1, api_version.encode()) + _field(2, kind.encode())
    return _MAGIC + _field(1, type_meta) + _field(2, message) + _field(3, b"") + _field(4, b"")


def varint(value: int) -> bytes:
    """Encode a number that is not negative."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | _LENGTH) + varint(len(content)) + content
