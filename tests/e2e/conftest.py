"""What the end-to-end tests stand on."""

import itertools
from collections.abc import Callable, Iterator

import pytest

from support.clusters import Cluster
from support.etcd import EtcdServer
from support.kubectl import Kubectl
from support.protection import Protection
from support.s3 import S3Server

_numbers = itertools.count(1)


@pytest.fixture
def kubectl(cluster: Cluster) -> Kubectl:
    """Run kubectl in a new namespace."""
    return cluster.new_namespace("e2e")


@pytest.fixture(scope="session")
def filled_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """Start an etcd with some hundred keys, which no test changes."""
    with EtcdServer(tmp_path_factory.mktemp("filled-etcd")) as server:
        with server.client() as client:
            for _ in range(2):  # each key twice, so that versions and revisions differ
                client.put_all(
                    (f"/registry/configmaps/{number:04}", f"value {number}") for number in range(300)
                )
            client.delete("/registry/configmaps/0007")
        yield server


@pytest.fixture
def protection(filled_etcd: EtcdServer, s3_server: S3Server) -> Callable[..., Protection]:
    """Build the objects that protect the filled etcd, with a bucket of their own."""

    def build(s3: S3Server = s3_server) -> Protection:
        return Protection(filled_etcd, s3, f"bucket-{next(_numbers)}")

    return build
