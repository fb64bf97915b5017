"""The server over real TLS: its bounds, its order, and two replicas that share a certificate."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from kubedr_server import server
from kubedr_server.admission.endpoint import MAX_BODY, Load, Webhook
from kubedr_server.admission.large import Reader
from kubedr_server.kube.client import Client
from kubedr_server.kube.resources import MUTATING_WEBHOOKS, NAMESPACES, SECRETS, VALIDATING_WEBHOOKS
from kubedr_server.local.api.server import LocalAPI
from kubedr_server.ops import serving
from kubedr_server.ops.admission_metrics import AdmissionMetrics
from kubedr_server.ops.tls import CertificateError
from kubedr_server.settings import SelfSigned, Settings, SettingsError
from support.admission import policy, review_of
from support.replica import Replica, settings_for
from support.webhooks import Served, serve


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serve(tmp_path) as running:
        yield running


@pytest.fixture
async def impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    """Serve, and bear no client's silence for long."""
    monkeypatch.setattr(serving, "_SWEEP_SECONDS", 0.05)
    async with serve(tmp_path, silence_seconds=0.5) as running:
        yield running


async def raw(served: Served, *, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    served.authority.configure_trust(context)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=context)
    writer.write(data)
    return reader, writer


async def test_both_webhooks_health_and_metrics_are_served(served: Served) -> None:
    async with served.session() as session:
        assert (await served.review(session, review_of(policy(schedule="x"))))["status"]["code"] == 422
        assert "patch" in await served.review(session, review_of(policy()), "/mutate")
        for path in ("/healthz", "/readyz", "/metrics"):
            async with session.get(served.url + path) as answer:
                assert answer.status == 200
        async with session.get(served.url + "/metrics") as answer:
            text = await answer.text()
    assert 'kubedr_admission_reviews_total{kind="MetadataBackupPolicy"' in text


async def test_a_server_that_drains_is_alive_and_not_ready(served: Served) -> None:
    served.health.draining = True
    async with served.session() as session:
        async with session.get(served.url + "/readyz") as answer:
            assert (answer.status, await answer.text()) == (503, "shutting down\n")
        async with session.get(served.url + "/healthz") as answer:
            assert answer.status == 200


def padded(size: int) -> bytes:
    """Return a review of exactly this many bytes."""
    document = review_of(policy())
    document["request"]["object"]["metadata"]["annotations"] = {"padding": ""}
    room = size - len(json.dumps(document).encode())
    document["request"]["object"]["metadata"]["annotations"]["padding"] = "x" * room
    return json.dumps(document).encode()


async def test_a_review_of_seven_mebibytes_is_read_and_a_larger_one_refused(served: Served) -> None:
    async with served.session() as session:
        assert (await served.review(session, padded(MAX_BODY)))["allowed"]
    head = (
        "POST /validate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        f"Content-Length: {MAX_BODY + 1}\r\n\r\n"
    ).encode()
    reader, writer = await raw(served, data=head)
    assert b" 413 " in await asyncio.wait_for(reader.readline(), 60), "told before the body is sent"
    writer.close()


