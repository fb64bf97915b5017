"""The API server of a benchmark of controllers: filled with policies, and looked at until all is right."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks import processes
from kubedr_server.api import crd
from kubedr_server.contract import Operation
from kubedr_server.kube import errors
from kubedr_server.kube.client import Client
from kubedr_server.kube.resources import (
    BACKUP_LOCATIONS,
    CRDS,
    CRONJOBS,
    METADATA_BACKUP_POLICIES,
    NAMESPACES,
    SECRETS,
)
from kubedr_server.kube.transport import ClientSettings
from support.apiserver import ApiServer, assets
from support.kubedr_objects import a_result
from support.kubedr_world import World, ready

NAMESPACE = "kubedr-system"
_AT_ONCE = 30
_IDLE_SECONDS = 2.0
_IDLE_CPU_SECONDS = 0.03


@asynccontextmanager
async def api_server(directory: Path) -> AsyncIterator[tuple[str, Path]]:
    """Run a kube-apiserver where this machine has one, else local mode's; yield its name and kubeconfig."""
    programs = assets()
    if programs is None:
        async with processes.serving("serve_api", core=None) as server:
            yield "KubeDR's local mode", Path(server.said)
        return
    api = ApiServer(directory, programs, ["--max-requests-inflight=2000", "--profiling=false"])
    await asyncio.to_thread(api.__enter__)
    try:
        yield "a kube-apiserver", api.kubeconfig
    finally:
        await asyncio.to_thread(api.stop)


@asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[Client]:
    """Connect without limits."""
    settings = ClientSettings(qps=0, request_timeout=120.0, user_agent="benchmark")
    async with await Client.from_kubeconfig(kubeconfig, settings=settings) as client:
        yield client


async def fill(client: Client, policies: int) -> None:
    """Make our kinds, a location whose repository is there, and so many policies, each an hour of its own."""
    for definition in crd.definitions():
        await client.apply(CRDS, definition, field_manager="benchmark")
    world = World(client, NAMESPACE)
    world.patience_seconds, world.pause_seconds = 60.0, 0.1
    await _when_served(client)
    metadata = {"name": NAMESPACE}
    await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    await world.secret()
    async with world.controllers():
        await world.location(suspendMaintenance=True)
        await world.end(await world.job(Operation.INIT), a_result(Operation.INIT))
        await world.becomes(BACKUP_LOCATIONS, "minio", ready("True"))
    numbers = iter(range(policies))
    await asyncio.gather(*(_make(client, numbers) for _ in range(_AT_ONCE)))


async def _when_served(client: Client) -> None:
    async with asyncio.timeout(60):
        for resource in (BACKUP_LOCATIONS, METADATA_BACKUP_POLICIES, SECRETS):
            while True:
                try:
                    await client.list(resource, limit=1)
                except errors.NotFound:
                    await asyncio.sleep(0.2)
                else:
                    break


async def _make(client: Client, numbers: Iterator[int]) -> None:
    for number in numbers:
        policy = {
            "apiVersion": METADATA_BACKUP_POLICIES.api_version,
            "kind": METADATA_BACKUP_POLICIES.kind,
            "metadata": {"name": f"policy-{number:05d}", "namespace": NAMESPACE},
            "spec": {"destination": "minio", "schedule": f"{number % 60} {number // 60 % 24} * * *"},
        }
        await client.create(METADATA_BACKUP_POLICIES, policy)


async def at_rest(
    client: Client, server: processes.Server, policies: int, image: str, begun: float, bound: float
) -> float | None:
    """Wait until a process does nothing more and all is right; return how many seconds after `begun` it was.

    None if it takes more than `bound`. Nothing is asked of the API server as long as the process works: both
    would wait for the answers.
    """
    quiet_since, used = time.monotonic(), server.cpu_seconds()
    while (now := time.monotonic()) - begun < bound:
        if server.cpu_seconds() - used > _IDLE_CPU_SECONDS:
            quiet_since, used = now, server.cpu_seconds()
        elif now - quiet_since > _IDLE_SECONDS:
            if await _all_told(client) and await _have_image(client, image) == policies:
                return quiet_since - begun
            quiet_since = now
        await asyncio.sleep(0.1)
    return None


async def converged(client: Client, policies: int, begun: float, bound: float) -> float | None:
    """Wait until each policy has its CronJob and its status; return after how many seconds since `begun`.

    None if that takes more than `bound`. For a process that has other work, too; the API server is asked
    for little.
    """
    while time.monotonic() - begun < bound:
        left = policies - await _count(client)
        if left <= 0 and await _all_told(client):
            return time.monotonic() - begun
        await asyncio.sleep(max(0.2, min(3.0, left / 1000)))
    return None


async def _count(client: Client) -> int:
    """Return how many CronJobs there are, by asking for one of them."""
    answer = json.loads(await client.raw(f"{CRONJOBS.path(NAMESPACE)}?limit=1"))
    return len(answer["items"]) + int(answer["metadata"].get("remainingItemCount") or 0)


async def _have_image(client: Client, image: str) -> int:
    """Return how many CronJobs start this image."""
    count = 0
    async for page in client.pages(CRONJOBS, NAMESPACE):
        for cronjob in page.items:
            containers = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
            count += containers[0]["image"] == image
    return count


async def _all_told(client: Client) -> bool:
    async for page in client.pages(METADATA_BACKUP_POLICIES, NAMESPACE):
        for policy in page.items:
            if (policy.get("status") or {}).get("observedGeneration") != policy["metadata"]["generation"]:
                return False
    return True
