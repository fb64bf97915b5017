"""API servers for the client's tests: a real one where this machine has it, and one that misbehaves."""

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from kubedr_server.kube.client import Client
from kubedr_server.kube.resources import NAMESPACES
from kubedr_server.kube.transport import Transport
from support.apiserver import ApiServer, assets
from support.fake_api import FAST, FakeApi


@pytest.fixture(scope="session")
def real_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer | None]:
    programs = assets()
    if programs is None:
        yield None
        return
    with ApiServer(tmp_path_factory.mktemp("apiserver"), programs) as server:
        yield server


@pytest.fixture
async def fake_client(fake: FakeApi) -> AsyncIterator[Client]:
    async with Client(Transport(fake.connection(), FAST)) as client:
        yield client


@pytest.fixture
async def client(real_api: ApiServer | None) -> AsyncIterator[Client]:
    """Connect to a real API server, or of the fake where there is none."""
    if real_api is not None:
        async with await Client.from_kubeconfig(real_api.kubeconfig, settings=FAST) as client:
            yield client
    else:
        async with FakeApi() as server, Client(Transport(server.connection(), FAST)) as client:
            yield client


@pytest.fixture
async def namespace(client: Client) -> str:
    """Make a new namespace."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name
