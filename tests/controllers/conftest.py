"""Worlds for the controllers: on an API server that misbehaves when told to, and on a real one."""

from collections.abc import AsyncIterator, Iterator

import pytest

from kubedr_server.kube.client import Client
from kubedr_server.kube.transport import ClientSettings, Transport
from support.apiserver import ApiServer, assets
from support.fake_api import FakeApi
from support.kubedr_world import World

FAST = ClientSettings(qps=0, request_timeout=15.0, connect_timeout=5.0)


@pytest.fixture
async def fake() -> AsyncIterator[FakeApi]:
    async with FakeApi() as server:
        yield server


@pytest.fixture
async def world(fake: FakeApi) -> AsyncIterator[World]:
    async with Client(Transport(fake.connection(), FAST)) as client:
        yield World(client, "kubedr-system")


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    programs = assets()
    if programs is None:
        pytest.skip("no kube-apiserver: set KUBEBUILDER_ASSETS")
    with ApiServer(tmp_path_factory.mktemp("apiserver"), programs) as server:
        yield server
