"""An API server with our CRDs, because kopf asks one what there is. It is idle while reviews are measured."""

import asyncio
import sys
import tempfile
from pathlib import Path

from kubedr_server.api import crd
from kubedr_server.kube.client import Client
from kubedr_server.kube.resources import CRDS
from kubedr_server.local.api.server import LocalAPI


async def main() -> None:
    """Serve until standard input ends; print where the kubeconfig is."""
    with tempfile.TemporaryDirectory(prefix="kubedr-bench-") as directory:
        async with LocalAPI(Path(directory)) as api:
            async with await Client.from_kubeconfig(api.kubeconfig) as client:
                for definition in crd.definitions():
                    await client.apply(CRDS, definition, field_manager="benchmark")
            print(api.kubeconfig, flush=True)  # noqa: T201 - read by the benchmark
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
