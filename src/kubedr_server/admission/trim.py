"""Leaves out of a large review what no rule reads: a program of its own, of the standard library only.

A review grows to megabytes by its object's metadata and status (the API server bounds our specs). To
read that takes hundreds of milliseconds, during which the server could answer nobody else.
"""

import gc
import json
import sys
from typing import Any, NoReturn

_METADATA = ("name", "generateName", "namespace", "deletionTimestamp")
_OBJECT = ("apiVersion", "kind", "spec")
_MAX_ANNOTATION = 256
"""The annotations that rules read are shorter."""


def trim(review: Any) -> Any:
    """Return the review with only those parts of its objects that rules read."""
    request = review.get("request") if isinstance(review, dict) else None
    if not isinstance(request, dict):
        return review
    wanted = {key: value for key, value in request.items() if key not in ("options", "userInfo")}
    for field in ("object", "oldObject"):
        if isinstance(wanted.get(field), dict):
            wanted[field] = _trim_object(wanted[field])
    return {**review, "request": wanted}


def _trim_object(obj: dict[str, Any]) -> dict[str, Any]:
    trimmed = {key: obj[key] for key in _OBJECT if key in obj}
    metadata = obj.get("metadata")
    if isinstance(metadata, dict):
        trimmed["metadata"] = {key: metadata[key] for key in _METADATA if key in metadata}
        annotations = metadata.get("annotations")
        if isinstance(annotations, dict):
            trimmed["metadata"]["annotations"] = {
                key: value
                for key, value in annotations.items()
                if isinstance(value, str) and len(value) <= _MAX_ANNOTATION
            }
    return trimmed


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def main() -> None:
    """Answer each review, which comes after a line with its length, with a line; empty if it is not JSON."""
    gc.disable()  # what is made here has no cycles
    for length in iter(sys.stdin.buffer.readline, b""):
        sys.stdout.buffer.write(_answer(sys.stdin.buffer.read(int(length))) + b"\n")
        sys.stdout.buffer.flush()


def _answer(body: bytes) -> bytes:
    try:
        trimmed = trim(json.loads(body, parse_constant=_refuse))
    except (ValueError, RecursionError):
        return b""
    return json.dumps(trimmed, separators=(",", ":")).encode()


if __name__ == "__main__":
    main()
