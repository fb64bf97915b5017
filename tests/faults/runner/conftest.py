"""Pods to harm: a repository each, copied from one that is made once."""

from pathlib import Path

import pytest

from support.etcd import EtcdServer
from support.local_runner import LocalPod, copied_pod, new_repository


@pytest.fixture(scope="session")
def empty_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository without snapshots."""
    return new_repository(tmp_path_factory.mktemp("repository-template"))


@pytest.fixture
def pod(tmp_path: Path, etcd_server: EtcdServer, empty_repository: Path) -> LocalPod:
    """Return a pod with an empty repository of its own."""
    etcd_server.put("/registry/configmaps/default/faults", "value")
    return copied_pod(tmp_path, etcd_server, empty_repository)
