"""Custom resources: pruning, defaults, and what their schema refuses, in the real server's words."""

import uuid
from typing import Any

import pytest

from support.api_requests import MERGE, STRATEGIC, Reply, Requests
from support.widgets import serve_widgets, widget

Object = dict[str, Any]
UNCHECKED = (
    "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)


@pytest.fixture(autouse=True)
def _served(requests: Requests) -> None:
    serve_widgets(requests)


@pytest.fixture
def path(namespace: str) -> str:
    return f"/apis/example.com/v1/namespaces/{namespace}/widgets"


def create(requests: Requests, path: str, **spec: Any) -> Reply:
    obj = widget()
    obj["spec"] |= spec
    return requests("POST", path, obj)


def body(value: object, field: str, rest: str) -> str:
    return f"Invalid value: {value}: {field} in body {rest}"


REFUSED: dict[str, tuple[Object, str, str]] = {
    "type": ({"size": "x"}, "spec.size", body('"string"', "spec.size", 'must be of type integer: "string"')),
    "minimum": ({"size": 0}, "spec.size", body(0, "spec.size", "should be greater than or equal to 1")),
    "maximum": ({"size": 99}, "spec.size", body(99, "spec.size", "should be less than or equal to 10")),
    "enum": ({"mode": "C"}, "spec.mode", 'Unsupported value: "C": supported values: "A", "B"'),
    "pattern": ({"name": "A1"}, "spec.name", body('"A1"', "spec.name", "should match '^[a-z]+$'")),
    "short": ({"name": "a"}, "spec.name", body('"a"', "spec.name", "should be at least 2 chars long")),
    "long": ({"name": "abcdef"}, "spec.name", "Too long: may not be more than 5 bytes"),
    "max items": ({"tags": ["a", "b", "c", "d"]}, "spec.tags", "Too many: 4: must have at most 3 items"),
    "set": ({"tags": ["a", "a"]}, "spec.tags[1]", 'Duplicate value: "a"'),
    "map": ({"parts": [{"id": "a"}, {"id": "a"}]}, "spec.parts[1]", 'Duplicate value: {"id":"a"}'),
    "item": ({"parts": [{"count": 1}]}, "spec.parts[0].id", "Required value"),
    "format": (
        {"when": "noon"}, "spec.when", body('"noon"', "spec.when", 'must be of type date-time: "noon"'),
    ),
    "multiple": ({"ratio": 0.7}, "spec.ratio", body(0.7, "spec.ratio", "should be a multiple of 0.5")),
    "properties": (
        {"labels": {"a": "b", "c": "d", "e": "f"}}, "spec.labels", "Too many: 3: must have at most 2 items",
    ),
    "map value": (
        {"labels": {"a": 1}},
        "spec.labels.a",
        body('"integer"', "spec.labels.a", 'must be of type string: "integer"'),
    ),
    "int or string": (
        {"port": True},
        "spec.port",
        body('"boolean"', "spec.port", 'must be of type integer,string: "boolean"'),
    ),
    "rule": ({"low": 5, "high": 3}, "spec.low", "Forbidden: low must not be above high"),
    "rule with an expression": ({"low": 3}, "spec", "Invalid value: not three"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_schema_refuses_is_told_as_the_real_server_tells_it(
    requests: Requests, path: str, case: str
) -> None:
    spec, field, told = REFUSED[case]
    expected = f"{field}: {told}"
    reply = create(requests, path, **spec)
    assert reply.status == 422
    first, *rest = reply.json["details"]["causes"]
    assert f"{first['field']}: {first['message']}" == expected
    others = [f"{cause['field']}: {cause['message']}" for cause in rest]
    assert others in ([], [UNCHECKED])
    everything = f"[{expected}, {UNCHECKED}]" if others else expected
    assert reply.message == f'Widget.example.com "w" is invalid: {everything}'
    assert (reply.json["details"]["kind"], reply.json["details"]["name"]) == ("Widget", "w")


def test_several_errors_are_told_together(requests: Requests, path: str) -> None:
    reply = create(requests, path, size=99, name="a")
    assert reply.message.startswith('Widget.example.com "w" is invalid: [')
    assert {cause["field"] for cause in reply.json["details"]["causes"]} == {"spec.size", "spec.name"}
    wrong_type, not_supported, _ = create(requests, path, mode=5).json["details"]["causes"]
    assert wrong_type["message"] == body('"integer"', "spec.mode", 'must be of type string: "integer"')
    assert not_supported["message"] == 'Unsupported value: 5: supported values: "A", "B"'


def test_a_missing_field_keeps_the_rules_from_being_checked(requests: Requests, path: str) -> None:
    reply = requests("POST", path, widget() | {"spec": {"low": 5, "high": 3}})
    assert reply.message == f'Widget.example.com "w" is invalid: [spec.size: Required value, {UNCHECKED}]'


def test_unknown_fields_are_pruned_and_told_as_warnings(requests: Requests, path: str) -> None:
    reply = create(requests, path, bogus=1, free={"any": "thing"}, parts=[{"id": "a", "more": 1}])
    assert reply.status == 201
    assert reply.json["spec"] == {
        "size": 1, "mode": "A", "free": {"any": "thing"}, "parts": [{"id": "a", "count": 7}],
    }  # fmt: skip
    assert sorted(reply.warnings) == ['unknown field "spec.bogus"', 'unknown field "spec.parts[0].more"']


def test_strict_validation_refuses_unknown_and_duplicate_fields(requests: Requests, path: str) -> None:
    body = (
        b'{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w","foo":1},'
        b'"spec":{"size":1,"size":2,"bogus":1}}'
    )
    reply = requests("POST", path, body, fieldValidation="Strict")
    assert reply.status == 400
    assert reply.message == (
        'Widget in version "v1" cannot be handled as a Widget: strict decoding error: duplicate field '
        '"spec.size", unknown field "metadata.foo", unknown field "spec.bogus"'
    )


def test_strict_validation_refuses_an_unknown_field_of_a_patch(requests: Requests, path: str) -> None:
    create(requests, path)
    reply = requests("PATCH", f"{path}/w", {"spec": {"bogus": 1}}, kind=MERGE, fieldValidation="Strict")
    assert reply.status == 422
    assert reply.message.startswith(' "" is invalid: patch: Invalid value: "{')
    assert reply.message.endswith('}": strict decoding error: unknown field "spec.bogus"')


def test_metadata_has_the_types_of_every_object(requests: Requests, path: str) -> None:
    reply = requests("POST", path, widget() | {"metadata": {"name": "w", "labels": {"a": 1}}})
    assert reply.status == 400
    assert reply.message.endswith("number into Go struct field ObjectMeta.labels of type string")


def test_a_finalizer_without_a_path_is_advised_against(requests: Requests, path: str) -> None:
    names = ["a.example.com/b", "a.example.com"]
    reply = requests("POST", path, widget() | {"metadata": {"name": "w", "finalizers": names}})
    (warning,) = reply.warnings
    assert warning == (
        'metadata.finalizers: "a.example.com": prefer a domain-qualified finalizer name including a path (/) '
        "to avoid accidental conflicts with other finalizer writers"
    )
    again = requests("PATCH", f"{path}/w", {"metadata": {"finalizers": names[1:]}}, kind=MERGE)
    assert (again.status, again.warnings) == (200, [])
    requests("PATCH", f"{path}/w", {"metadata": {"finalizers": None}}, kind=MERGE)


def test_null_is_kept_where_it_may_be_and_dropped_elsewhere(requests: Requests, path: str) -> None:
    reply = create(requests, path, mode=None, empty=None, name=None)
    assert reply.json["spec"] == {"size": 1, "mode": "A", "empty": None}


def test_a_transition_rule_is_judged_with_the_old_value(requests: Requests, path: str) -> None:
    assert create(requests, path, fixed="x").status == 201
    reply = requests("PATCH", f"{path}/w", {"spec": {"fixed": "y"}}, kind=MERGE)
    assert reply.message == 'Widget.example.com "w" is invalid: spec.fixed: Invalid value: "y": is immutable'
    assert requests("PATCH", f"{path}/w", {"spec": {"size": 2}}, kind=MERGE).status == 200


def test_generation_counts_changes_of_the_spec_only(requests: Requests, path: str) -> None:
    create(requests, path)
    labelled = requests("PATCH", f"{path}/w", {"metadata": {"labels": {"a": "b"}}}, kind=MERGE).json
    assert labelled["metadata"]["generation"] == 1
    changed = requests("PATCH", f"{path}/w", {"spec": {"size": 2}}, kind=MERGE).json
    assert changed["metadata"]["generation"] == 2
    status = requests("PATCH", f"{path}/w/status", {"status": {"observed": 2}}, kind=MERGE).json
    assert (status["metadata"]["generation"], status["status"]) == (2, {"observed": 2})


def test_status_and_the_rest_are_written_through_their_own_endpoints(requests: Requests, path: str) -> None:
    created = requests("POST", path, widget() | {"status": {"observed": 5}}).json
    assert "status" not in created
    body = {"spec": {"size": 9}, "metadata": {"labels": {"x": "y"}}, "status": {"observed": 1}}
    status = requests("PATCH", f"{path}/w/status", body, kind=MERGE).json
    assert (status["spec"]["size"], status["status"]) == (1, {"observed": 1})
    assert "labels" not in status["metadata"]
    whole = requests("PATCH", f"{path}/w", {"status": {"observed": 7}}, kind=MERGE).json
    assert whole["status"] == {"observed": 1}
    assert whole["metadata"]["resourceVersion"] == status["metadata"]["resourceVersion"], "nothing changed"


def test_an_update_has_to_name_the_version_it_replaces(requests: Requests, path: str) -> None:
    created = create(requests, path).json
    without = requests("PUT", f"{path}/w", widget(size=2))
    assert without.status == 422
    assert "metadata.resourceVersion: Invalid value: 0" in without.message
    assert requests("PUT", f"{path}/w", created | {"spec": {"size": 3}}).status == 200
    stale = requests("PUT", f"{path}/w", created | {"spec": {"size": 4}})
    assert stale.status == 409
    assert stale.message == (
        'Operation cannot be fulfilled on widgets.example.com "w": the object has been modified; please '
        "apply your changes to the latest version and try again"
    )


def test_a_custom_resource_takes_no_strategic_merge_patch(requests: Requests, path: str) -> None:
    create(requests, path)
    assert requests("PATCH", f"{path}/w", {"spec": {"size": 2}}, kind=STRATEGIC).status == 415


VERSION = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}


def test_deleting_the_definition_deletes_its_objects(requests: Requests, namespace: str) -> None:
    group = f"g{uuid.uuid4().hex[:8]}.example.com"
    crd = {
        "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [VERSION],
        },
    }  # fmt: skip
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert requests("POST", crds, crd).status == 201
    things = f"/apis/{group}/v1/namespaces/{namespace}/things"
    thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "one"}}
    requests.until(201, "POST", things, thing)
    conditions = requests("GET", f"{crds}/things.{group}").json["status"]["conditions"]
    assert {(c["type"], c["status"]) for c in conditions} == {
        ("Established", "True"),
        ("NamesAccepted", "True"),
    }
    assert requests("DELETE", f"{crds}/things.{group}").status == 200
    requests.until(404, "GET", f"{crds}/things.{group}")
    assert requests("GET", things).status == 404


BAD_DEFINITIONS: dict[str, tuple[Object, str]] = {
    "no schema": ({"versions": [{"name": "v1", "served": True, "storage": True}]},
                  "spec.versions[0].schema.openAPIV3Schema: Required value"),
    "scope": ({"scope": "Bad"},
              'spec.scope: Unsupported value: "Bad": supported values: "Cluster", "Namespaced"'),
    "name": ({"group": "example.net"},
             'metadata.name: Invalid value: "foos.example.org": must be spec.names.plural+"."+spec.group'),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_DEFINITIONS)
def test_a_wrong_definition_is_refused(requests: Requests, case: str) -> None:
    change, expected = BAD_DEFINITIONS[case]
    names = {"plural": "foos", "kind": "Foo"}
    spec: Object = {"group": "example.org", "scope": "Namespaced", "names": names, "versions": [VERSION]}
    crd = {"metadata": {"name": "foos.example.org"}, "spec": spec | change}
    reply = requests("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
    assert reply.message.endswith(f' "foos.example.org" is invalid: {expected}')
