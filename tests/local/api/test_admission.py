"""Webhooks: called over HTTPS with their own CA, in order, and their words passed on."""

import asyncio
import base64
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme
from aiohttp import web

from support.api_requests import MERGE, Requests, Server
from support.ports import free_port
from support.widgets import serve_widgets, widget

Object = dict[str, Any]
Handler = Callable[[Object], Object]
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1"


class Webhooks:
    """An HTTPS server whose paths are webhooks; it remembers what it was asked."""

    def __init__(self) -> None:
        self.authority = trustme.CA()
        self.asked: list[tuple[str, Object]] = []
        self.handlers: dict[str, Handler] = {}
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def bundle(self) -> str:
        return base64.b64encode(self.authority.cert_pem.bytes()).decode()

    def url(self, name: str) -> str:
        return f"https://127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert("127.0.0.1", "hook.default.svc").configure_cert(context)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(context), self._loop).result(60)

    async def _serve(self, context: ssl.SSLContext) -> None:
        app = web.Application()
        app.router.add_post("/{name}", self._handle)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context).start()
        self.port = self._runner.addresses[0][1]

    def stop(self) -> None:
        async def end() -> None:
            await self._runner.cleanup()
            await asyncio.sleep(0.05)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    async def _handle(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        review = await request.json()
        self.asked.append((name, review["request"]))
        answer = self.handlers[name](review["request"])
        body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                "response": {"uid": review["request"]["uid"], "allowed": True} | answer}  # fmt: skip
        response = web.json_response(body)
        response.force_close()  # so that nothing is left open when the test ends
        return response


def patch(*operations: Object) -> Object:
    return {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(operations).encode()).decode()}


@pytest.fixture
def webhooks() -> Iterator[Webhooks]:
    hooks = Webhooks()
    hooks.start()
    yield hooks
    hooks.stop()


@pytest.fixture
def configure(requests: Requests, namespace: str, webhooks: Webhooks) -> Iterator[Callable[..., None]]:
    """Register webhooks for the test's namespace; they go with the test."""
    serve_widgets(requests)
    made: list[str] = []

    def register(kind: str, *names: str, **changes: Any) -> None:
        specs = [
            {
                "name": f"{name}.example.com",
                "clientConfig": {"url": webhooks.url(name), "caBundle": webhooks.bundle},
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "timeoutSeconds": 30,
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "rules": [{"apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["widgets"],
                           "operations": ["CREATE", "UPDATE", "DELETE"]}],
            }
            | changes
            for name in names
        ]  # fmt: skip
        path = f"{CONFIGURATIONS}/{kind}webhookconfigurations"
        body = {"metadata": {"generateName": "test-"}, "webhooks": specs}
        reply = requests("POST", path, body)
        assert reply.status == 201, reply.body
        made.append(f"{path}/{reply.json['metadata']['name']}")

    yield register
    for path in made:
        requests("DELETE", path)


@pytest.fixture
def path(configure: object, requests: Requests, namespace: str) -> str:
    labels = {"metadata": {"labels": {"kubernetes.io/metadata.name": namespace}}}
    requests("PATCH", f"/api/v1/namespaces/{namespace}", labels, kind=MERGE)
    return f"/apis/example.com/v1/namespaces/{namespace}/widgets"


