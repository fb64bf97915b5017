"""Servers that tests ask for. Those that are costly are started once for each worker, and shared."""

import os
import tempfile
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from kubedr_server.admission import large
from kubedr_server.kube.client import Client
from kubedr_server.kube.transport import Transport
from kubedr_server.local.demo import ports
from support.clusters import Cluster, running_cluster
from support.etcd import EtcdServer
from support.fake_api import FAST, FakeApi
from support.kubedr_world import World
from support.s3 import S3Server

# How long an example takes says more of the machine than of the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep temporary files among the tests' own: kubernetes-asyncio leaves a kubeconfig's keys in some."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("temporary")))
        patch.setattr(tempfile, "tempdir", None)
        yield


@pytest.fixture(scope="session", autouse=True)
def ports_of_this_worker() -> Iterator[None]:
    """Look for free ports where no other worker does: a port is not held until its server has begun."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    shares = min(int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")), 4)
    share = (ports.LAST - ports.FIRST) // shares
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ports, "FIRST", ports.FIRST + number % shares * share)
        patch.setattr(ports, "LAST", ports.FIRST + share)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_idle_reader() -> Iterator[None]:
    """Let the process that reads large reviews have its turn.

    It is idle by policy. That is for a pod, which has a share of the processors of its own; on a machine
    that tests keep busy it would stand still for minutes.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large, "_give_way", lambda _pid: None)
        yield


@pytest.fixture(scope="session")
def etcd_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """Start an etcd with TLS. Use keys of your own; start one of your own to harm it."""
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Start an S3 server over http. Use a bucket of your own; start one of your own to harm it."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def s3_tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Start an S3 server over https; its authority's certificate is `.ca_file`."""
    with S3Server(tmp_path_factory.mktemp("s3-tls"), tls=True) as server:
        yield server


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Start local mode or, where one is set up, a real kube-apiserver. Use a namespace of your own."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
async def fake() -> AsyncIterator[FakeApi]:
    """Start an API server that misbehaves when told to, for this test alone."""
    async with FakeApi() as server:
        yield server


@pytest.fixture
async def world(fake: FakeApi) -> AsyncIterator[World]:
    """Make a namespace of the fake API server, in which a test does Kubernetes' part."""
    async with Client(Transport(fake.connection(), FAST)) as client:
        yield World(client, "kubedr-system")
