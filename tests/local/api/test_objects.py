"""Creating, reading, replacing, patching and deleting built-in objects, as the real server answers."""

import uuid
from typing import Any

import pytest

from support.api_requests import JSON_PATCH, MERGE, STRATEGIC, Requests

Object = dict[str, Any]


@pytest.fixture
def path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def config(name: str = "c", **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_the_server_sets_what_is_its_own(requests: Requests, path: str, namespace: str) -> None:
    claimed = {"uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z"}
    reply = requests("POST", path, config(a="b") | {"metadata": {"name": "c", **claimed}})
    assert reply.status == 201
    meta = reply.json["metadata"]
    assert uuid.UUID(meta["uid"]).version == 4
    assert not meta["creationTimestamp"].startswith("2001")
    assert (meta["namespace"], meta["name"]) == (namespace, "c")
    assert "generation" not in meta
    assert requests("GET", f"{path}/c").json == reply.json


def test_a_generated_name_has_five_characters_behind_its_prefix(requests: Requests, path: str) -> None:
    names = {
        requests("POST", path, {"metadata": {"generateName": "gen-"}}).json["metadata"]["name"]
        for _ in range(3)
    }
    assert len(names) == 3
    assert all(name.startswith("gen-") and len(name) == len("gen-") + 5 for name in names)


_OTHER_NAMESPACE = "the namespace of the provided object does not match the namespace sent on the request"
_WRONG_TYPE = (
    'ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into '
    "Go struct field ConfigMap.data of type string"
)
_NO_NAME = 'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required'
_NO_VERSION = (
    'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is '
    "forbidden unless resourceVersion is provided"
)
_NO_SUCH_OPTION = (
    'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["no"]: supported values: "All"'
)
ANSWERS: dict[str, tuple[str, str, Any, int, str | None]] = {
    "missing": ("GET", "/c", None, 404, 'configmaps "c" not found'),
    "no name": ("POST", "", {"metadata": {}}, 422, _NO_NAME),
    "other namespace": (
        "POST", "", {"metadata": {"name": "c", "namespace": "other"}}, 400, _OTHER_NAMESPACE,
    ),
    "delete of nothing": ("DELETE", "/c", None, 404, 'configmaps "c" not found'),
    "bad label": ("POST", "", {"metadata": {"name": "c", "labels": {"a": "b c"}}}, 422, None),
    "bad key": ("POST", "", {"metadata": {"name": "c"}, "data": {"a b": ""}}, 422, None),
    "wrong type": ("POST", "", {"metadata": {"name": "c"}, "data": {"a": 1}}, 400, _WRONG_TYPE),
    "bad label selector of a watch": ("GET", "?watch=1&labelSelector=a+b", None, 400, None),
    "bad field selector of a watch": ("GET", "?watch=1&fieldSelector=x", None, 400, None),
    "bad limit": ("GET", "?limit=x", None, 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
    "match of no version": ("GET", "?resourceVersionMatch=Exact", None, 422, _NO_VERSION),
    "option that is not there": ("POST", "?dryRun=no", {"metadata": {"name": "c"}}, 422, _NO_SUCH_OPTION),
    "owner without uid": (
        "POST", "",
        {"metadata": {"name": "c", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}},
        422, 'ConfigMap "c" is invalid: metadata.ownerReferences.uid: Invalid value: "": must not be empty',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ANSWERS)
def test_a_wrong_request_is_answered_as_by_the_real_server(requests: Requests, path: str, case: str) -> None:
    method, suffix, body, status, message = ANSWERS[case]
    reply = requests(method, path + suffix, body)
    assert reply.status == status == reply.json["code"]
    assert reply.json["status"] == "Failure"
    if message is not None:
        assert reply.message == message


def test_a_name_is_taken_once(requests: Requests, path: str) -> None:
    requests("POST", path, config())
    again = requests("POST", path, config())
    assert (again.status, again.message) == (409, 'configmaps "c" already exists')
    assert again.json["reason"] == "AlreadyExists"


def test_nothing_is_created_in_a_namespace_that_is_not_there(requests: Requests) -> None:
    reply = requests("POST", "/api/v1/namespaces/nowhere/configmaps", config())
    assert (reply.status, reply.message) == (404, 'namespaces "nowhere" not found')


def test_an_old_version_is_not_replaced(requests: Requests, path: str) -> None:
    old = requests("POST", path, config(a="1")).json
    assert requests("PUT", f"{path}/c", config(a="2")).status == 200, "without a version it is unconditional"
    stale = requests("PUT", f"{path}/c", old)
    assert stale.status == 409
    assert stale.json["reason"] == "Conflict"
    assert requests("GET", f"{path}/c").json["data"] == {"a": "2"}


def test_an_update_without_a_change_keeps_the_version(requests: Requests, path: str) -> None:
    created = requests("POST", path, config(a="1")).json
    same = requests("PUT", f"{path}/c", config(a="1")).json
    assert same["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]


def test_a_dry_run_answers_and_stores_nothing(requests: Requests, path: str) -> None:
    assert requests("POST", path, config(), dryRun="All").status == 201
    assert requests("GET", f"{path}/c").status == 404
    requests("POST", path, config(a="1"))
    assert (
        requests("PATCH", f"{path}/c", {"data": {"a": "2"}}, kind=MERGE, dryRun="All").json["data"]["a"]
        == "2"
    )
    assert requests("DELETE", f"{path}/c", dryRun="All").status == 200
    assert requests("GET", f"{path}/c").json["data"] == {"a": "1"}


def test_unknown_and_duplicate_fields_are_told_or_refused(requests: Requests, path: str) -> None:
    body = (
        b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","name":"c"},'
        b'"data":{"a":"1","a":"2"},"x":1}'
    )
    strict = requests("POST", path, body, fieldValidation="Strict")
    assert strict.message == (
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: duplicate field '
        '"metadata.name", duplicate field "data.a", unknown field "x"'
    )
    warned = requests("POST", path, body, fieldValidation="Warn")
    assert warned.status == 201
    assert set(warned.warnings) == {
        'duplicate field "metadata.name"', 'duplicate field "data.a"', 'unknown field "x"',
    }  # fmt: skip


def test_a_merge_patch_removes_with_null_and_merges_maps(requests: Requests, path: str) -> None:
    requests("POST", path, config(a="1", b="2"))
    assert requests("PATCH", f"{path}/c", {"data": {"a": None, "c": "3"}}, kind=MERGE).json["data"] == {
        "b": "2", "c": "3",
    }  # fmt: skip


def test_a_json_patch_is_applied_whole_or_not_at_all(requests: Requests, path: str) -> None:
    requests("POST", path, config(a="1"))
    good = [{"op": "test", "path": "/data/a", "value": "1"}, {"op": "add", "path": "/data/b", "value": "2"}]
    assert requests("PATCH", f"{path}/c", good, kind=JSON_PATCH).json["data"] == {"a": "1", "b": "2"}
    bad = [{"op": "add", "path": "/data/x", "value": "1"}, {"op": "test", "path": "/data/a", "value": "9"}]
    reply = requests("PATCH", f"{path}/c", bad, kind=JSON_PATCH)
    assert (reply.status, reply.json["reason"]) == (422, "Invalid")
    assert requests("GET", f"{path}/c").json["data"] == {"a": "1", "b": "2"}


def test_a_patch_with_an_old_version_is_refused(requests: Requests, path: str) -> None:
    old = requests("POST", path, config(a="1")).json["metadata"]["resourceVersion"]
    requests("PATCH", f"{path}/c", {"data": {"a": "2"}}, kind=MERGE)
    stale = {"metadata": {"resourceVersion": old}, "data": {"a": "3"}}
    assert requests("PATCH", f"{path}/c", stale, kind=MERGE).status == 409


def test_a_strategic_patch_merges_lists_by_their_key(requests: Requests, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    containers = [
        {"name": "a", "image": "x", "env": [{"name": "E", "value": "1"}]},
        {"name": "b", "image": "y"},
    ]
    pod = {
        "metadata": {"name": "p"},
        "spec": {"containers": containers, "automountServiceAccountToken": False},
    }
    assert requests("POST", path, pod).status == 201
    patch = {"spec": {"containers": [{"name": "b", "image": "z"}]}}
    changed = requests("PATCH", f"{path}/p", patch, kind=STRATEGIC).json
    assert [(c["name"], c["image"]) for c in changed["spec"]["containers"]] == [("a", "x"), ("b", "z")]


def test_the_namespaces_of_the_system_stay(requests: Requests) -> None:
    reply = requests("DELETE", "/api/v1/namespaces/default")
    assert (reply.status, reply.message) == (
        403,
        'namespaces "default" is forbidden: this namespace may not be deleted',
    )


def test_a_precondition_that_does_not_hold_stops_a_deletion(requests: Requests, path: str) -> None:
    uid = requests("POST", path, config()).json["metadata"]["uid"]
    reply = requests("DELETE", f"{path}/c", {"preconditions": {"uid": "other"}})
    assert reply.status == 409
    assert reply.message == (
        'Operation cannot be fulfilled on ConfigMap "c": the UID in the precondition (other) does not match '
        f"the UID in record ({uid}). The object might have been deleted and then recreated"
    )
    assert requests("DELETE", f"{path}/c", {"preconditions": {"uid": uid}}).json["details"] == {
        "name": "c", "kind": "configmaps", "uid": uid,
    }  # fmt: skip


def test_secrets_take_plain_text_and_give_base64(requests: Requests, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/secrets"
    secret = {"metadata": {"name": "s"}, "stringData": {"a": "b"}}
    created = requests("POST", path, secret).json
    assert (created["data"], created["type"]) == ({"a": "Yg=="}, "Opaque")
    assert "stringData" not in created
    bad = requests("POST", path, {"metadata": {"name": "t"}, "data": {"a": "!!"}})
    assert bad.message.endswith("illegal base64 data at input byte 0")
    changed = requests("PATCH", f"{path}/s", {"type": "other"}, kind=MERGE)
    assert changed.message == 'Secret "s" is invalid: type: Invalid value: "other": field is immutable'


def test_an_immutable_secret_stays_as_it_is(requests: Requests, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/secrets"
    requests("POST", path, {"metadata": {"name": "s"}, "immutable": True, "stringData": {"a": "b"}})
    reply = requests("PATCH", f"{path}/s", {"stringData": {"a": "c"}}, kind=MERGE)
    assert (
        reply.message == 'Secret "s" is invalid: data: Forbidden: field is immutable when `immutable` is set'
    )


def test_a_finalizer_holds_an_object_until_it_goes(requests: Requests, path: str) -> None:
    requests("POST", path, {"metadata": {"name": "c", "finalizers": ["example.com/x"]}})
    dying = requests("DELETE", f"{path}/c").json["metadata"]
    assert dying["deletionTimestamp"]
    assert dying["deletionGracePeriodSeconds"] == 0
    more = {"metadata": {"finalizers": ["example.com/x", "example.com/y"]}}
    refused = requests("PATCH", f"{path}/c", more, kind=MERGE)
    assert "metadata.finalizers: Forbidden: no new finalizers can be added" in refused.message
    assert requests("PATCH", f"{path}/c", {"metadata": {"finalizers": None}}, kind=MERGE).status == 200
    assert requests("GET", f"{path}/c").status == 404


def test_pages_of_a_list_hold_everything_once(requests: Requests, path: str) -> None:
    for index in range(7):
        requests("POST", path, config(f"page-{index}"))
    names: list[str] = []
    token, pages = "", 0
    while pages == 0 or token:
        page = requests("GET", path, limit="3", **({"continue": token} if token else {})).json
        names += [item["metadata"]["name"] for item in page["items"]]
        assert not any("kind" in item for item in page["items"]), "the list says it for all"
        token, pages = page["metadata"].get("continue", ""), pages + 1
    assert [name for name in names if name.startswith("page-")] == [f"page-{index}" for index in range(7)]
    assert len(names) == len(set(names))


def test_selectors_choose(requests: Requests, path: str) -> None:
    for name, labels in (("a", {"x": "1"}), ("b", {"x": "2"}), ("c", {})):
        requests("POST", path, {"metadata": {"name": name, "labels": labels}})

    def chosen(**query: str) -> list[str]:
        return [item["metadata"]["name"] for item in requests("GET", path, **query).json["items"]]

    assert chosen(labelSelector="x=1") == ["a"]
    assert chosen(labelSelector="x in (1,2),x!=2") == ["a"]
    assert set(chosen(labelSelector="!x")) >= {"c"}
    assert "c" not in chosen(labelSelector="x")
    assert chosen(labelSelector="x notin (1),x") == ["b"]
    assert chosen(labelSelector="x > 1") == ["b"]
    assert chosen(labelSelector="x<2") == ["a"]
    assert chosen(fieldSelector="metadata.name=b") == ["b"]
    wrong = requests("GET", path, fieldSelector="data.a=1")
    assert (wrong.status, wrong.message) == (
        400,
        '"data.a" is not a known field selector: only "metadata.name", "metadata.namespace"',
    )


def test_without_a_credential_nothing_is_told(requests: Requests) -> None:
    reply = requests("GET", "/api/v1/secrets", token="wrong")
    assert (reply.status, reply.message) == (401, "Unauthorized")


def test_metadata_alone_can_be_asked_for(requests: Requests, path: str) -> None:
    requests("POST", path, config(a="secret"))
    form = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    listed = requests("GET", path, accept=form, fieldSelector="metadata.name=c").json
    assert listed["kind"] == "PartialObjectMetadataList"
    assert set(listed["items"][0]) == {"kind", "apiVersion", "metadata"}


def test_a_collection_can_be_deleted_by_selector(requests: Requests, path: str) -> None:
    for name, labels in (("a", {"x": "1"}), ("b", {"x": "1"}), ("c", {})):
        requests("POST", path, {"metadata": {"name": name, "labels": labels}})
    assert requests("DELETE", path, labelSelector="x=1").status == 200
    assert requests("GET", f"{path}/a").status == 404
    assert requests("GET", f"{path}/c").status == 200


def test_too_much_is_refused_before_it_is_read(requests: Requests, path: str) -> None:
    reply = requests("POST", path, config(a="x" * (4 * 1024 * 1024)))
    assert reply.status == 413
    requests.close()
