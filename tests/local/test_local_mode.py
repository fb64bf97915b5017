"""`kubedr local` as a person uses it: started, looked at, killed, started again."""

import contextlib
import json
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kubedr_server.cli.local_run import IMAGE
from kubedr_server.local.executor.process import ProcessId
from support.executor import job, pod_spec
from support.kubectl import Kubectl

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

KUBEDR = [sys.executable, "-m", "kubedr_server", "local"]


def kubedr(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*KUBEDR, *map(str, arguments)], check=False, capture_output=True, text=True, timeout=60
    )


@contextlib.contextmanager
def started(state: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `kubedr local start` until the block ends."""
    log = state.with_suffix(".log")
    with log.open("ab") as output:
        running = subprocess.Popen(
            [*KUBEDR, "start", "--state-dir", str(state), *arguments], stdout=output, stderr=output
        )
    try:
        eventually(lambda: running.poll() is not None or told(state).get("ready") is True)
        assert running.poll() is None, log.read_text()
        yield running
    finally:
        if running.poll() is None:
            running.terminate()
        try:
            running.wait(timeout=60)
        finally:
            running.kill()
            running.wait()


def told(state: Path) -> dict[str, Any]:
    with contextlib.suppress(FileNotFoundError):
        found: dict[str, Any] = json.loads((state / "running.json").read_text())
        if Path(f"/proc/{found['process']['pid']}").exists():
            return found
    return {}


def eventually(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail("it did not happen in time")
        time.sleep(0.05)
    return found


def our_pod_spec(*command: str, **more: Any) -> dict[str, Any]:
    return pod_spec(*command, container={"image": IMAGE}, **more)


def pods_of(kubectl: Kubectl, name: str) -> list[dict[str, Any]]:
    selector = f"batch.kubernetes.io/job-name={name}"
    items: list[dict[str, Any]] = json.loads(kubectl("get", "pods", "-l", selector, "-o", "json"))["items"]
    return items


def test_it_is_started_used_looked_at_and_stopped(tmp_path: Path) -> None:
    state, copy = tmp_path / "state", tmp_path / "copy.kubeconfig"
    assert kubedr("status", "--state-dir", state).returncode == 3
    assert "start local mode" in kubedr("kubeconfig", "--state-dir", state).stderr
    with started(state, "--kubeconfig-out", str(copy)) as running:
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        assert stat.S_IMODE((state / "kubeconfig").stat().st_mode) == 0o600
        assert copy.read_text() == (state / "kubeconfig").read_text()
        assert kubedr("kubeconfig", "--state-dir", state).stdout == f"{state / 'kubeconfig'}\n"

        seen = kubedr("status", "--state-dir", state)
        assert (seen.returncode, str(running.pid) in seen.stdout) == (0, True)
        again = kubedr("start", "--state-dir", state)
        assert again.returncode == 1
        assert f"as process {running.pid}" in again.stderr

        kubectl = Kubectl(state / "kubeconfig")
        assert "kubedr-local" in kubectl("get", "nodes")
        assert "kubedr-system" in kubectl("get", "namespaces")
        kubectl.apply(job("default", "version", our_pod_spec("kubedr", "--version")))
        kubectl.wait("condition=Complete", "job/version")
        assert kubectl("logs", "job/version").startswith("kubedr, version ")
        # The webhooks are at work: the API asks them.
        policy = {
            "apiVersion": "kubedr.catalogicsoftware.com/v1alpha1",
            "kind": "MetadataBackupPolicy",
            "metadata": {"name": "wrong", "namespace": "default"},
            "spec": {"destination": "nowhere", "schedule": "every day"},
        }
        assert "spec.schedule: Invalid value" in kubectl.refusal(policy)

        assert kubedr("stop", "--state-dir", state).returncode == 0
        assert running.wait(timeout=60) == 0
    assert "does not run" in kubedr("stop", "--state-dir", state).stdout
    assert "export KUBECONFIG=" in state.with_suffix(".log").read_text()


def test_after_sigkill_nothing_is_lost_and_nothing_runs_twice(tmp_path: Path) -> None:
    state, trace = tmp_path / "state", tmp_path / "trace"
    spec = our_pod_spec("sh", "-c", f"echo $$$$ >> {trace}; exec sleep 600", terminationGracePeriodSeconds=1)
    with started(state, "--no-server") as running:
        kubectl = Kubectl(state / "kubeconfig")
        kubectl.apply(job("default", "cut", spec))
        eventually(lambda: [p for p in pods_of(kubectl, "cut") if p["status"].get("phase") == "Running"])
        kubeconfig = (state / "kubeconfig").read_text()
        eventually(lambda: trace.exists() and trace.read_text().endswith("\n"))
        running.kill()
        running.wait()
    [process] = [int(line) for line in trace.read_text().split()]
    assert ProcessId.of(process) is not None  # it survived: that is what the next start has to deal with

    with started(state, "--no-server"):
        assert (state / "kubeconfig").read_text() == kubeconfig, "a kubeconfig stays valid"
        kubectl = Kubectl(state / "kubeconfig")
        kubectl.wait("condition=Failed", "job/cut")
        [pod] = pods_of(kubectl, "cut")
        assert (pod["status"]["phase"], pod["status"]["reason"]) == ("Failed", "NodeLost")
        assert "its process was still running and was ended" in pod["status"]["message"]
        assert ProcessId.of(process) is None
        assert len(trace.read_text().split()) == 1
        assert not list((state / "pods").iterdir())


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = kubedr("start", "--state-dir", tmp_path, "--port", str(port))
    assert refused.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in refused.stderr
    assert not told(tmp_path)
