"""The APIs that the executor is tried on: the embedded one, and a real kube-apiserver where there is one."""

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from kubedr_server.kube.client import Client
from kubedr_server.kube.resources import CRONJOBS, NAMESPACES
from kubedr_server.local.api.server import LocalAPI
from kubedr_server.local.executor.logs import PodLogs
from support.apiserver import ApiServer, assets
from support.executor import UNLIMITED, executor_on

APIS = ["embedded", *(["kube-apiserver"] if assets() else [])]


@pytest.fixture(scope="session")
def real_kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    programs = assets()
    assert programs is not None
    with ApiServer(tmp_path_factory.mktemp("apiserver"), programs) as server:
        yield server.kubeconfig


@pytest.fixture(params=APIS)
async def kubeconfig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Path]:
    if request.param == "kube-apiserver":
        yield request.getfixturevalue("real_kubeconfig")
        return
    async with LocalAPI(tmp_path / "api") as api:
        yield api.kubeconfig


@pytest.fixture
async def client(kubeconfig: Path) -> AsyncIterator[Client]:
    async with await Client.from_kubeconfig(kubeconfig, settings=UNLIMITED) as client:
        yield client


@pytest.fixture
async def namespace(client: Client) -> AsyncIterator[str]:
    name = f"test-{uuid.uuid4().hex[:12]}"
    await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    for cronjob in (await client.list(CRONJOBS, name)).items:
        await client.delete(CRONJOBS, name, cronjob["metadata"]["name"])


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
async def logs(kubeconfig: Path, state_dir: Path) -> AsyncIterator[PodLogs]:
    """Run an executor."""
    async with executor_on(kubeconfig, state_dir) as logs:
        yield logs
