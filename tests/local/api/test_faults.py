"""Trouble on demand: what a client's tests ask of the API."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from kubedr_server.kube.client import Client
from kubedr_server.kube.errors import Conflict, KubeError, TooManyRequests
from kubedr_server.kube.resources import CONFIGMAPS
from kubedr_server.local.api import faults
from kubedr_server.local.api.faults import Fault, Faults
from kubedr_server.local.api.server import LocalAPI

CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"}}


def is_about_c(_method: str, path: str, _query: Mapping[str, str]) -> bool:
    return path.endswith("/c")


@pytest.fixture
def trouble() -> Faults:
    return Faults()


@pytest.fixture
async def client(tmp_path: Path, trouble: Faults) -> AsyncIterator[Client]:
    async with (
        LocalAPI(tmp_path, faults=trouble) as api,
        await Client.from_kubeconfig(api.kubeconfig) as client,
    ):
        yield client


@pytest.mark.fault
async def test_writes_can_be_refused_a_number_of_times(client: Client, trouble: Faults) -> None:
    trouble.add(Fault(faults.is_write, times=1, error=faults.conflict()))
    with pytest.raises(Conflict):
        await client.create(CONFIGMAPS, CONFIG)
    await client.create(CONFIGMAPS, CONFIG)


@pytest.mark.fault
async def test_requests_can_be_asked_to_come_later(client: Client, trouble: Faults) -> None:
    # So long that the client tells it at once, instead of waiting.
    trouble.add(Fault(is_about_c, error=faults.too_many_requests(600)))
    with pytest.raises(TooManyRequests) as raised:
        await client.get(CONFIGMAPS, "default", "c")
    assert raised.value.retry_after == 600


@pytest.mark.fault
async def test_requests_can_be_slow_and_connections_can_break(client: Client, trouble: Faults) -> None:
    await client.create(CONFIGMAPS, CONFIG)
    trouble.add(Fault(is_about_c, times=1, delay=0.3))
    loop = asyncio.get_running_loop()
    start = loop.time()
    await client.get(CONFIGMAPS, "default", "c")
    assert loop.time() - start >= 0.3
    trouble.add(Fault(faults.is_write, cut=True))
    with pytest.raises(KubeError):
        await client.create(CONFIGMAPS, CONFIG)


@pytest.mark.fault
@pytest.mark.parametrize("in_stream", [True, False])
async def test_a_watch_can_end_as_gone(client: Client, trouble: Faults, in_stream: bool) -> None:
    trouble.add(Fault(faults.is_watch, error=faults.gone(), in_stream=in_stream))
    listed = await client.list(CONFIGMAPS, "default")
    with pytest.raises(KubeError):
        async for _ in client.watch(
            CONFIGMAPS, "default", resource_version=listed.resource_version, timeout_seconds=60
        ):
            pass


@pytest.mark.fault
async def test_a_watch_can_fall_silent(client: Client, trouble: Faults) -> None:
    trouble.add(Fault(faults.is_watch, hang=True, after_lines=1))
    listed = await client.list(CONFIGMAPS, "default")
    events = client.watch(
        CONFIGMAPS, "default", resource_version=listed.resource_version, timeout_seconds=300
    )
    first = asyncio.ensure_future(anext(aiter(events)))
    await client.create(CONFIGMAPS, CONFIG)
    assert (await first).type == "ADDED"
    second = asyncio.ensure_future(anext(aiter(events)))
    await client.delete(CONFIGMAPS, "default", "c")
    done, _ = await asyncio.wait([second], timeout=0.5)
    assert not done
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
