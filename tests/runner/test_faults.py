"""Runs that are killed, stopped or lied to: what is no backup never counts as one, nothing stays locked."""

import os
import time
import uuid
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import EXIT_CODES, Env, Operation
from support.etcd import EtcdServer
from support.local_runner import LocalPod, wrapped
from support.runner import RunnerPod, program_path
from support.s3 import S3Server

pytestmark = [pytest.mark.storage, pytest.mark.fault]


@pytest.fixture(scope="module")
def slow_pod(
    tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server, etcd_server: EtcdServer
) -> RunnerPod:
    """Return a pod with a repository to which a backup takes a minute."""
    etcd_server.put("slow", "value")
    directory = tmp_path_factory.mktemp("slow-pod")
    pod = RunnerPod(directory / "pod", s3_server, etcd_server, f"bucket-{uuid.uuid4().hex[:12]}")
    pod.done(Operation.INIT)
    (pod.certificates / "large").write_bytes(os.urandom(8 * 1024 * 1024))
    pod.settings["PATH"] = wrapped(
        directory / "programs",
        "restic",
        'case " $* " in *" backup "*) exec "$program" --limit-upload=128 "$@";; esac; real "$@"',
    )
    return pod


def wait_for_lock(pod: RunnerPod, before: AbstractSet[str] = frozenset()) -> None:
    """Wait until restic has a lock that was not there before: it is at work then."""
    end = time.monotonic() + 60
    while set(pod.locks()) <= before:
        assert time.monotonic() < end, "restic took no lock"
        time.sleep(0.05)


def stored_by(pod: RunnerPod, run: Mapping[str, str | None]) -> list[str]:
    """Return the ids of a run's snapshots."""
    return [item["id"] for item in pod.snapshots() if f"run={run[Env.RUN_ID]}" in item["tags"]]


def test_a_backup_that_is_killed_while_storing_leaves_the_repository_usable(slow_pod: RunnerPod) -> None:
    run: dict[str, str | None] = {Env.RUN_ID: "00000000-killed"}
    with slow_pod.start(Operation.BACKUP, run) as running:
        running.wait_for("Storing in the repository")
        wait_for_lock(slow_pod)
        running.kill_all()
    assert slow_pod.locks(), "it was not killed in the middle"
    assert stored_by(slow_pod, run) == []

    (slow_pod.certificates / "large").rename(slow_pod.directory / "large")
    try:
        backup = slow_pod.done(Operation.BACKUP, {**run, "PATH": program_path()})
    finally:
        (slow_pod.directory / "large").rename(slow_pod.certificates / "large")
    assert stored_by(slow_pod, run) == [backup.snapshot_id]


def test_a_stopped_backup_removes_its_lock_and_its_files_and_says_so(slow_pod: RunnerPod) -> None:
    before = set(slow_pod.locks())
    with slow_pod.start(Operation.BACKUP) as running:
        running.wait_for("Storing in the repository")
        wait_for_lock(slow_pod, before)
        running.process.terminate()
        ended = running.end()
    assert ended.result.reason is Reason.CANCELLED
    assert ended.exit_code == EXIT_CODES[Reason.CANCELLED]
    assert ended.result.message == "The run was stopped by SIGTERM before it was done."
    assert set(slow_pod.locks()) <= before
    assert running.children() == []
    assert list(slow_pod.scratch.iterdir()) == []


def test_the_deadline_ends_a_run_and_is_named(slow_pod: RunnerPod) -> None:
    before = set(slow_pod.locks())
    ended = slow_pod.run(Operation.BACKUP, {Env.DEADLINE_SECONDS: "3"})
    assert ended.result.reason is Reason.DEADLINE_EXCEEDED
    assert ended.exit_code == EXIT_CODES[Reason.DEADLINE_EXCEEDED]
    assert "within its 3 seconds" in ended.result.message
    assert set(slow_pod.locks()) <= before


def test_a_run_that_was_killed_before_it_reported_finds_its_own_snapshot(
    local_pod: LocalPod, etcd_server: EtcdServer
) -> None:
    etcd_server.put("adopted", "value")
    same_run: dict[str, str | None] = {Env.RUN_ID: "11111111-run"}
    first = local_pod.done_here(Operation.BACKUP, same_run)
    # Not even etcd is needed to tell what is already stored and proven.
    again = local_pod.done_here(Operation.BACKUP, {**same_run, Env.ETCD_ENDPOINTS: "https://127.0.0.1:1"})
    assert again.result.message.startswith("Found the snapshot that this run had already stored")
    assert first.result.backup is not None
    assert again.result.backup is not None
    unlike = {"total_duration_secs"}
    assert again.result.backup.model_dump(exclude=unlike) == first.result.backup.model_dump(exclude=unlike)
    assert len(local_pod.snapshots()) == 1


def test_an_incomplete_snapshot_of_the_same_run_is_not_taken_for_a_backup(
    local_pod: LocalPod, etcd_server: EtcdServer, tmp_path: Path
) -> None:
    etcd_server.put("incomplete", "value")
    same_run: dict[str, str | None] = {Env.RUN_ID: "22222222-run"}
    first = local_pod.done_here(Operation.BACKUP, same_run)
    tags = next(item["tags"] for item in local_pod.snapshots())
    local_pod.restic("forget", first.snapshot_id)
    half = tmp_path / "half"
    half.mkdir()
    (half / "etcd-snapshot.db").write_bytes(b"cut")
    local_pod.restic("backup", *(f"--tag={tag}" for tag in tags), str(half))
    again = local_pod.done_here(Operation.BACKUP, same_run)
    assert any("incomplete" in warning for warning in again.result.warnings)
    assert [item["id"] for item in local_pod.snapshots()] == [again.snapshot_id]


