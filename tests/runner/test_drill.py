"""A drill proves that a backup comes back, by starting an etcd on it."""

import stat
from pathlib import Path

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import EXIT_CODES, Env, Operation
from support.runner import RunnerPod, program_path

pytestmark = pytest.mark.storage


@pytest.fixture(scope="module")
def snapshot_id(shared_pod: RunnerPod) -> str:
    return shared_pod.done(Operation.BACKUP).snapshot_id


def with_etcd(directory: Path, script: str) -> str:
    """Return a PATH on which etcd is this shell script."""
    directory.mkdir()
    fake = directory / "etcd"
    fake.write_text(f"#!/bin/sh\ncase $1 in --version) echo 'etcd Version: 3.5.16'; exit;; esac\n{script}\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    return f"{directory}:{program_path()}"


def test_a_backup_is_brought_back_into_a_running_etcd(shared_pod: RunnerPod, snapshot_id: str) -> None:
    ended = shared_pod.done(Operation.DRILL, {Env.SNAPSHOT_ID: snapshot_id})
    drill = ended.result.drill
    assert drill is not None
    assert (drill.snapshot_id, drill.revision > 0) == (snapshot_id, True)
    assert 0 < drill.recovery_duration_secs < ended.seconds
    assert "is that of the member that was backed up" in ended.log
    assert "It takes writes" in ended.log
    assert list(shared_pod.scratch.iterdir()) == [], "what it brought back is gone again"


def test_an_etcd_that_does_not_run_on_it_is_a_failed_drill(
    shared_pod: RunnerPod, snapshot_id: str, tmp_path: Path
) -> None:
    path = with_etcd(tmp_path / "bin", "echo 'panic: no leader of men' >&2; exit 7")
    ended = shared_pod.run(Operation.DRILL, {Env.SNAPSHOT_ID: snapshot_id, "PATH": path})
    assert (ended.result.reason, ended.exit_code) == (Reason.DRILL_FAILED, EXIT_CODES[Reason.DRILL_FAILED])
    assert "etcd 3.5.16 did not run on it: panic: no leader of men" in ended.result.message
    assert "Starting etcd 3.5.16 on it; it was backed up from etcd 3." in ended.log
    assert list(shared_pod.scratch.iterdir()) == []


def test_an_etcd_that_holds_something_else_is_a_failed_drill(
    shared_pod: RunnerPod, snapshot_id: str, tmp_path: Path
) -> None:
    # An empty data directory in place of the one that was restored.
    script = (
        'for word; do case $word in --data-dir=*) ;; *) set -- "$@" "$word";; esac; shift; done; '
        'exec "$(PATH=${PATH#*:} command -v etcd)" "$@" --data-dir=other'
    )
    path = with_etcd(tmp_path / "bin", script)
    ended = shared_pod.run(Operation.DRILL, {Env.SNAPSHOT_ID: snapshot_id, "PATH": path})
    assert ended.result.reason == Reason.DRILL_FAILED
    assert "the etcd is at revision 1, and the snapshot at" in ended.result.message


def test_a_snapshot_that_is_not_there_is_named(shared_pod: RunnerPod) -> None:
    ended = shared_pod.run(Operation.DRILL, {Env.SNAPSHOT_ID: "0" * 64})
    assert ended.result.reason == Reason.SNAPSHOT_NOT_FOUND
