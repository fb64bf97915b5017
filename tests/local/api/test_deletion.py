"""What goes with what is deleted: dependents, namespaces, and pods that need time to end."""

from typing import Any

import pytest

from support.api_requests import MERGE, STRATEGIC, Requests, Server

Object = dict[str, Any]


@pytest.fixture
def requests(embedded: Server) -> Requests:
    """Ask the embedded API: a kube-apiserver alone collects no garbage."""
    return embedded.requests


@pytest.fixture
def path(requests: Requests) -> str:
    created = requests("POST", "/api/v1/namespaces", {"metadata": {"generateName": "deletion-"}})
    return f"/api/v1/namespaces/{created.json['metadata']['name']}/configmaps"


def create(
    requests: Requests, path: str, name: str, *owners: Object, block: bool = False, **meta: Any
) -> Object:
    references = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": o["metadata"]["name"], "uid": o["metadata"]["uid"],
         "blockOwnerDeletion": block}
        for o in owners
    ]  # fmt: skip
    body = {"metadata": {"name": name, "ownerReferences": references, **meta}}
    reply = requests("POST", path, body)
    assert reply.status == 201, reply.body
    created: Object = reply.json
    return created


def test_dependents_go_with_their_owner(requests: Requests, path: str) -> None:
    owner = create(requests, path, "owner")
    child = create(requests, path, "child", owner)
    create(requests, path, "grandchild", child)
    requests("DELETE", f"{path}/owner", {"propagationPolicy": "Background"})
    requests.until(404, "GET", f"{path}/child")
    requests.until(404, "GET", f"{path}/grandchild")


def test_a_dependent_of_two_stays_with_the_other(requests: Requests, path: str) -> None:
    one, two = create(requests, path, "one"), create(requests, path, "two")
    create(requests, path, "child", one, two)
    create(requests, path, "sign", one)
    requests("DELETE", f"{path}/one")
    requests.until(404, "GET", f"{path}/sign")
    requests.until(200, "GET", f"{path}/child")
    requests("DELETE", f"{path}/two")
    requests.until(404, "GET", f"{path}/child")


def test_orphans_stay_and_lose_the_reference(requests: Requests, path: str) -> None:
    create(requests, path, "child", create(requests, path, "owner"))
    requests("DELETE", f"{path}/owner", {"propagationPolicy": "Orphan"})
    requests.until(404, "GET", f"{path}/owner")
    assert "ownerReferences" not in requests("GET", f"{path}/child").json["metadata"]


def test_in_the_foreground_the_owner_goes_last(requests: Requests, path: str) -> None:
    owner = create(requests, path, "owner")
    create(requests, path, "child", owner, block=True, finalizers=["example.com/x"])
    dying = requests("DELETE", f"{path}/owner", {"propagationPolicy": "Foreground"}).json
    assert dying["metadata"]["finalizers"] == ["foregroundDeletion"]
    for _ in range(100):
        if "deletionTimestamp" in requests("GET", f"{path}/child").json["metadata"]:
            break
    assert requests("GET", f"{path}/owner").status == 200
    requests("PATCH", f"{path}/child", {"metadata": {"finalizers": None}}, kind=MERGE)
    requests.until(404, "GET", f"{path}/owner")


def test_an_owner_of_the_same_name_and_another_uid_is_no_owner(requests: Requests, path: str) -> None:
    old = create(requests, path, "owner")
    requests("DELETE", f"{path}/owner")
    create(requests, path, "owner")
    create(requests, path, "child", old)
    requests.until(404, "GET", f"{path}/child")
    assert requests("GET", f"{path}/owner").status == 200


def test_a_namespace_goes_with_all_that_is_in_it(requests: Requests, path: str) -> None:
    namespace = path.rpartition("/")[0]
    create(requests, path, "one")
    create(requests, path, "held", finalizers=["example.com/x"])
    dying = requests("DELETE", namespace).json
    assert dying["status"]["phase"] == "Terminating"
    requests.until(404, "GET", f"{path}/one")
    assert requests("GET", namespace).status == 200, "something in it waits for its finalizer"
    refused = requests("POST", path, {"metadata": {"name": "new"}})
    name = namespace.rpartition("/")[2]
    assert refused.status == 403
    assert refused.message == (
        f'configmaps "new" is forbidden: unable to create new content in namespace {name} because it is '
        "being terminated"
    )
    requests("PATCH", f"{path}/held", {"metadata": {"finalizers": None}}, kind=MERGE)
    requests.until(404, "GET", namespace)


def pod(**spec: Any) -> Object:
    containers = [{"name": "a", "image": "x"}]
    return {
        "metadata": {"name": "p"},
        "spec": {"containers": containers, "terminationGracePeriodSeconds": 7} | spec,
    }


def test_a_pod_on_a_node_gets_time_to_end(requests: Requests, path: str) -> None:
    pods = path.replace("configmaps", "pods")
    requests("POST", pods, pod(nodeName="n"))
    meta = requests("DELETE", f"{pods}/p").json["metadata"]
    assert meta["deletionGracePeriodSeconds"] == 7
    assert requests("GET", f"{pods}/p").status == 200
    assert requests("DELETE", f"{pods}/p", {"gracePeriodSeconds": 0}).status == 200
    assert requests("GET", f"{pods}/p").status == 404


def test_a_pod_on_no_node_and_a_finished_one_go_at_once(requests: Requests, path: str) -> None:
    pods = path.replace("configmaps", "pods")
    requests("POST", pods, pod())
    assert requests("DELETE", f"{pods}/p").status == 200
    assert requests("GET", f"{pods}/p").status == 404
    requests("POST", pods, pod(nodeName="n"))
    requests("PATCH", f"{pods}/p/status", {"status": {"phase": "Succeeded"}}, kind=STRATEGIC)
    requests("DELETE", f"{pods}/p")
    assert requests("GET", f"{pods}/p").status == 404
