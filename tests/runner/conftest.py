"""Pods to run in tests: one repository each, on the shared servers."""

import uuid
from pathlib import Path

import pytest

from kubedr_server.contract import Operation
from support.etcd import EtcdServer
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
    made.done(Operation.INIT)
    return made
