"""Reads what Go's typed clients send: `application/vnd.kubernetes.protobuf` bodies of built-in kinds.

`kubectl create job` and helm encode their requests so, without falling back to JSON; they accept
JSON as an answer, so nothing is ever written in protobuf. The field numbers are in protobuf_fields.json.
"""

import base64
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from importlib import resources
from typing import Any

from kubedr_server.local.api.errors import bad_request

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\0"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GROUPS = {
    "rbac.authorization.k8s.io": "rbac",
    "coordination.k8s.io": "coordination",
    "discovery.k8s.io": "discovery",
    "networking.k8s.io": "networking",
    "scheduling.k8s.io": "scheduling",
    "storage.k8s.io": "storage",
    "admissionregistration.k8s.io": "admissionregistration",
    "authorization.k8s.io": "authorization",
    "authentication.k8s.io": "authentication",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _MalformedError(ValueError):
    """The bytes are no message of the expected type."""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        if at >= len(data):
            raise _MalformedError("unexpected end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _MalformedError("varint overflow")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        value: int | bytes
        if wire == _VARINT:
            value, at = _varint(data, at)
        elif wire in (_BYTES, _FIXED64, _FIXED32):
            if wire == _BYTES:
                length, at = _varint(data, at)
            else:
                length = 8 if wire == _FIXED64 else 4
            if at + length > len(data):
                raise _MalformedError("unexpected end")
            value, at = data[at : at + length], at + length
        else:
            raise _MalformedError(f"wire type {wire}")
        yield number, value


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise _MalformedError("a number where a message belongs")
    return value


def _text(value: int | bytes) -> str:
    return _message(value).decode("utf-8")


def _number(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise _MalformedError("a message where a number belongs")
    return value - (1 << 64) if value >= 1 << 63 else value


class ProtobufDecoder:
    """Decodes request bodies by the table of field numbers."""

    @cached_property
    def _table(self) -> dict[str, dict[str, list[str]]]:
        text = (resources.files(__package__) / "protobuf_fields.json").read_text()
        table: dict[str, dict[str, list[str]]] = json.loads(text)
        return table

    def decode(self, body: bytes) -> dict[str, Any]:
        """Return the object in a body as its JSON form. Raises APIError(400)."""
        try:
            return self._decode(body)
        except (_MalformedError, UnicodeDecodeError, RecursionError, OverflowError) as error:
            raise bad_request(f"error decoding protobuf: {error}") from None

    def _decode(self, body: bytes) -> dict[str, Any]:
        if not body.startswith(_MAGIC):
            raise _MalformedError("the body does not begin with k8s and a zero byte")
        envelope = dict(_fields(body[len(_MAGIC) :]))
        kind_of = dict(_fields(_message(envelope.get(1, b""))))
        api_version, kind = _text(kind_of.get(1, b"")), _text(kind_of.get(2, b""))
        group, _, version = api_version.rpartition("/")
        name = f"{_GROUPS.get(group, group) or 'core'}/{version}.{kind}"
        if kind in ("DeleteOptions", "CreateOptions"):
            name = f"meta/v1.{kind}"
        if name not in self._table:
            raise bad_request(f"{kind} in version {api_version} is not read as protobuf: send JSON")
        return {"apiVersion": api_version, "kind": kind} | self._struct(_message(envelope.get(2, b"")), name)

    def _struct(self, data: bytes, name: str) -> dict[str, Any]:
        table, result = self._table[name], dict[str, Any]()
        for number, value in _fields(data):
            if str(number) not in table:
                continue
            field, kind, flags = table[str(number)]
            if "{}" in flags:
                entry = dict(_fields(_message(value)))
                decoded = self._value(entry.get(2, b""), kind) if 2 in entry or kind != "int" else 0
                result.setdefault(field, {})[_text(entry.get(1, b""))] = decoded
            elif "[]" in flags:
                result.setdefault(field, []).append(self._value(value, kind))
            else:
                decoded = self._value(value, kind)
                if "." in flags and not field:
                    result |= decoded
                elif "*" in flags or not _left_out(decoded, flags):
                    result[field] = decoded
        return result

    def _value(self, value: int | bytes, kind: str) -> Any:
        match kind:
            case "string":
                return _text(value)
            case "int":
                return _number(value)
            case "bool":
                return bool(value)
            case "double":
                return struct.unpack("<d", _message(value))[0]
            case "bytes":
                return base64.b64encode(_message(value)).decode()
            case "time" | "micro-time":
                return _time(_message(value), micro=kind == "micro-time")
            case "quantity":
                return _text(dict(_fields(_message(value))).get(1, b""))
            case "raw":
                raw = _message(dict(_fields(_message(value))).get(1, b""))
                return json.loads(raw) if raw else None
            case "int-or-string":
                parts = dict(_fields(_message(value)))
                return _text(parts.get(3, b"")) if parts.get(1) else _number(parts.get(2, 0))
        return self._struct(_message(value), kind)


def _left_out(value: Any, flags: str) -> bool:
    """Whether Go's JSON leaves the value out: empty, and no struct."""
    return value is None or ("-" in flags and not value and not isinstance(value, dict))


def _time(data: bytes, *, micro: bool) -> str | None:
    parts = dict(_fields(data))
    if not parts:
        return None
    seconds, nanos = _number(parts.get(1, 0)), _number(parts.get(2, 0))
    moment = _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)
    if moment.year == 1:
        return None
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")