def settled(requests: Requests, path: str, webhooks: Webhooks) -> None:
    """Wait until the real server has learnt of the webhooks: it watches their configurations."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        requests("POST", path, widget("probe"), dryRun="All")
        if webhooks.asked:
            webhooks.asked.clear()
            return
    raise AssertionError("no webhook was called")


def test_a_mutating_webhook_changes_the_object_before_it_is_judged(
    requests: Requests, path: str, webhooks: Webhooks, configure: Callable[..., None]
) -> None:
    webhooks.handlers["change"] = lambda request: patch(
        {"op": "replace", "path": "/spec/size", "value": 7}, {"op": "add", "path": "/spec/bogus", "value": 1}
    ) if request["operation"] == "CREATE" else {}  # fmt: skip
    configure("mutating", "change")
    settled(requests, path, webhooks)
    created = requests("POST", path, widget(size=99)).json
    assert created["spec"] == {"size": 7, "mode": "A"}
    (_, request), *_ = webhooks.asked
    assert request["object"]["spec"]["size"] == 99
    assert (request["operation"], request["dryRun"], request["oldObject"]) == ("CREATE", False, None)
    assert request["kind"] == {"group": "example.com", "version": "v1", "kind": "Widget"}
    assert request["resource"] == {"group": "example.com", "version": "v1", "resource": "widgets"}
    assert (request["namespace"], request["name"]) == (path.split("/")[5], "w")
    assert request["userInfo"]["username"]


def test_a_refusal_is_told_with_the_webhooks_name_and_its_status(
    requests: Requests, path: str, webhooks: Webhooks, configure: Callable[..., None]
) -> None:
    causes = [{"reason": "FieldValueInvalid", "message": "Invalid value: 1", "field": "spec.size"}]
    status = {"code": 422, "reason": "Invalid", "message": "not today", "details": {"causes": causes}}
    webhooks.handlers["deny"] = lambda _: {"allowed": False, "status": status, "warnings": ["mind the gap"]}
    configure("validating", "deny")
    settled(requests, path, webhooks)
    reply = requests("POST", path, widget())
    assert (reply.status, reply.json["reason"]) == (422, "Invalid")
    assert reply.message == 'admission webhook "deny.example.com" denied the request: not today'
    assert reply.json["details"]["causes"] == causes
    assert reply.warnings == ["mind the gap"]
    assert requests("GET", f"{path}/w").status == 404


def test_a_refusal_without_a_word_is_told_as_such(
    requests: Requests, path: str, webhooks: Webhooks, configure: Callable[..., None]
) -> None:
    webhooks.handlers["deny"] = lambda _: {"allowed": False}
    configure("validating", "deny")
    settled(requests, path, webhooks)
    reply = requests("POST", path, widget())
    assert (reply.status, reply.message) == (
        400, 'admission webhook "deny.example.com" denied the request without explanation',
    )  # fmt: skip


def test_updates_and_deletions_show_the_old_object(
    requests: Requests, path: str, webhooks: Webhooks, configure: Callable[..., None]
) -> None:
    webhooks.handlers["look"] = lambda _: {}
    configure("validating", "look")
    settled(requests, path, webhooks)
    requests("POST", path, widget())
    requests("PATCH", f"{path}/w", {"spec": {"size": 2}}, kind=MERGE)
    requests("PATCH", f"{path}/w/status", {"status": {"observed": 1}}, kind=MERGE)
    requests("DELETE", f"{path}/w")
    told = [(r["operation"], (r["oldObject"] or {}).get("spec", {}).get("size"), bool(r["object"]))
            for _, r in webhooks.asked]  # fmt: skip
    assert told == [("CREATE", None, True), ("UPDATE", 1, True), ("DELETE", 2, False)]


def test_an_object_that_the_schema_refuses_reaches_no_validating_webhook(
    requests: Requests, path: str, webhooks: Webhooks, configure: Callable[..., None]
) -> None:
    webhooks.handlers["look"] = lambda _: {}
    configure("validating", "look")
    settled(requests, path, webhooks)
    assert requests("POST", path, widget(size=99)).status == 422
    assert webhooks.asked == []


def test_a_webhook_that_cannot_be_reached_fails_or_is_passed_over(
    requests: Requests, path: str, webhooks: Webhooks, configure: Callable[..., None]
) -> None:
    webhooks.handlers["look"] = lambda _: {}
    nowhere = {"url": f"https://127.0.0.1:{free_port()}/x", "caBundle": webhooks.bundle}
    configure("validating", "gone", clientConfig=nowhere, failurePolicy="Ignore")
    configure("validating", "look")
    settled(requests, path, webhooks)
    assert requests("POST", path, widget()).status == 201
    configure("validating", "broken", clientConfig=nowhere)
    reply = requests.until(500, "POST", f"{path}?dryRun=All", widget("other"))
    assert reply.message.startswith(
        'Internal error occurred: failed calling webhook "broken.example.com": failed to call webhook: '
        'Post "https://127.0.0.1:'
    )


def test_a_wrong_authority_is_a_failure(
    requests: Requests, path: str, webhooks: Webhooks, configure: Callable[..., None]
) -> None:
    other = base64.b64encode(trustme.CA().cert_pem.bytes()).decode()
    configure("validating", "strange", clientConfig={"url": webhooks.url("strange"), "caBundle": other})
    reply = requests.until(500, "POST", f"{path}?dryRun=All", widget())
    assert "certificate" in reply.message
    assert webhooks.asked == []


def test_conditions_choose_what_a_webhook_sees(
    requests: Requests, path: str, webhooks: Webhooks, configure: Callable[..., None]
) -> None:
    webhooks.handlers["big"] = lambda _: {}
    condition = {"name": "big", "expression": "object.spec.size > 5 || object.metadata.name == 'probe'"}
    configure("validating", "big", matchConditions=[condition])
    settled(requests, path, webhooks)
    requests("POST", path, widget("small"))
    requests("POST", path, widget("large", size=6))
    assert [request["name"] for _, request in webhooks.asked] == ["large"]


def test_a_webhook_with_side_effects_is_no_part_of_a_dry_run(
    requests: Requests, path: str, webhooks: Webhooks, configure: Callable[..., None]
) -> None:
    webhooks.handlers["look"] = lambda _: {}
    configure("validating", "look")
    settled(requests, path, webhooks)
    assert requests("POST", path, widget(), dryRun="All").status == 201
    assert webhooks.asked[0][1]["dryRun"] is True


def test_a_webhook_can_see_what_others_changed_after_it(
    requests: Requests, path: str, webhooks: Webhooks, configure: Callable[..., None]
) -> None:
    webhooks.handlers["first"] = lambda _: {}
    webhooks.handlers["second"] = lambda request: (
        patch({"op": "replace", "path": "/spec/size", "value": 5})
        if request["object"]["spec"]["size"] != 5
        else {}
    )
    configure("mutating", "first", "second", reinvocationPolicy="IfNeeded")
    settled(requests, path, webhooks)
    requests("POST", path, widget())
    assert [(name, r["object"]["spec"]["size"]) for name, r in webhooks.asked] == [
        ("first", 1), ("second", 1), ("first", 5),
    ]  # fmt: skip


def test_a_service_without_an_address_is_told(embedded: Server, webhooks: Webhooks) -> None:
    requests = embedded.requests
    namespace = requests.new_namespace("service-hooks")
    spec = {
        "name": "service.example.com",
        "clientConfig": {"service": {"namespace": "a", "name": "b"}, "caBundle": webhooks.bundle},
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "rules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["*"]}
        ],
    }  # fmt: skip
    path = f"{CONFIGURATIONS}/validatingwebhookconfigurations"
    requests("POST", path, {"metadata": {"name": "service"}, "webhooks": [spec]})
    reply = requests("POST", f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": "c"}})
    requests("DELETE", f"{path}/service")
    assert 'no address is known for the service "a/b" in local mode' in reply.message
