"""The small parts of the API: paths, selectors, schedules, JSONPath, ages, bodies."""

import base64
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubedr_server.local.api.cel_rules import evaluate, rule_errors
from kubedr_server.local.api.columns import human, since
from kubedr_server.local.api.decode import parse_body
from kubedr_server.local.api.errors import APIError
from kubedr_server.local.api.fieldset import from_fields_v1, show, to_fields_v1
from kubedr_server.local.api.jsonpath import find, parse
from kubedr_server.local.api.protobuf import ProtobufDecoder
from kubedr_server.local.api.schemas import Definitions, reference
from kubedr_server.local.api.selectors import match_label_selector
from kubedr_server.local.api.strategic import StrategicMerge
from kubedr_server.local.api.structural import Structure
from kubedr_server.local.api.typed import Typed

Object = dict[str, Any]


@pytest.fixture(scope="module")
def definitions() -> Definitions:
    return Definitions()


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (150, "2m30s"), (600, "10m"), (10799, "179m"),
     (10800, "3h"), (11000, "3h3m"), (30000, "8h"), (172800, "2d"), (180000, "2d2h"), (700000, "8d"),
     (86400 * 800, "2y70d")],
)  # fmt: skip
def test_ages_are_written_as_kubectl_writes_them(seconds: int, shown: str) -> None:
    assert human(seconds) == shown
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert since((now - timedelta(seconds=seconds)).isoformat(), now) == shown


def test_jsonpath_filters_and_indexes() -> None:
    obj = {"a": [{"t": "x", "v": 1}, {"t": "y", "v": 2}], "b.c": 3, "m": {"k": 4}}
    assert find(obj, '.a[?(@.t=="y")].v') == [2]
    assert find(obj, ".a[0].v") == [1]
    assert find(obj, ".a[*].v") == [1, 2]
    assert find(obj, r".b\.c") == [3]
    assert find(obj, "{.m.k}") == [4]
    assert find(obj, ".nothing.here") == []
    with pytest.raises(ValueError, match="not understood"):
        parse(".a[?(@.t=~x)]")


def test_label_selectors_of_objects_match() -> None:
    expressions = [
        {"key": "a", "operator": "In", "values": ["1", "2"]},
        {"key": "b", "operator": "DoesNotExist"},
        {"key": "c", "operator": "NotIn", "values": ["9"]},
    ]
    selector = {"matchLabels": {"x": "y"}, "matchExpressions": expressions}
    assert match_label_selector(selector, {"x": "y", "a": "1"})
    assert not match_label_selector(selector, {"x": "y", "a": "3"})
    assert not match_label_selector(selector, {"x": "y", "a": "1", "b": ""})
    assert not match_label_selector(selector, {"x": "y", "a": "1", "c": "9"})
    assert match_label_selector({}, {})


def test_yaml_bodies_keep_dates_as_text() -> None:
    body = b"a: 2026-01-01T00:00:00Z\nb: [1, true, null]\n"
    assert parse_body(body, "application/yaml") == {"a": "2026-01-01T00:00:00Z", "b": [1, True, None]}


@pytest.mark.parametrize("body", [b"[]", b"nothing", b'{"a": NaN}', b"[" * 100_000, b'"x"', b"\xff\xfe"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(APIError) as error:
        parse_body(body, "application/json")
    assert error.value.code == 400


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return bytes([number << 3]) + varint(value)
    return bytes([number << 3 | 2]) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def protobuf(kind: str, version: str, raw: bytes) -> bytes:
    return b"k8s\0" + field(1, field(1, version.encode()) + field(2, kind.encode())) + field(2, raw)


def test_a_secret_in_protobuf_becomes_json() -> None:
    meta = field(1, b"s") + field(11, field(1, b"l") + field(2, b"v")) + field(8, field(1, 1_700_000_000))
    raw = field(1, meta) + field(2, field(1, b"key") + field(2, b"\0\xff")) + field(5, 0)
    assert ProtobufDecoder().decode(protobuf("Secret", "v1", raw)) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "labels": {"l": "v"}, "creationTimestamp": "2023-11-14T22:13:20Z"},
        "data": {"key": base64.b64encode(b"\0\xff").decode()},
        "immutable": False,
    }


