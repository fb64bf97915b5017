"""A world for the commands that talk to a cluster: an API server that misbehaves when told to."""

from collections.abc import AsyncIterator

import pytest

from kubedr_server.kube.client import Client
from kubedr_server.kube.transport import ClientSettings, Transport
from support.fake_api import FakeApi
from support.kubedr_world import World


@pytest.fixture
async def fake() -> AsyncIterator[FakeApi]:
    async with FakeApi() as server:
        yield server


@pytest.fixture
async def world(fake: FakeApi) -> AsyncIterator[World]:
    settings = ClientSettings(qps=0, request_timeout=15.0, connect_timeout=5.0)
    async with Client(Transport(fake.connection(), settings)) as client:
        yield World(client, "kubedr-system")
