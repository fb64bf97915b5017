"""Our webhooks as the server builds them, without a cluster behind them: the rules are what is compared."""

import asyncio
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from kubedr_server.admission import timezone
from kubedr_server.admission.large import Reader
from kubedr_server.ops import serving
from kubedr_server.ops.health import Health
from kubedr_server.ops.tls import CertificateMetrics, ServingCertificate
from kubedr_server.server import create_app, create_webhooks


async def main(directory: Path) -> None:
    """Serve until standard input ends; print the port."""
    registry = CollectorRegistry()
    await asyncio.to_thread(timezone.known_zones)
    certificate = ServingCertificate(directory, CertificateMetrics(registry))
    await certificate.load()
    bound = serving.bind("127.0.0.1", 0)
    port = serving.port_of(bound)
    async with Reader() as reader:
        app = create_app(registry, Health(), create_webhooks(registry, None, reader))
        async with serving.Listener(app, bound, context=certificate.context).serving():
            print(port, flush=True)  # noqa: T201 - read by the benchmark
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
