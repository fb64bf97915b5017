"""Runs that are killed, stopped or lied to: what is no backup never counts as one, nothing stays locked."""

import os
import time
from pathlib import Path

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import EXIT_CODES, Env, Operation
from support.etcd import EtcdServer
from support.runner import RunnerPod
from support.tools import program

pytestmark = [pytest.mark.storage, pytest.mark.fault]


@pytest.fixture
def busy_pod(pod: RunnerPod) -> RunnerPod:
    """Return a pod with a repository, and enough to store that it takes a while."""
    pod.done(Operation.INIT)
    (pod.certificates / "large").write_bytes(os.urandom(160 * 1024 * 1024))
    return pod


def wait_for_lock(pod: RunnerPod) -> None:
    """Wait until restic has its lock: it is at work then."""
    end = time.monotonic() + 20
    while not pod.locks():
        assert time.monotonic() < end, "restic took no lock"
        time.sleep(0.05)


def test_a_backup_that_is_killed_while_storing_leaves_the_repository_usable(
    busy_pod: RunnerPod, etcd_server: EtcdServer
) -> None:
    etcd_server.put("killed", "value")
    running = busy_pod.start(Operation.BACKUP)
    running.wait_for("Storing in the repository")
    wait_for_lock(busy_pod)
    running.kill_all()
    assert busy_pod.locks(), "it was not killed in the middle"
    assert busy_pod.snapshots() == []

    (busy_pod.certificates / "large").unlink()
    backup = busy_pod.done(Operation.BACKUP)
    restored = busy_pod.done(Operation.RESTORE, {Env.SNAPSHOT_ID: backup.snapshot_id})
    assert restored.result.restore is not None
    assert [item["id"] for item in busy_pod.snapshots()] == [backup.snapshot_id]


def test_a_stopped_backup_removes_its_lock_and_its_files_and_says_so(
    busy_pod: RunnerPod, etcd_server: EtcdServer
) -> None:
    etcd_server.put("stopped", "value")
    running = busy_pod.start(Operation.BACKUP)
    running.wait_for("Storing in the repository")
    wait_for_lock(busy_pod)
    running.process.terminate()
    ended = running.end(30)
    assert ended.result.reason is Reason.CANCELLED
    assert ended.exit_code == EXIT_CODES[Reason.CANCELLED]
    assert ended.result.message == "The run was stopped by SIGTERM before it was done."
    assert busy_pod.locks() == []
    assert running.children() == []
    assert list(busy_pod.scratch.iterdir()) == []


def test_a_run_that_was_killed_before_it_reported_finds_its_own_snapshot(
    pod: RunnerPod, etcd_server: EtcdServer
) -> None:
    etcd_server.put("adopted", "value")
    pod.done(Operation.INIT)
    same_run: dict[str, str | None] = {Env.RUN_ID: "11111111-run"}
    first = pod.done(Operation.BACKUP, same_run)
    # Not even etcd is needed to tell what is already stored and proven.
    again = pod.done(Operation.BACKUP, {**same_run, Env.ETCD_ENDPOINTS: "https://127.0.0.1:1"})
    assert again.result.message.startswith("Found the snapshot that this run had already stored")
    assert first.result.backup is not None
    assert again.result.backup is not None
    unlike = {"total_duration_secs"}
    assert again.result.backup.model_dump(exclude=unlike) == first.result.backup.model_dump(exclude=unlike)
    assert len(pod.snapshots()) == 1


def test_an_incomplete_snapshot_of_the_same_run_is_not_taken_for_a_backup(
    pod: RunnerPod, etcd_server: EtcdServer, tmp_path: Path
) -> None:
    etcd_server.put("incomplete", "value")
    pod.done(Operation.INIT)
    same_run: dict[str, str | None] = {Env.RUN_ID: "22222222-run"}
    first = pod.done(Operation.BACKUP, same_run)
    tags = next(item["tags"] for item in pod.snapshots())
    pod.restic("forget", first.snapshot_id)
    half = tmp_path / "half"
    half.mkdir()
    (half / "etcd-snapshot.db").write_bytes(b"cut")
    pod.restic("backup", *(f"--tag={tag}" for tag in tags), str(half))
    again = pod.done(Operation.BACKUP, same_run)
    assert any("incomplete" in warning for warning in again.result.warnings)
    assert [item["id"] for item in pod.snapshots()] == [again.snapshot_id]


