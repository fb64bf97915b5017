"""Server-side apply: ownership of fields, conflicts, shared fields, removal; as the real server does it."""

from typing import Any

import pytest

from support.api_requests import APPLY, MERGE, Reply, Requests
from support.widgets import serve_widgets, widget

Object = dict[str, Any]


@pytest.fixture
def path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps/c"


@pytest.fixture
def widgets(requests: Requests, namespace: str) -> str:
    serve_widgets(requests)
    return f"/apis/example.com/v1/namespaces/{namespace}/widgets/w"


def config(**data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}


def apply(requests: Requests, path: str, obj: Object, manager: str, **query: str) -> Reply:
    return requests("PATCH", path, obj, kind=APPLY, fieldManager=manager, **query)


def managers(obj: Object) -> dict[tuple[str, str], Object]:
    return {(e["manager"], e["operation"]): e["fieldsV1"] for e in obj["metadata"]["managedFields"]}


def test_an_apply_creates_and_owns_what_it_says(requests: Requests, path: str) -> None:
    reply = apply(requests, path, config(a="1"), "one")
    assert reply.status == 201
    assert managers(reply.json) == {("one", "Apply"): {"f:data": {"f:a": {}}}}


def test_the_same_apply_changes_nothing(requests: Requests, path: str) -> None:
    first = apply(requests, path, config(a="1"), "one").json
    again = apply(requests, path, config(a="1"), "one")
    assert again.status == 200
    assert again.json["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_what_is_no_longer_applied_goes(requests: Requests, path: str) -> None:
    apply(requests, path, config(a="1", b="2"), "one")
    assert apply(requests, path, config(b="2"), "one").json["data"] == {"b": "2"}


def test_another_managers_field_is_a_conflict(requests: Requests, path: str) -> None:
    apply(requests, path, config(a="1"), "one")
    reply = apply(requests, path, config(a="2"), "two")
    assert reply.status == 409
    assert reply.message == 'Apply failed with 1 conflict: conflict with "one": .data.a'
    assert reply.json["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.a"}
    ]


def test_several_conflicts_are_listed(requests: Requests, path: str) -> None:
    apply(requests, path, config(a="1", b="1"), "one")
    reply = apply(requests, path, config(a="2", b="2"), "two")
    assert reply.message == 'Apply failed with 2 conflicts: conflicts with "one":\n- .data.a\n- .data.b'


def test_force_takes_the_field(requests: Requests, path: str) -> None:
    apply(requests, path, config(a="1", b="1"), "one")
    taken = apply(requests, path, config(a="2"), "two", force="true").json
    assert taken["data"] == {"a": "2", "b": "1"}
    assert managers(taken) == {
        ("one", "Apply"): {"f:data": {"f:b": {}}},
        ("two", "Apply"): {"f:data": {"f:a": {}}},
    }


def test_the_same_value_is_shared_and_stays_while_one_wants_it(requests: Requests, path: str) -> None:
    apply(requests, path, config(a="1"), "one")
    shared = apply(requests, path, config(a="1", b="2"), "two").json
    assert set(managers(shared)) == {("one", "Apply"), ("two", "Apply")}
    left = apply(requests, path, config(b="2"), "two").json
    assert left["data"] == {"a": "1", "b": "2"}
    assert apply(requests, path, config(), "one").json["data"] == {"b": "2"}


def test_an_update_owns_what_it_changes(requests: Requests, path: str) -> None:
    apply(requests, path, config(a="1", b="1"), "one")
    patched = requests("PATCH", path, {"data": {"a": "2"}}, kind=MERGE, fieldManager="editor").json
    assert managers(patched) == {
        ("one", "Apply"): {"f:data": {"f:b": {}}},
        ("editor", "Update"): {"f:data": {"f:a": {}}},
    }
    reply = apply(requests, path, config(a="1", b="1"), "one")
    assert reply.message == 'Apply failed with 1 conflict: conflict with "editor" using v1: .data.a'


def test_a_create_owns_maps_that_it_made(requests: Requests, path: str) -> None:
    created = requests("POST", path.rpartition("/")[0], config(a="1"), fieldManager="maker").json
    assert managers(created) == {("maker", "Update"): {"f:data": {".": {}, "f:a": {}}}}


