"""Reading request bodies: JSON or YAML, one object, with every duplicate key noticed."""

import json
from typing import Any

import yaml

from kubedr_server.local.api.errors import APIError, bad_request, unsupported_media_type
from kubedr_server.local.api.protobuf import MEDIA_TYPE, ProtobufDecoder

JSON = "application/json"
YAML = "application/yaml"
MAX_BODY = 3 * 1024 * 1024
"""The real server's limit of a request body, in bytes."""
MAX_DEPTH = 512

_ACCEPTED = (JSON, YAML, MEDIA_TYPE)


_PROTOBUF = ProtobufDecoder()


class _Duplicates(dict[str, Any]):
    """An object that had a key twice; remembers which, as encoding/json tells strict decoding."""

    def __init__(self, pairs: list[tuple[str, Any]], twice: list[str]) -> None:
        super().__init__(pairs)
        self.twice = twice


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    seen: set[str] = set()
    twice: list[str] = []
    for key, _ in pairs:
        if key in seen and key not in twice:
            twice.append(key)
        seen.add(key)
    return _Duplicates(pairs, twice)


def _no_constant(name: str) -> Any:
    raise ValueError(f"invalid character '{name[0]}' looking for beginning of value")


class _YAMLLoader(yaml.SafeLoader):
    """YAML 1.2's idea of scalars as JSON has them: a date stays a string."""


_YAMLLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse_json(body: bytes) -> Any:
    """Decode JSON. Raises APIError(400) on what is not JSON, NaN and too deep nesting included."""
    try:
        return json.loads(body, object_pairs_hook=_pairs, parse_constant=_no_constant)
    except RecursionError:
        raise bad_request(f"error decoding: nested deeper than {MAX_DEPTH}") from None
    except ValueError as error:
        raise bad_request(f"error decoding: {error}") from None


def parse_body(body: bytes, content_type: str) -> dict[str, Any]:
    """Decode the object in a body. Raises APIError 400, 413 or 415."""
    kind = content_type.partition(";")[0].strip() or JSON
    if len(body) > MAX_BODY:
        raise APIError(413, "RequestEntityTooLarge", f"limit is {MAX_BODY}")
    if kind == JSON:
        value = parse_json(body)
    elif kind == MEDIA_TYPE:
        return _PROTOBUF.decode(body)
    elif kind in (YAML, "application/x-yaml"):
        try:
            # Safe: a subclass of SafeLoader. Over JSON once, so that YAML's extras are refused.
            value = json.loads(json.dumps(yaml.load(body, _YAMLLoader)))  # noqa: S506 - is a SafeLoader
        except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
            raise bad_request(f"error decoding: {error}") from None
    else:
        raise unsupported_media_type(_ACCEPTED)
    if not isinstance(value, dict):
        raise bad_request("couldn't get version/kind; json parse error: the body is not an object")
    return value


def duplicate_fields(value: Any, path: str = "") -> list[str]:
    """Return the paths of keys that occur twice in their object."""
    found: list[str] = []
    if isinstance(value, dict):
        if isinstance(value, _Duplicates):
            found += [f"{path}.{key}".lstrip(".") for key in value.twice]
        for key, item in value.items():
            found += duplicate_fields(item, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += duplicate_fields(item, f"{path}[{index}]")
    return found