def test_restics_exit_code_3_is_a_failure_and_its_snapshot_is_forgotten(
    pod: RunnerPod, etcd_server: EtcdServer, tmp_path: Path
) -> None:
    etcd_server.put("exit", "3")
    pod.done(Operation.INIT)
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "restic").write_text(
        f'#!/bin/sh\n"{program("restic")}" "$@" || exit\ncase "$*" in *" backup "*) exit 3;; esac\n'
    )
    (folder / "restic").chmod(0o755)
    ended = pod.run(Operation.BACKUP, {"PATH": f"{folder}:{pod.settings['PATH']}"})
    assert ended.result.reason is Reason.BACKUP_INCOMPLETE, ended.log
    assert ended.exit_code == EXIT_CODES[Reason.BACKUP_INCOMPLETE]
    assert pod.snapshots() == []
    pod.done(Operation.BACKUP)


def test_the_deadline_ends_a_run_and_is_named(busy_pod: RunnerPod, etcd_server: EtcdServer) -> None:
    etcd_server.put("deadline", "value")
    ended = busy_pod.run(Operation.BACKUP, {Env.DEADLINE_SECONDS: "2"})
    assert ended.result.reason is Reason.DEADLINE_EXCEEDED
    assert ended.exit_code == EXIT_CODES[Reason.DEADLINE_EXCEEDED]
    assert "within its 2 seconds" in ended.result.message
    assert busy_pod.locks() == []


def test_a_restore_that_is_killed_leaves_nothing_that_looks_whole_and_can_be_tried_again(
    busy_pod: RunnerPod, etcd_server: EtcdServer
) -> None:
    etcd_server.put("restore", "killed")
    backup = busy_pod.done(Operation.BACKUP)
    snapshot: dict[str, str | None] = {Env.SNAPSHOT_ID: backup.snapshot_id}
    running = busy_pod.start(Operation.RESTORE, snapshot)
    running.wait_for("Restoring snapshot")
    time.sleep(0.9)
    running.kill_all()
    assert [path.name for path in busy_pod.target.iterdir()] == [".kubedr-restore-partial"]
    (busy_pod.target / "lost+found").mkdir()

    again = busy_pod.done(Operation.RESTORE, snapshot)
    assert "Removed what an interrupted restore had left" in again.log
    assert sorted(path.name for path in busy_pod.target.iterdir()) == [
        "certificates",
        "etcd-snapshot.db",
        "lost+found",
        "recovery",
    ]
    third = busy_pod.run(Operation.RESTORE, snapshot)
    assert third.result.reason is Reason.TARGET_NOT_EMPTY
    assert "already holds files (such as 'certificates')" in third.result.message


def test_a_damaged_pack_never_becomes_a_restored_file(pod: RunnerPod, etcd_server: EtcdServer) -> None:
    etcd_server.put("damaged", os.urandom(200_000))
    pod.done(Operation.INIT)
    backup = pod.done(Operation.BACKUP)
    for key in pod.s3.objects(pod.bucket, f"{pod.prefix}/data/"):
        body = bytearray(pod.s3.get_object(pod.bucket, key))
        if len(body) > 100_000:
            body[50_000] ^= 1
            pod.s3.put_object(pod.bucket, key, bytes(body))
    ended = pod.run(Operation.RESTORE, {Env.SNAPSHOT_ID: backup.snapshot_id})
    assert ended.exit_code != 0
    assert ended.result.reason is Reason.REPOSITORY_FAILED, ended.log
    assert list(pod.target.iterdir()) == []


def test_the_log_tells_each_step(shared_pod: RunnerPod) -> None:
    log = shared_pod.done(Operation.BACKUP).log
    # The repository is opened while etcd is asked.
    for steps in (
        ["Asking the storage", "Opened the repository", "Storing in"],
        ["Backing up from", "Scratch space:", "Copied 2", "Proven:", "Counted", "Storing in"],
    ):
        positions = [log.index(step) for step in steps]
        assert positions == sorted(positions)
