"""The server's composition root: the webhooks and, beside them in the same process, the controllers.

The webhooks serve as soon as there is a certificate: before caches are full, whoever leads. The end has
an order, so that a roll-out refuses no write: tell that we are not ready, let the endpoints be
updated, finish what is in flight, stop the controllers, give up the lease.
"""

import asyncio
import contextlib
import logging
import random
import secrets
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

from kubedr_server.admission import timezone
from kubedr_server.admission.cluster_references import ClusterReferences
from kubedr_server.admission.endpoint import Load, Webhook
from kubedr_server.admission.judge import Judge
from kubedr_server.admission.large import Reader
from kubedr_server.admission.references import References
from kubedr_server.admission.self_signed import SelfSignedCertificate
from kubedr_server.controllers import manager
from kubedr_server.controllers.settings import ControllerSettings
from kubedr_server.kube.client import Client
from kubedr_server.kube.election import LeaderElector
from kubedr_server.manifests.settings import RunnerSettings
from kubedr_server.manifests.webhooks import MUTATE_PATH, VALIDATE_PATH
from kubedr_server.ops import serving
from kubedr_server.ops.admission_metrics import AdmissionMetrics
from kubedr_server.ops.health import Health, call_self
from kubedr_server.ops.queue_metrics import ClientMetrics, LeaderMetrics
from kubedr_server.ops.tls import CertificateMetrics, ServingCertificate
from kubedr_server.settings import Settings

logger = logging.getLogger(__name__)

LEASE_NAME: Final = "kubedr-server"
SELF_SIGNED_CHECK_SECONDS: Final = 60.0


class ServerFailedError(Exception):
    """A part without which the server must not go on has failed; it was logged. End the process."""


@dataclass(frozen=True)
class Running:
    """Where a started server listens."""

    webhook_port: int
    metrics_port: int