def test_restics_exit_code_3_is_a_failure_and_its_snapshot_is_forgotten(
    local_pod: LocalPod, etcd_server: EtcdServer, tmp_path: Path
) -> None:
    etcd_server.put("exit", "3")
    path = wrapped(
        tmp_path / "programs", "restic", 'real "$@" || exit; case " $* " in *" backup "*) exit 3;; esac'
    )
    ended = local_pod.here(Operation.BACKUP, {"PATH": path})
    assert ended.result.reason is Reason.BACKUP_INCOMPLETE, ended.log
    assert ended.exit_code == EXIT_CODES[Reason.BACKUP_INCOMPLETE]
    assert local_pod.snapshots() == []


def test_a_restore_that_is_killed_leaves_nothing_that_looks_whole_and_can_be_tried_again(
    local_pod: LocalPod, etcd_server: EtcdServer, tmp_path: Path
) -> None:
    etcd_server.put("restore", "killed")
    backup = local_pod.done_here(Operation.BACKUP)
    snapshot: dict[str, str | None] = {Env.SNAPSHOT_ID: backup.snapshot_id}
    # Killed when the files are there, and the snapshot is about to be proven.
    path = wrapped(tmp_path / "programs", "etcdutl", 'case "$*" in *status*) sleep 60;; esac; real "$@"')
    partial = local_pod.target / ".kubedr-restore-partial" / "files" / "etcd-snapshot.db"
    end = time.monotonic() + 60
    with local_pod.start(Operation.RESTORE, {**snapshot, "PATH": path}) as running:
        while not partial.exists():
            assert time.monotonic() < end, "nothing was restored"
            time.sleep(0.05)
        running.kill_all()
    assert [path.name for path in local_pod.target.iterdir()] == [".kubedr-restore-partial"]
    (local_pod.target / "lost+found").mkdir()

    again = local_pod.done_here(Operation.RESTORE, snapshot)
    assert "Removed what an interrupted restore had left" in again.log
    assert sorted(path.name for path in local_pod.target.iterdir()) == [
        "certificates",
        "etcd-snapshot.db",
        "lost+found",
        "recovery",
    ]
    third = local_pod.here(Operation.RESTORE, snapshot)
    assert third.result.reason is Reason.TARGET_NOT_EMPTY
    assert "already holds files (such as 'certificates')" in third.result.message


def test_a_damaged_pack_never_becomes_a_restored_file(local_pod: LocalPod, etcd_server: EtcdServer) -> None:
    etcd_server.put("damaged", os.urandom(200_000))
    backup = local_pod.done_here(Operation.BACKUP)
    for pack in Path(local_pod.settings[Env.REPOSITORY], "data").rglob("*"):
        if pack.is_file() and pack.stat().st_size > 100_000:
            body = bytearray(pack.read_bytes())
            body[50_000] ^= 1
            pack.chmod(0o600)
            pack.write_bytes(body)
    ended = local_pod.here(Operation.RESTORE, {Env.SNAPSHOT_ID: backup.snapshot_id})
    assert ended.exit_code != 0
    assert ended.result.reason in (Reason.REPOSITORY_FAILED, Reason.REPOSITORY_DAMAGED), ended.log
    assert list(local_pod.target.iterdir()) == []


def test_restic_is_at_work_during_the_trial_and_writes_no_snapshot_before_its_end(
    local_pod: LocalPod, etcd_server: EtcdServer, tmp_path: Path
) -> None:
    etcd_server.put("gate", "value")
    repository = local_pod.settings[Env.REPOSITORY]
    path = wrapped(
        tmp_path / "programs",
        "etcdutl",
        f'case "$*" in *rebuilt.db*) while [ -z "$(ls {repository}/locks)" ]; do sleep 0.1; done; '
        f'sleep 2; ls {repository}/snapshots > {tmp_path}/seen;; esac; real "$@"',
    )
    backup = local_pod.done_here(Operation.BACKUP, {"PATH": path})
    assert (tmp_path / "seen").read_text() == ""
    restored = local_pod.restored(backup.snapshot_id, "restored")
    assert "  etcd-snapshot.db\n" in (restored / "recovery" / "SHA256SUMS").read_text()
    assert not list(restored.rglob(".kubedr-gate"))


def test_a_restic_that_does_not_wait_for_the_proof_leaves_no_backup(
    local_pod: LocalPod, etcd_server: EtcdServer, tmp_path: Path
) -> None:
    etcd_server.put("gate", "value")
    path = wrapped(
        tmp_path / "programs",
        "restic",
        'for word do shift; case "$word" in --exclude*) ;; *) set -- "$@" "$word";; esac; done; real "$@"',
    )
    ended = local_pod.here(Operation.BACKUP, {"PATH": path})
    assert ended.result.reason is Reason.REPOSITORY_FAILED, ended.log
    assert "did not wait for the proof, so nothing is kept" in ended.result.message
    assert local_pod.snapshots() == []


def test_the_log_tells_each_step(local_pod: LocalPod, etcd_server: EtcdServer) -> None:
    etcd_server.put("log", "value")
    log = local_pod.done_here(Operation.BACKUP).log
    # The repository is opened while etcd is asked.
    for steps in (
        ["Opened the repository", "Storing in"],
        ["Backing up from", "Scratch space:", "Copied 2", "Proven:", "Counted", "Storing in", "Put together"],
    ):
        positions = [log.index(step) for step in steps]
        assert positions == sorted(positions)
