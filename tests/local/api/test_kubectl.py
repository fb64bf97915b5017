"""What a person at a terminal sees: real kubectl on the embedded API."""

import json
import threading
import time
from typing import Any

import pytest

from support.api_requests import MERGE, STRATEGIC, Requests
from support.kubectl import Kubectl
from support.widgets import serve_widgets, widget

Object = dict[str, Any]


@pytest.fixture
def widgets(requests: Requests, namespace: str) -> str:
    serve_widgets(requests)
    return f"/apis/example.com/v1/namespaces/{namespace}/widgets"


def columns(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_apply_creates_configures_and_leaves_alone(kubectl: Kubectl, widgets: str) -> None:
    assert kubectl.apply(widget()) == "widget.example.com/w created\n"
    assert kubectl.apply(widget()) == "widget.example.com/w unchanged\n"
    assert kubectl.apply(widget(size=2, tags=["a"])) == "widget.example.com/w configured\n"
    kubectl.apply(widget(size=2))
    assert kubectl.get("widget", "w")["spec"] == {"size": 2, "mode": "A"}


def test_apply_refuses_a_typing_error(kubectl: Kubectl, widgets: str) -> None:
    words = kubectl.refusal(widget(sise=2))
    assert 'strict decoding error: unknown field "spec.sise"' in words


def test_a_wrong_value_is_shown_with_its_field(kubectl: Kubectl, widgets: str) -> None:
    words = kubectl.refusal(widget(size=99))
    told = 'The Widget "w" is invalid: spec.size: Invalid value: 99: spec.size in body should be less than'
    assert words.startswith(told)


def test_server_side_apply_names_the_conflict(kubectl: Kubectl, widgets: str) -> None:
    body = json.dumps(widget())
    apply = ("apply", "--server-side", "-f", "-")
    assert kubectl(*apply, "--field-manager=one", stdin=body) == "widget.example.com/w serverside-applied\n"
    other = kubectl.answer(*apply, "--field-manager=two", stdin=json.dumps(widget(size=2)))
    assert 'Apply failed with 1 conflict: conflict with "one": .spec.size' in other.stderr
    kubectl(*apply, "--field-manager=two", "--force-conflicts", stdin=json.dumps(widget(size=2)))
    assert kubectl.get("widget", "w")["spec"]["size"] == 2


def test_server_side_apply_takes_over_from_client_side_apply(kubectl: Kubectl) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}}
    kubectl.apply(config)
    kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(config | {"data": {"b": "2"}}))
    assert kubectl.get("configmap", "c")["data"] == {"b": "2"}


def test_custom_columns_are_shown(kubectl: Kubectl, requests: Requests, widgets: str) -> None:
    kubectl.apply(widget())
    status = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    requests("PATCH", f"{widgets}/w/status", status, kind=MERGE)
    header, row = columns(kubectl("get", "wd"))
    assert header == ["NAME", "SIZE", "READY", "AGE"]
    assert row[:3] == ["w", "1", "True"]
    header, row = columns(kubectl("get", "widgets", "-o", "wide"))
    assert header == ["NAME", "SIZE", "READY", "MODE", "AGE"]
    assert row[3] == "A"


def test_explain_describes_fields(kubectl: Kubectl, widgets: str) -> None:
    assert "FIELD: size <integer>" in kubectl("explain", "widget.spec.size")
    assert "How big." in kubectl("explain", "widget.spec.size")
    assert "size\t<integer> -required-" in kubectl("explain", "widget.spec", "--recursive")
    assert "FIELD: backoffLimit <integer>" in kubectl("explain", "job.spec.backoffLimit")


def test_describe_shows_spec_and_events(kubectl: Kubectl, widgets: str, namespace: str) -> None:
    kubectl.apply(widget())
    about = {"kind": "Widget", "name": "w", "namespace": namespace, "apiVersion": "example.com/v1",
             "uid": kubectl.get("widget", "w")["metadata"]["uid"]}  # fmt: skip
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "w.1"}, "involvedObject": about,
             "type": "Warning", "reason": "Broke", "message": "it broke", "source": {"component": "test"},
             "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z",
             "count": 3}  # fmt: skip
    kubectl("create", "-f", "-", stdin=json.dumps(event))
    text = kubectl("describe", "widget", "w")
    assert "Size:" in text
    assert "it broke" in text
    assert kubectl.events("Widget", "w") == [("Broke", "it broke")]
    header, row = columns(kubectl("get", "events", "--field-selector", "involvedObject.name=w"))
    assert header == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert row[1:] == ["Warning", "Broke", "widget/w", "it", "broke"]