class _App(FastAPI):
    """FastAPI, with the webhooks taken out of its way: every write of the group waits for them."""

    def __init__(self, webhooks: Mapping[str, Webhook]) -> None:
        super().__init__(title="KubeDR", docs_url=None, redoc_url=None, openapi_url=None)
        self._webhooks = webhooks

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        webhook = self._webhooks.get(scope["path"]) if scope["type"] == "http" else None
        if webhook is not None:
            await webhook(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(
    registry: CollectorRegistry, health: Health, webhooks: Mapping[str, Webhook] | None = None
) -> FastAPI:
    """Return the ASGI application: `/healthz`, `/readyz`, `/metrics`, and the webhooks by their paths."""
    app = _App(webhooks or {})

    @app.get("/healthz")
    async def healthz() -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    @app.get("/readyz")
    async def readyz() -> PlainTextResponse:
        problems = await health.problems()
        text = "".join(f"{problem}\n" for problem in problems)
        return PlainTextResponse(text or "ok\n", status_code=503 if problems else 200)

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        # With thousands of policies it takes a second: not in the loop that answers reviews.
        return Response(await asyncio.to_thread(encode, registry), media_type=content_type)

    return app


def create_webhooks(
    registry: CollectorRegistry,
    references: References | None,
    reader: Reader,
    *,
    reference_timeout: float = 1.0,
) -> dict[str, Webhook]:
    """Return both webhooks by their paths."""
    judge = Judge(references, reference_timeout=reference_timeout)
    load, metrics = Load(), AdmissionMetrics(registry)
    return {
        MUTATE_PATH: Webhook("mutate", judge.mutate, load, reader, metrics),
        VALIDATE_PATH: Webhook("validate", judge.validate, load, reader, metrics),
    }


async def run(
    settings: Settings,
    *,
    stop: asyncio.Event | None = None,
    started: Callable[[Running], None] | None = None,
    registry: CollectorRegistry | None = None,
) -> None:
    """Serve and reconcile until `stop` is set, or until cancelled; then end in order.

    `started` is called once the webhooks can be called. Raises OSError if a port is in use,
    CertificateError if there is no usable certificate, ConfigurationError if the kubeconfig cannot be
    used, and ServerFailedError if the controllers failed or lost their lease.
    """
    stop = stop or asyncio.Event()
    registry = registry or new_registry()
    observer = ClientMetrics(registry)
    vital: list[asyncio.Task[None]] = []
    async with AsyncExitStack() as stack:
        # Two clients: the webhooks' questions do not queue behind the controllers' requests.
        client = await stack.enter_async_context(await connect(settings, observer))
        asking = await stack.enter_async_context(await connect(settings, observer))
        await asyncio.to_thread(timezone.known_zones)  # reads files: not at the first review
        health = Health()
        operations = _bind(stack, settings.bind, settings.metrics_port)
        webhook_socket = _bind(stack, settings.bind, settings.port)
        port = serving.port_of(webhook_socket)
        running = Running(port, serving.port_of(operations))
        certificate: ServingCertificate | None = None

        async def webhooks_answer() -> str | None:
            current = certificate.current if certificate else None
            return await call_self(settings.bind, port, current, datetime.now(UTC))

        # Before anyone can ask: without a check we would be ready while there is no certificate yet.
        health.add("webhooks", webhooks_answer)
        await stack.enter_async_context(serving.Listener(create_app(registry, health), operations).serving())
        certificate = await _certificate(stack, settings, asking, registry, port, vital)
        webhooks = create_webhooks(
            registry,
            ClusterReferences(asking),
            await stack.enter_async_context(Reader()),
            reference_timeout=settings.reference_timeout_seconds,
        )
        app = create_app(registry, health, webhooks)
        await stack.enter_async_context(
            _beside(_controllers(settings, client, registry), "controllers", vital)
        )
        async with serving.Listener(app, webhook_socket, context=certificate.context).serving():
            logger.info("serving", extra={"webhooks": running.webhook_port, "metrics": running.metrics_port})
            if started:
                started(running)
            await _until(stop, vital)
            health.draining = True
            if stop.is_set():
                await asyncio.sleep(settings.drain_seconds)
        logger.info("webhooks ended; stopping the controllers")


async def connect(settings: Settings, observer: ClientMetrics) -> Client:
    """Return a client of the API server. Raises ConfigurationError."""
    if settings.kubeconfig is not None:
        return await Client.from_kubeconfig(settings.kubeconfig, observer=observer)
    return await Client.in_cluster(observer=observer)


def new_registry() -> CollectorRegistry:
    """Return a metrics registry with what is told of every Python process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def _bind(stack: AsyncExitStack, host: str, port: int) -> socket.socket:
    return stack.enter_context(contextlib.closing(serving.bind(host, port)))


async def _until(stop: asyncio.Event, vital: list[asyncio.Task[None]]) -> None:
    """Wait until we are to stop, or something has ended by itself that never should."""
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({stopped, *vital}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()


@asynccontextmanager
async def _beside(
    work: Coroutine[Any, Any, None], name: str, vital: list[asyncio.Task[None]]
) -> AsyncIterator[None]:
    """Run something beside the block and end it with the block; ServerFailedError if it ended before."""
    task = asyncio.create_task(work, name=name)
    vital.append(task)
    try:
        yield
    finally:
        ended_early = task.done()
        task.cancel()
        await asyncio.wait({task})
        error = None if task.cancelled() else task.exception()
    if error is not None:
        logger.error("%s failed: the process ends", name, exc_info=error)
        raise ServerFailedError(f"{name} failed: {type(error).__name__}: {error}") from error
    if ended_early:
        raise ServerFailedError(f"{name} ended without being told to")


async def _certificate(
    stack: AsyncExitStack,
    settings: Settings,
    client: Client,
    registry: CollectorRegistry,
    port: int,
    vital: list[asyncio.Task[None]],
) -> ServingCertificate:
    """Have a certificate, from files or of our own making, and keep it fresh while the stack is open."""
    directory = settings.tls_cert_dir
    if directory is None:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kubedr-tls-")))
    shared = _self_signed(settings, client, directory, port)
    if shared is not None:
        await shared.ensure_eventually()
        keeping = shared.keep(SELF_SIGNED_CHECK_SECONDS)
        await stack.enter_async_context(_beside(keeping, "certificate renewal", vital))
    certificate = ServingCertificate(directory, CertificateMetrics(registry))
    await certificate.load()
    watching = certificate.watch(settings.certificate_poll_seconds)
    await stack.enter_async_context(_beside(watching, "certificate reloading", vital))
    return certificate


def _self_signed(
    settings: Settings, client: Client, directory: Path, port: int
) -> SelfSignedCertificate | None:
    if settings.self_signed is None:
        return None
    url = settings.self_signed.register_url
    if url is not None and urlsplit(url).port is None:
        url = f"{url.rstrip('/')}:{port}"
    return SelfSignedCertificate(
        client,
        settings.namespace,
        settings.self_signed,
        url=url,
        directory=directory,
        now=lambda: datetime.now(UTC),
    )


async def _controllers(settings: Settings, client: Client, registry: CollectorRegistry) -> None:
    """Reconcile while leading, or at once where there is no election, until cancelled."""
    runner = RunnerSettings(
        image=settings.runner_image,
        cluster_id="",
        image_pull_policy=settings.runner_image_pull_policy,
        image_pull_secrets=settings.runner_image_pull_secrets,
        service_account_name=settings.runner_service_account,
    )
    controller_settings = ControllerSettings(runner=runner, namespace=settings.watch_namespace)
    rng = random.Random()  # noqa: S311 - spreads retries, guards nothing
    identity = f"{socket.gethostname()}-{secrets.token_hex(4)}"

    metrics = manager.ControllerMetrics(registry)

    async def lead(writer: Client) -> None:
        await manager.run(writer, controller_settings, metrics=metrics, rng=rng, identity=identity)

    if not settings.leader_elect:
        await lead(client)
        return
    elector = LeaderElector(
        client, settings.namespace, LEASE_NAME, identity, observer=LeaderMetrics(registry), rng=rng
    )
    await elector.run(lambda: lead(client.guarded(elector.check)))