async def test_a_body_without_a_length_is_bounded_while_it_comes(served: Served) -> None:
    head = (
        b"POST /validate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    reader, writer = await raw(served, data=head)
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    for _ in range(12):  # more than is read of a body, and less than is thrown away after the answer
        writer.write(chunk)
        await writer.drain()
    assert b" 413 " in await asyncio.wait_for(reader.readline(), 30)
    writer.transport.abort()
    assert served.sample("kubedr_admission_http_errors_total", webhook="validate", code="413") == 1


@pytest.mark.parametrize(
    ("method", "content_type", "status"),
    [("GET", "application/json", 405), ("POST", "text/plain", 415), ("POST", "application/json", 400)],
)
async def test_what_is_no_review_is_an_http_error(
    served: Served, method: str, content_type: str, status: int
) -> None:
    async with served.session() as session:
        headers = {"content-type": content_type}
        async with session.request(method, served.url + "/validate", data=b"{}", headers=headers) as answer:
            assert answer.status == status


async def test_a_body_that_does_not_come_is_given_up(served: Served) -> None:
    head = (
        b"POST /validate?timeout=300ms HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"Content-Length: 100\r\n\r\n{"
    )
    reader, writer = await raw(served, data=head)
    assert b" 408 " in await asyncio.wait_for(reader.readline(), 60)
    writer.close()


@pytest.mark.parametrize("data", [b"", b"POST /validate HTTP/1.1\r\nHost: a\r\n"])
async def test_a_client_that_says_nothing_is_hung_up_on(impatient: Served, data: bytes) -> None:
    reader, writer = await raw(impatient, data=data)
    assert await asyncio.wait_for(reader.read(), 60) == b""
    writer.close()


async def test_an_idle_connection_is_kept_after_a_request(impatient: Served) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    reader, writer = await raw(impatient, data=request)
    assert b" 200 " in await reader.readline()
    silent, other = await raw(impatient, data=b"")
    assert await asyncio.wait_for(silent.read(), 60) == b"", "this one has made no request"
    other.close()
    writer.write(request)
    await reader.readuntil(b"ok\n")
    assert b" 200 " in await asyncio.wait_for(reader.readline(), 60)
    writer.close()
    assert serving.KEEP_ALIVE_SECONDS > 90, "as long as the API server keeps it"


async def test_two_hundred_slow_clients_do_not_hinder_the_others(served: Served) -> None:
    head = (
        b"POST /validate?timeout=30s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"Content-Length: 5000000\r\n\r\n"
    )
    slow = await asyncio.gather(*(raw(served, data=head + b"x" * 10_000) for _ in range(200)))
    async with served.session() as session:
        assert (await served.review(session, review_of(policy())))["allowed"]
    assert served.sample("kubedr_admission_requests_in_flight") > 150, "it did not wait for the slow ones"
    for _, writer in slow:
        writer.transport.abort()


async def call(webhook: Webhook, *chunks: bytes) -> tuple[int, dict[bytes, bytes]]:
    """Call a webhook with a body in pieces; an empty list of pieces never comes."""
    pieces = iter(chunks)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        piece = next(pieces, None)
        if piece is None:
            await asyncio.sleep(3600)
        return {"type": "http.request", "body": piece, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "method": "POST",
        "query_string": b"timeout=1s",
        "headers": [(b"content-type", b"application/json")],
    }
    await webhook(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"])


def webhook_with(load: Load) -> Webhook:
    async def answer(*_: Any) -> dict[str, Any]:
        raise AssertionError("nothing is ever complete here")

    return Webhook("validate", answer, load, Reader(), AdmissionMetrics(CollectorRegistry()))


async def test_too_many_requests_at_once_are_sent_away_for_a_second() -> None:
    load = Load(max_requests=1)
    webhook = webhook_with(load)
    first = asyncio.create_task(call(webhook, b"{"))
    await asyncio.sleep(0)
    status, headers = await call(webhook, b"{")
    assert (status, headers[b"retry-after"]) == (503, b"1")
    assert (await first)[0] == 408
    assert load.requests == 0


async def test_large_bodies_share_a_budget_and_give_it_back() -> None:
    load = Load(max_bytes=300_000)
    webhook = webhook_with(load)
    first = asyncio.create_task(call(webhook, b"x" * 200_000))
    await asyncio.sleep(0)
    assert (await call(webhook, b"x" * 200_000))[0] == 503
    assert (await first)[0] == 408
    assert load.bytes == 0


# The whole process


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[LocalAPI]:
    async with LocalAPI(tmp_path / "api") as running:
        async with await Client.from_kubeconfig(running.kubeconfig) as client:
            metadata = {"name": "kubedr-system"}
            await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        yield running


async def test_the_server_serves_with_its_own_certificate_and_registers_itself(api: LocalAPI) -> None:
    replica = Replica(settings_for(api.kubeconfig))
    running = await replica.started()
    async with await Client.from_kubeconfig(api.kubeconfig) as client, aiohttp.ClientSession() as session:
        secret = await client.get(SECRETS, "kubedr-system", "kubedr-webhook-tls")
        configuration = await client.get(VALIDATING_WEBHOOKS, None, "kubedr-validating-webhook")
        client_config = configuration["webhooks"][0]["clientConfig"]
        assert client_config["url"] == f"https://127.0.0.1:{running.webhook_port}/validate"
        assert client_config["caBundle"] == secret["data"]["ca.crt"]
        trust = ssl.create_default_context(cadata=base64.b64decode(client_config["caBundle"]).decode())
        async with session.post(client_config["url"], json=review_of(policy()), ssl=trust) as answer:
            assert (await answer.json())["response"]["allowed"]
        async with session.get(f"http://127.0.0.1:{running.metrics_port}/readyz") as ready:
            assert (ready.status, await ready.text()) == (200, "ok\n")
        async with session.get(f"http://127.0.0.1:{running.metrics_port}/mutate") as absent:
            assert absent.status == 404, "webhooks are not served without TLS"
    await replica.end()


async def test_the_ca_bundle_of_installed_configurations_is_kept(api: LocalAPI) -> None:
    webhook = {
        "name": "validation.kubedr.catalogicsoftware.com",
        "clientConfig": {"service": {"name": "kubedr-webhook", "namespace": "kubedr-system"}},
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Ignore",
    }
    async with await Client.from_kubeconfig(api.kubeconfig) as client:
        for resource, name in (
            (MUTATING_WEBHOOKS, "kubedr-mutating-webhook"),
            (VALIDATING_WEBHOOKS, "kubedr-validating-webhook"),
        ):
            await client.create(
                resource,
                {
                    "apiVersion": resource.api_version,
                    "kind": resource.kind,
                    "metadata": {"name": name},
                    "webhooks": [webhook],
                },
            )
        replica = Replica(settings_for(api.kubeconfig, self_signed=SelfSigned()))
        await replica.started()
        secret = await client.get(SECRETS, "kubedr-system", "kubedr-webhook-tls")
        for resource, name in (
            (MUTATING_WEBHOOKS, "kubedr-mutating-webhook"),
            (VALIDATING_WEBHOOKS, "kubedr-validating-webhook"),
        ):
            stored = await client.get(resource, None, name)
            client_config = stored["webhooks"][0]["clientConfig"]
            assert client_config["caBundle"] == secret["data"]["ca.crt"]
            assert client_config["service"]["name"] == "kubedr-webhook"
        await replica.end()


async def test_a_controller_that_crashes_ends_the_process_with_its_reason(
    api: LocalAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: Any, **__: Any) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("kubedr_server.controllers.manager.run", crash)
    replica = Replica(settings_for(api.kubeconfig, leader_elect=False))
    with pytest.raises(server.ServerFailedError, match="controllers failed: RuntimeError: boom"):
        await replica.task


async def test_the_webhooks_end_before_the_controllers(
    api: LocalAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    async def controllers(*_: Any, **__: Any) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            order.append("controllers")

    monkeypatch.setattr("kubedr_server.controllers.manager.run", controllers)
    replica = Replica(settings_for(api.kubeconfig, leader_elect=False, drain_seconds=3.0))
    running = await replica.started()

    async def watch() -> None:
        url = f"http://127.0.0.1:{running.metrics_port}/readyz"
        async with aiohttp.ClientSession() as session:
            while True:
                async with session.get(url) as answer:
                    if answer.status == 503:
                        order.append("unready")
                        break
                await asyncio.sleep(0.02)
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", running.webhook_port)
            except OSError:
                order.append("webhooks")
                return
            writer.close()
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.1)
    await replica.end()
    await asyncio.wait_for(watching, 60)
    assert order.index("unready") == 0
    assert set(order) == {"unready", "webhooks", "controllers"}


async def test_a_missing_certificate_is_told_at_the_start(api: LocalAPI, tmp_path: Path) -> None:
    replica = Replica(settings_for(api.kubeconfig, self_signed=None, tls_cert_dir=tmp_path / "none"))
    with pytest.raises(CertificateError, match=r"tls\.crt"):
        await replica.task


async def test_a_port_in_use_is_told_with_its_address(api: LocalAPI, served: Served) -> None:
    replica = Replica(settings_for(api.kubeconfig, port=served.port))
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{served.port}"):
        await replica.task


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runner_image": ""}, "--runner-image is missing"),
        ({"port": 70_000}, "is no port"),
        ({"port": 8080, "metrics_port": 8080}, "two different ports"),
        ({"self_signed": None}, "exactly one of --tls-cert-dir"),
        ({"tls_cert_dir": Path("/tls")}, "exactly one of --tls-cert-dir"),
    ],
)
def test_settings_that_can_never_work_are_refused(changes: dict[str, Any], message: str) -> None:
    right: dict[str, Any] = {"runner_image": "image", "self_signed": SelfSigned()}
    with pytest.raises(SettingsError, match=message):
        Settings(**{**right, **changes})


async def test_the_server_becomes_ready_without_the_custom_resources(api: LocalAPI) -> None:
    """Webhooks serve before caches are full: here the informers never fill, for there are no CRDs."""
    replica = Replica(settings_for(api.kubeconfig))
    running = await replica.started()

    url = f"http://127.0.0.1:{running.metrics_port}/readyz"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert (answer.status, await answer.text()) == (200, "ok\n")
    await replica.end()