@pytest.mark.parametrize("raw", [b"\x0a\xff", b"\x0b", b"\xff" * 12])
def test_malformed_protobuf_is_refused(raw: bytes) -> None:
    with pytest.raises(APIError, match="error decoding protobuf"):
        ProtobufDecoder().decode(protobuf("Secret", "v1", raw))
    with pytest.raises(APIError, match="does not begin with k8s"):
        ProtobufDecoder().decode(struct.pack("<I", 1))


def test_fields_are_read_and_written_as_managed_fields_has_them() -> None:
    parts: Object = {".": {}, 'k:{"id":"a"}': {".": {}, "f:id": {}}}
    tree = {"f:spec": {"f:parts": parts, "f:tags": {'v:"x"': {}}}}
    fields = from_fields_v1(tree)
    assert to_fields_v1(fields) == tree
    assert sorted(show(path) for path in fields) == [
        ".spec.parts", '.spec.parts[id="a"]', '.spec.parts[id="a"].id', '.spec.tags[="x"]',
    ]  # fmt: skip


def test_ports_are_told_apart_by_number_and_protocol(definitions: Definitions) -> None:
    schema = reference("io.k8s.api.core.v1.Container")
    config = {"name": "a", "ports": [{"containerPort": 1}, {"containerPort": 1, "protocol": "UDP"}]}
    fields = Typed(definitions).fields(config, schema)
    assert ("f:ports", 'k:{"containerPort":1,"protocol":"TCP"}', "f:containerPort") in fields
    assert ("f:ports", 'k:{"containerPort":1,"protocol":"UDP"}', "f:protocol") in fields


def strategic(definitions: Definitions, value: Object, patch: Object) -> Object:
    return StrategicMerge(definitions).merge(value, patch, reference("io.k8s.api.core.v1.PodSpec"))


def test_strategic_directives_are_followed(definitions: Definitions) -> None:
    spec = {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]}
    deleted = {"containers": [{"name": "a", "$patch": "delete"}, {"name": "c", "image": "z"}]}
    assert [c["name"] for c in strategic(definitions, spec, deleted)["containers"]] == ["b", "c"]
    ordered = {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "a"}]}
    assert [c["name"] for c in strategic(definitions, spec, ordered)["containers"]] == ["b", "a"]
    replaced = {"containers": [{"$patch": "replace"}, {"name": "n"}]}
    assert strategic(definitions, spec, replaced) == {"containers": [{"name": "n"}]}
    volumes = {"volumes": [{"name": "v", "emptyDir": {}}]}
    moved = {"volumes": [{"$retainKeys": ["name", "hostPath"], "name": "v", "hostPath": {"path": "/x"}}]}
    assert strategic(definitions, volumes, moved) == {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}
    with pytest.raises(APIError, match="does not contain declared merge key: name"):
        strategic(definitions, spec, {"containers": [{"image": "x"}]})


def test_unknown_fields_of_built_in_kinds_are_found(definitions: Definitions) -> None:
    pod = {"spec": {"containers": [{"name": "a", "imag": 1}], "nodeSelector": {"any": "thing"}}, "more": 1}
    assert Structure(definitions).prune(pod, reference("io.k8s.api.core.v1.Pod")) == [
        "spec.containers[0].imag", "more",
    ]  # fmt: skip
    assert pod == {"spec": {"containers": [{"name": "a"}], "nodeSelector": {"any": "thing"}}}


def test_rules_know_kubernetes_functions_and_types() -> None:
    assert (
        evaluate("self.lowerAscii() == 'ab' && isURL('https://x/') && [1,2].sum() == 3", {"self": "AB"})
        is True
    )
    schema: Object = {
        "type": "object",
        "properties": {
            "start": {"type": "string", "format": "date-time"},
            "end": {"type": "string", "format": "date-time"},
            "name-space": {"type": "string"},
        },
        "x-kubernetes-validations": [{"rule": "self.start < self.end && self.name__dash__space == 'x'"}],
    }
    good = {"start": "2026-01-01T09:00:00+02:00", "end": "2026-01-01T08:00:00Z", "name-space": "x"}
    assert rule_errors(good, schema) == []
    [error] = rule_errors(good | {"end": "2026-01-01T06:00:00Z"}, schema)
    assert error.body.startswith("Invalid value: failed rule: self.start < self.end")
    [missing] = rule_errors({"start": good["start"], "name-space": "x"}, schema)
    assert "no such key: end evaluating rule" in missing.body
