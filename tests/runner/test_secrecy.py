"""Secrets stay in their files: canaries are looked for wherever a run leaves a trace."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kubedr_server.contract import Env, Operation
from support.etcd import EtcdServer
from support.runner import PASSWORD, RunnerPod
from support.s3 import Identity, S3Server

pytestmark = pytest.mark.storage

# Characters that an INI reader, a shell or a URL would take for their own.
SECRET = "canary;#\"'\\ $x=%2F+/key"


@pytest.fixture
def canary_pod(tmp_path: Path, etcd_server: EtcdServer) -> Iterator[RunnerPod]:
    """Return a pod whose secrets are canaries; each child's arguments and environment are recorded."""
    identity = Identity("canary", "CANARYACCESS", SECRET)
    with S3Server(tmp_path / "s3", identities=(identity,)) as server:
        pod = RunnerPod(tmp_path / "pod", server, etcd_server, "canaries")
        spies = tmp_path / "spies"
        spies.mkdir()
        real = pod.settings["PATH"]
        for name in ("restic", "etcdctl", "etcdutl"):
            spy = spies / name
            spy.write_text(
                f'#!/bin/sh\n{{ printf "%s\\n" "$0 $*"; env; }} >> {tmp_path}/children\n'
                f'PATH="{real}" exec {name} "$@"\n'
            )
            spy.chmod(0o755)
        pod.settings["PATH"] = f"{spies}:{real}"
        # What a pod may have by accident must decide nothing, and reach no child.
        pod.settings |= {
            "AWS_ACCESS_KEY_ID": "stray",
            "AWS_SECRET_ACCESS_KEY": "stray-secret",
            "AWS_PROFILE": "no-such-profile",
            "MINIO_ROOT_USER": "stray",
            "RESTIC_PASSWORD": "stray-password",
        }
        yield pod


def test_canary_secrets_leave_no_trace(
    canary_pod: RunnerPod, etcd_server: EtcdServer, tmp_path: Path
) -> None:
    etcd_server.put("canary", "value")
    logs = [canary_pod.done(Operation.INIT)]
    backup = canary_pod.done(Operation.BACKUP)
    logs.append(backup)
    logs.append(canary_pod.done(Operation.RESTORE, {Env.SNAPSHOT_ID: backup.snapshot_id}))
    logs.append(canary_pod.done(Operation.FORGET, {Env.SNAPSHOT_ID: backup.snapshot_id}))
    (canary_pod.credentials / "restic_repo_password").write_text("canary-wrong-password")
    logs.append(canary_pod.run(Operation.INIT))
    (canary_pod.credentials / "secret_key").write_text("canary-wrong-secret")
    logs.append(canary_pod.run(Operation.INIT))
    (canary_pod.credentials / "access_key").write_text("canary-wrong-access")
    logs.append(canary_pod.run(Operation.INIT))

    children = (tmp_path / "children").read_text()
    assert "snapshot save" in children
    assert "RESTIC_PASSWORD_FILE" in children
    told = "\n".join(ended.log + ended.result.to_termination_message().decode() for ended in logs)
    for secret in (SECRET, PASSWORD, "CANARYACCESS", "canary-wrong", "stray"):
        assert secret not in told, secret
        assert secret not in children, secret
    assert list(canary_pod.scratch.iterdir()) == []
