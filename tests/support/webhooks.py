"""A webhook server on a free port of loopback, with certificates as cert-manager's Secret is mounted."""

import asyncio
import io
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import trustme
from prometheus_client import CollectorRegistry

from kubedr_server.admission.large import Reader
from kubedr_server.ops import certificate_files, serving
from kubedr_server.ops.health import Health
from kubedr_server.ops.tls import CertificateMetrics, ServingCertificate
from kubedr_server.server import create_app, create_webhooks


def issue(authority: trustme.CA) -> tuple[bytes, bytes]:
    """Return a certificate with its chain, and its key, as PEM."""
    leaf = authority.issue_cert("127.0.0.1", "localhost")
    return b"".join(pem.bytes() for pem in leaf.cert_chain_pems), leaf.private_key_pem.bytes()


def client_context(*authorities: trustme.CA) -> ssl.SSLContext:
    """Return a context that trusts only these."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for authority in authorities:
        authority.configure_trust(context)
    return context


@dataclass
class Served:
    """A webhook server that runs."""

    url: str
    port: int
    directory: Path
    authority: trustme.CA
    certificate: ServingCertificate
    registry: CollectorRegistry
    health: Health

    def sample(self, name: str, **labels: str) -> float:
        """Return a metric's value; 0 if it has none."""
        return self.registry.get_sample_value(name, labels) or 0.0

    async def review(self, session: aiohttp.ClientSession, document: Any, path: str = "/validate") -> Any:
        """Send a review; returns the answer's `response`."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        headers = {"content-type": "application/json"}
        async with session.post(
            f"{self.url}{path}?timeout=30s", data=io.BytesIO(body), headers=headers
        ) as answer:
            assert answer.status == 200, await answer.text()
            return (await answer.json())["response"]

    @asynccontextmanager
    async def session(self, *others: trustme.CA) -> AsyncIterator[aiohttp.ClientSession]:
        """Return a client session that trusts the server."""
        connector = aiohttp.TCPConnector(ssl=client_context(self.authority, *others), limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield session


@asynccontextmanager
async def serve(directory: Path, *, silence_seconds: float = 60.0) -> AsyncIterator[Served]:
    """Serve both webhooks, without a cluster behind them."""
    authority = trustme.CA()
    await asyncio.to_thread(certificate_files.write, directory, *issue(authority))
    registry, health = CollectorRegistry(), Health()
    certificate = ServingCertificate(directory, CertificateMetrics(registry))
    await certificate.load()
    bound = serving.bind("127.0.0.1", 0)
    port = serving.port_of(bound)
    async with Reader() as reader:
        app = create_app(registry, health, create_webhooks(registry, None, reader))
        listener = serving.Listener(app, bound, context=certificate.context, silence_seconds=silence_seconds)
        async with listener.serving():
            url = f"https://127.0.0.1:{port}"
            yield Served(url, port, directory, authority, certificate, registry, health)
