"""`make demo` shows the main job and leaves nothing behind, whichever way it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.tools import REPOSITORY_ROOT, program

pytestmark = [pytest.mark.storage, pytest.mark.slow, pytest.mark.timeout(300)]


def _demo(directory: Path, *arguments: str) -> list[str]:
    argv = [sys.executable, "-m", "kubedr_server.local.demo", *arguments, "--dir", str(directory)]
    if "stop" not in arguments:
        argv += ["--tools", str(REPOSITORY_ROOT / ".tools"), "--objects", "500"]
    return argv


def _environment() -> dict[str, str]:
    folders = [str(program(name).parent) for name in ("etcd", "restic", "kubectl", "weed")]
    return {**os.environ, "PATH": os.pathsep.join([*folders, os.environ["PATH"]])}


def _processes(directory: Path) -> list[str]:
    """Return the command lines of the processes that work in a directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has ended meanwhile
        if str(directory) in words:
            found.append(words)
    return found


def _assert_nothing_runs(directory: Path) -> None:
    """Assert that all has ended, or is about to: what was killed takes a moment to be gone."""
    deadline = time.monotonic() + 60
    while found := _processes(directory):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_the_demo_proves_every_key_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        _demo(tmp_path), check=False, capture_output=True, text=True, env=_environment(), timeout=250
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert 'is invalid: spec.schedule: Invalid value: "0 25 * * *"' in done.stdout
    table = done.stdout.rpartition("What was proven")[2]
    assert "keys and 5 certificate files equal" in table
    _assert_nothing_runs(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_demo_that_is_interrupted_leaves_no_process(tmp_path: Path) -> None:
    with subprocess.Popen(
        _demo(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=_environment()
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "Say where backups go" in line:
                break
        assert len(_processes(tmp_path)) >= 4  # the demo itself, etcd, the S3 server, local mode
        demo.send_signal(signal.SIGINT)
        rest = demo.stdout.read()
    assert demo.returncode == 130, rest
    assert "Nothing is left running" in rest
    _assert_nothing_runs(tmp_path)


def test_a_demo_that_is_kept_runs_on_until_it_is_ended(tmp_path: Path) -> None:
    done = subprocess.run(
        _demo(tmp_path, "--keep"),
        check=False,
        capture_output=True,
        text=True,
        env=_environment(),
        timeout=250,
    )
    try:
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        assert "make demo-stop" in done.stdout
        kubeconfig = tmp_path / "run" / "local" / "kubeconfig"
        argv = [str(program("kubectl")), "--kubeconfig", str(kubeconfig)]
        argv += ["create", "job", "--from=cronjob/demo-backup-cronjob", "another"]
        subprocess.run(argv, check=True, capture_output=True, timeout=60)
        argv[3:] = ["wait", "--for=condition=Complete", "job/another", "--timeout=100s"]
        subprocess.run(argv, check=True, capture_output=True, timeout=110)
    finally:
        subprocess.run(_demo(tmp_path, "stop"), check=True, capture_output=True, timeout=100)
    _assert_nothing_runs(tmp_path)
