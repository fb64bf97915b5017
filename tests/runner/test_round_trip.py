"""The main job: what was in etcd is in etcd again."""

import json
import subprocess
from pathlib import Path

import pytest

from kubedr_server.contract import Env, Operation
from support.etcd import EtcdServer
from support.local_runner import LocalPod, wrapped
from support.runner import RunnerPod
from support.s3 import S3Server
from support.tools import program

pytestmark = pytest.mark.storage


def test_a_backup_comes_back_as_an_etcd_with_every_key(
    pod: RunnerPod, etcd_server: EtcdServer, tmp_path: Path
) -> None:
    for number in range(50):
        etcd_server.put(f"/registry/configmaps/{number}", f"value {number}" * 20)
    keys = etcd_server.all()
    first = pod.done(Operation.INIT)
    assert first.result.message.startswith("Made the repository")

    backup = pod.done(Operation.BACKUP)
    proof = backup.result.backup
    assert proof is not None
    assert proof.revision >= proof.minimum_revision >= 50
    assert proof.certificate_files == 2
    assert backup.result.repository_id == first.result.repository_id

    restored = pod.done(Operation.RESTORE, {Env.SNAPSHOT_ID: proof.snapshot_id})
    assert restored.result.restore is not None
    assert (restored.result.restore.hash, restored.result.restore.revision) == (proof.hash, proof.revision)
    assert sorted(path.name for path in pod.target.iterdir()) == [
        "certificates",
        "etcd-snapshot.db",
        "recovery",
    ]
    assert (pod.target / "certificates" / "ca.key").stat().st_mode & 0o777 == 0o600

    data = tmp_path / "restored-data"
    subprocess.run(
        [program("etcdutl"), "snapshot", "restore", pod.target / "etcd-snapshot.db", "--data-dir", data],
        check=True,
        capture_output=True,
    )
    with EtcdServer(tmp_path / "restored-etcd", data_dir=data) as again:
        assert [(item.key, item.value) for item in again.all()] == [(item.key, item.value) for item in keys]


def test_plain_restic_brings_back_the_same_files(shared_pod: RunnerPod, tmp_path: Path) -> None:
    backup = shared_pod.done(Operation.BACKUP, {Env.SNAPSHOT_FORMAT: "file"})
    shared_pod.restic("restore", backup.snapshot_id, "--target", str(tmp_path / "plain"))
    assert (tmp_path / "plain" / "etcd-snapshot.db").is_file()
    assert (tmp_path / "plain" / "certificates" / "ca.crt").read_text() == "a certificate\n"


def test_the_tags_hold_the_whole_proof(shared_pod: RunnerPod) -> None:
    backup = shared_pod.done(Operation.BACKUP)
    snapshot = next(item for item in shared_pod.snapshots() if item["id"] == backup.snapshot_id)
    proof = backup.result.backup
    assert proof is not None
    assert {
        "kubedr",
        f"run={backup.result.run_id}",
        "cluster=0b2f4cbe-cluster",
        "policy=backup-system/every-hour",
        f"revision={proof.revision}",
        f"hash={proof.hash}",
    } <= set(snapshot["tags"])
    assert snapshot["hostname"] == "kubedr-0b2f4cbe-cluster"


def test_a_repository_that_exists_already_is_a_success(shared_pod: RunnerPod) -> None:
    again = shared_pod.done(Operation.INIT)
    assert "was there already" in again.result.message
    assert again.result.repository_id


def test_over_https_with_an_authority_of_its_own(
    tmp_path: Path, s3_tls_server: S3Server, etcd_server: EtcdServer
) -> None:
    pod = RunnerPod(tmp_path, s3_tls_server, etcd_server, "tls-bucket")
    without = pod.run(Operation.INIT, {Env.REPOSITORY_CA_FILE: None})
    assert without.result.reason.value == "StorageTLSFailed", without.log
    assert without.exit_code == 14
    assert "caSecret" in without.result.message
    pod.plant()
    etcd_server.put("tls", "value")
    backup = pod.done(Operation.BACKUP)
    insecure: dict[str, str | None] = {Env.REPOSITORY_CA_FILE: None, Env.REPOSITORY_INSECURE: "true"}
    pod.done(Operation.RESTORE, {Env.SNAPSHOT_ID: backup.snapshot_id, **insecure})


def test_a_snapshot_is_found_by_the_first_digits_of_its_id(shared_pod: RunnerPod, tmp_path: Path) -> None:
    backup = shared_pod.done(Operation.BACKUP)
    target = tmp_path / "short"
    target.mkdir()
    restored = shared_pod.done(
        Operation.RESTORE, {Env.SNAPSHOT_ID: backup.snapshot_id[:8], Env.TARGET_DIR: str(target)}
    )
    assert restored.result.restore is not None
    assert restored.result.restore.snapshot_id == backup.snapshot_id


def test_an_etcdutl_that_counts_keys_in_another_way_restores_the_same_backup(
    local_pod: LocalPod, etcd_server: EtcdServer, tmp_path: Path
) -> None:
    # That of etcd 3.5 counts all entries of the file, and that of 3.6 the keys that are not deleted.
    etcd_server.put("counted", "value")
    snapshot_id = local_pod.done_here(Operation.BACKUP).snapshot_id
    script = """real "$@" | sed 's/"totalKey":[0-9]*/"totalKey":7/'"""
    path = wrapped(tmp_path / "programs", "etcdutl", script)
    local_pod.done_here(Operation.RESTORE, {Env.SNAPSHOT_ID: snapshot_id, "PATH": path})


def test_forgetting_removes_that_snapshot_only_and_twice_is_a_success(
    pod: RunnerPod, etcd_server: EtcdServer
) -> None:
    etcd_server.put("forget", "value")
    pod.plant()
    kept, gone = pod.done(Operation.BACKUP), pod.done(Operation.BACKUP)
    first = pod.done(Operation.FORGET, {Env.SNAPSHOT_ID: gone.snapshot_id})
    assert first.result.message.startswith("Forgot snapshot")
    second = pod.done(Operation.FORGET, {Env.SNAPSHOT_ID: gone.snapshot_id})
    assert "not in the repository any more" in second.result.message
    assert [item["id"] for item in pod.snapshots()] == [kept.snapshot_id]


def test_without_a_result_path_the_result_goes_to_standard_output(shared_pod: RunnerPod) -> None:
    with shared_pod.start(Operation.INIT, {Env.RESULT_PATH: None}) as running:
        stdout, _ = running.process.communicate(timeout=60)
    assert json.loads(stdout)["outcome"] == "Succeeded"
