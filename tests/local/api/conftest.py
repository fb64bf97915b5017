"""The API under test, over the network as its clients see it; and a real kube-apiserver where there is one.

Tests that take `server` say what the real server answers; they run on both.
"""

import asyncio
import contextlib
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubedr_server.local.api.faults import Faults
from kubedr_server.local.api.server import LocalAPI
from support.api_requests import Requests, Server
from support.apiserver import ApiServer, assets
from support.kubectl import Kubectl

APIS = ["embedded", *(["kube-apiserver"] if assets() else [])]


@contextlib.contextmanager
def served(directory: Path, faults: Faults | None = None) -> Iterator[Server]:
    """Run the API in a thread of its own, so that tests may block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    api = LocalAPI(directory, faults=faults)
    try:
        asyncio.run_coroutine_threadsafe(api.__aenter__(), loop).result(60)
        with Requests.of(api.kubeconfig) as requests:
            yield Server(api.kubeconfig, requests, embedded=api)
    finally:
        asyncio.run_coroutine_threadsafe(api.__aexit__(None, None, None), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run the embedded API, which tests share: use a namespace of your own."""
    with served(tmp_path_factory.mktemp("api")) as server:
        yield server


@pytest.fixture(scope="session", params=APIS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run the embedded API and, where there is one, a real kube-apiserver."""
    if request.param == "embedded":
        yield request.getfixturevalue("embedded")
        return
    programs = assets()
    assert programs is not None
    with (
        ApiServer(tmp_path_factory.mktemp("apiserver"), programs) as real,
        Requests.of(real.kubeconfig) as requests,
    ):
        yield Server(real.kubeconfig, requests, embedded=None)


@pytest.fixture
def requests(server: Server) -> Requests:
    """Return what sends raw requests to the server."""
    return server.requests


@pytest.fixture
def namespace(server: Server) -> str:
    """Make a namespace of the test's own."""
    return server.requests.new_namespace(f"test-{uuid.uuid4().hex[:10]}")


@pytest.fixture
def kubectl(server: Server, namespace: str) -> Kubectl:
    """Kubectl in the test's namespace."""
    return Kubectl(server.kubeconfig, namespace)
