"""Our controllers as the server runs them; given a directory of certificates, with the webhooks beside."""

import argparse
import asyncio
import dataclasses
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry

from benchmarks.controllers_counting import Requests, report, rss
from kubedr_server.controllers import manager
from kubedr_server.controllers.manager import ControllerMetrics
from kubedr_server.controllers.settings import ControllerSettings
from kubedr_server.kube.client import Client
from kubedr_server.kube.transport import ClientSettings
from kubedr_server.ops.garbage import collect_seldom
from support.kubedr_objects import RUNNER


async def main(kubeconfig: str, image: str, certificates: Path | None) -> None:
    """Reconcile until standard input ends; print the memory at the beginning, and the webhooks' port."""
    requests = Requests()
    requests.install()
    async with (
        _webhooks(certificates) as port,
        await Client.from_kubeconfig(kubeconfig, settings=ClientSettings(qps=0)) as client,
    ):
        collect_seldom()
        print(rss(), port, flush=True)  # noqa: T201 - read by the benchmark
        controllers = asyncio.create_task(
            manager.run(
                client,
                ControllerSettings(dataclasses.replace(RUNNER, image=image)),
                metrics=ControllerMetrics(CollectorRegistry()),
                rng=random.Random(),
            )
        )
        ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
        await asyncio.wait({controllers, ended}, return_when=asyncio.FIRST_COMPLETED)
        print(report(requests), flush=True)  # noqa: T201 - read by the benchmark
        controllers.cancel()
        await asyncio.gather(controllers, return_exceptions=True)


@asynccontextmanager
async def _webhooks(certificates: Path | None) -> AsyncIterator[int]:
    if certificates is None:
        yield 0
        return
    # Only now: the other runs are to be of the controllers alone.
    from kubedr_server.admission import timezone
    from kubedr_server.admission.large import Reader
    from kubedr_server.ops import serving
    from kubedr_server.ops.health import Health
    from kubedr_server.ops.tls import CertificateMetrics, ServingCertificate
    from kubedr_server.server import create_app, create_webhooks

    registry = CollectorRegistry()
    await asyncio.to_thread(timezone.known_zones)
    certificate = ServingCertificate(certificates, CertificateMetrics(registry))
    await certificate.load()
    bound = serving.bind("127.0.0.1", 0)
    async with Reader() as reader:
        app = create_app(registry, Health(), create_webhooks(registry, None, reader))
        async with serving.Listener(app, bound, context=certificate.context).serving():
            yield serving.port_of(bound)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kubeconfig")
    parser.add_argument("--image", default=RUNNER.image)
    parser.add_argument("--certificates", type=Path)
    options = parser.parse_args()
    asyncio.run(main(options.kubeconfig, options.image, options.certificates))