def test_typed_commands_send_protobuf_and_are_understood(kubectl: Kubectl) -> None:
    kubectl("create", "cronjob", "c", "--image=x:1", "--schedule=0 0 * * *", "--", "echo", "hi")
    kubectl("create", "job", "manual", "--from=cronjob/c")
    job = kubectl.get("job", "manual")
    assert job["metadata"]["annotations"] == {"cronjob.kubernetes.io/instantiate": "manual"}
    [owner] = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("CronJob", "c", True)
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["command"]) == ("x:1", ["echo", "hi"])
    kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
    assert kubectl.get("secret", "s")["data"] == {"a": "Yg=="}
    kubectl("create", "role", "r", "--verb=get,list", "--resource=pods")
    [rule] = kubectl.get("role", "r")["rules"]
    assert rule == {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
    kubectl("create", "deployment", "d", "--image=x", "--replicas=0")
    assert kubectl.get("deployment", "d")["spec"]["replicas"] == 0


def test_wait_returns_when_the_condition_comes(kubectl: Kubectl, requests: Requests, widgets: str) -> None:
    kubectl.apply(widget())
    status = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}

    def later() -> None:
        time.sleep(0.5)
        requests("PATCH", f"{widgets}/w/status", status, kind=MERGE)

    helper = threading.Thread(target=later)
    helper.start()
    kubectl.wait("condition=Ready", "widget/w", seconds=60)
    helper.join()
    kubectl("delete", "widget", "w", "--wait=true", "--timeout=50s")
    assert kubectl.answer("get", "widget", "w").stderr == (
        'Error from server (NotFound): widgets.example.com "w" not found\n'
    )


def test_pods_and_jobs_are_listed_with_their_state(
    kubectl: Kubectl, requests: Requests, namespace: str
) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
           "spec": {"nodeName": "n1", "containers": [{"name": "a", "image": "x"}]}}  # fmt: skip
    kubectl.apply(pod)
    path = f"/api/v1/namespaces/{namespace}/pods/p/status"
    state: Object = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    status = {"name": "a", "ready": True, "restartCount": 2, "image": "x", "imageID": "", "state": state}
    requests("PATCH", path, {"status": {"phase": "Running", "containerStatuses": [status]}}, kind=STRATEGIC)
    assert columns(kubectl("get", "pods"))[1][:4] == ["p", "1/1", "Running", "2"]
    ended = {"terminated": {"exitCode": 3, "reason": "Error"}, "running": None}
    failed = status | {"ready": False, "state": ended}
    requests("PATCH", path, {"status": {"phase": "Failed", "containerStatuses": [failed]}}, kind=STRATEGIC)
    assert columns(kubectl("get", "pods"))[1][:4] == ["p", "0/1", "Error", "2"]
    kubectl("create", "job", "j", "--image=x")
    assert columns(kubectl("get", "jobs"))[0] == ["NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE"]
    kubectl("create", "cronjob", "c", "--image=x", "--schedule=0 0 * * *")
    row = kubectl("get", "cronjob", "c", "--no-headers")
    assert row.split()[:9] == ["c", "0", "0", "*", "*", "*", "<none>", "False", "0"]


def test_what_is_served_can_be_asked(kubectl: Kubectl, widgets: str) -> None:
    assert columns(kubectl("api-resources", "--api-group=batch", "--no-headers")) == [
        ["cronjobs", "cj", "batch/v1", "true", "CronJob"],
        ["jobs", "batch/v1", "true", "Job"],
    ]
    assert "example.com/v1" in kubectl("api-versions").split()
    assert kubectl("auth", "can-i", "create", "jobs") == "yes\n"


def test_a_kind_that_is_not_served_is_told_as_such(kubectl: Kubectl) -> None:
    words = kubectl.refusal({"apiVersion": "example.net/v1", "kind": "Nothing", "metadata": {"name": "one"}})
    assert 'no matches for kind "Nothing" in version "example.net/v1"' in words
    assert "ensure CRDs are installed first" in words