def test_lists_that_are_maps_are_shared_by_item(requests: Requests, widgets: str) -> None:
    apply(requests, widgets, widget(parts=[{"id": "a"}, {"id": "b"}], tags=["x", "w"]), "one")
    both = apply(requests, widgets, widget(parts=[{"id": "c"}], tags=["w", "z"]), "two").json
    assert [part["id"] for part in both["spec"]["parts"]] == ["a", "b", "c"]
    assert both["spec"]["tags"] == ["x", "w", "z"]
    less = apply(requests, widgets, widget(parts=[{"id": "b"}], tags=["x"]), "one").json
    assert [part["id"] for part in less["spec"]["parts"]] == ["b", "c"]
    assert less["spec"]["tags"] == ["x", "w", "z"]
    assert managers(less)[("one", "Apply")] == {
        "f:spec": {
            "f:size": {},
            "f:parts": {'k:{"id":"b"}': {".": {}, "f:id": {}}},
            "f:tags": {'v:"x"': {}},
        }
    }


def test_an_item_named_twice_is_refused(requests: Requests, widgets: str) -> None:
    reply = apply(requests, widgets, widget(parts=[{"id": "b"}, {"id": "b"}]), "one")
    assert reply.message == (
        "failed to create typed patch object (/w; example.com/v1, Kind=Widget): .spec.parts: "
        'duplicate entries for key [id="b"]'
    )


def test_an_unknown_field_is_refused(requests: Requests, widgets: str) -> None:
    reply = apply(requests, widgets, widget(bogus=1), "one")
    assert reply.message.endswith(": .spec.bogus: field not declared in schema")


def test_status_is_applied_through_its_own_endpoint(requests: Requests, widgets: str) -> None:
    created = apply(requests, widgets, widget() | {"status": {"observed": 1}}, "one").json
    assert "status" not in created
    status = {k: v for k, v in widget().items() if k != "spec"} | {"status": {"observed": 1}}
    applied = apply(requests, f"{widgets}/status", status, "controller").json
    assert applied["status"] == {"observed": 1}
    assert managers(applied)[("controller", "Apply")] == {"f:status": {"f:observed": {}}}
    assert applied["spec"]["size"] == 1


def test_what_a_status_apply_says_of_the_rest_is_passed_over(requests: Requests, widgets: str) -> None:
    apply(requests, widgets, widget(size=1), "one")
    applied = apply(requests, f"{widgets}/status", widget(size=2) | {"status": {"observed": 1}}, "controller")
    assert applied.status == 200, applied.body
    assert (applied.json["spec"]["size"], applied.json["status"]) == (1, {"observed": 1})
    assert managers(applied.json)[("controller", "Apply")] == {"f:status": {"f:observed": {}}}


def test_an_apply_without_a_manager_is_refused(requests: Requests, path: str) -> None:
    reply = requests("PATCH", path, config(), kind=APPLY)
    assert (reply.status, reply.message) == (
        422,
        'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
    )


def test_an_apply_says_what_it_applies(requests: Requests, path: str) -> None:
    reply = requests("PATCH", path, {"metadata": {"name": "c"}}, kind=APPLY, fieldManager="one")
    assert (reply.status, reply.message) == (400, "invalid object type: /, Kind=")


def test_an_applied_configuration_names_no_managers(requests: Requests, path: str) -> None:
    obj = config() | {"metadata": {"name": "c", "managedFields": [{}]}}
    reply = apply(requests, path, obj, "one")
    assert (reply.status, reply.message) == (400, "metadata.managedFields must be nil")


def test_annotations_and_finalizers_of_others_stay(requests: Requests, path: str) -> None:
    requests("POST", path.rpartition("/")[0], {
        "metadata": {"name": "c", "annotations": {"other": "x"}, "finalizers": ["example.com/a"]},
    })  # fmt: skip
    mine = config() | {
        "metadata": {"name": "c", "annotations": {"mine": "y"}, "finalizers": ["example.com/b"]}
    }
    meta = apply(requests, path, mine, "one").json["metadata"]
    assert meta["annotations"] == {"other": "x", "mine": "y"}
    assert sorted(meta["finalizers"]) == ["example.com/a", "example.com/b"]
    less = apply(requests, path, config(), "one").json["metadata"]
    assert less["annotations"] == {"other": "x"}
    assert less["finalizers"] == ["example.com/a"]
