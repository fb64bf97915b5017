"""Pods to run in tests: one repository each, on the shared servers."""

import uuid
from pathlib import Path

import pytest

from support.etcd import EtcdServer
from support.local_runner import LocalPod, copied_pod, new_repository
from support.runner import RunnerPod
from support.s3 import S3Server


@pytest.fixture
def pod(tmp_path: Path, s3_server: S3Server, etcd_server: EtcdServer) -> RunnerPod:
    """Return a pod whose bucket does not exist yet."""
    return RunnerPod(tmp_path, s3_server, etcd_server, f"bucket-{uuid.uuid4().hex[:12]}")


@pytest.fixture(scope="module")
def shared_pod(
    tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server, etcd_server: EtcdServer
) -> RunnerPod:
    """Return a pod with a repository that a module's tests share: change nothing in it."""
    etcd_server.put("shared", "value")
    made = RunnerPod(
        tmp_path_factory.mktemp("shared-pod"), s3_server, etcd_server, f"bucket-{uuid.uuid4().hex[:12]}"
    )
    made.plant()
    return made


@pytest.fixture(scope="session")
def empty_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository without snapshots, in a directory."""
    return new_repository(tmp_path_factory.mktemp("repository-template"))


@pytest.fixture
def local_pod(tmp_path: Path, etcd_server: EtcdServer, empty_repository: Path) -> LocalPod:
    """Return a pod with an empty repository in a directory of its own."""
    return copied_pod(tmp_path, etcd_server, empty_repository)
