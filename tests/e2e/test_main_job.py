"""The main job, as an administrator does it with kubectl: protect an etcd, back it up, bring it back."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.etcd import EtcdServer
from support.kubectl import Kubectl, Object, condition
from support.protection import Protection, restore
from support.s3 import S3Server
from support.tools import program

pytestmark = [pytest.mark.cluster, pytest.mark.storage, pytest.mark.slow, pytest.mark.timeout(300)]

CLAIM_PATH = "local.kubedr.catalogicsoftware.com/path"
"""The annotation that tells where local mode, or its executor, keeps a claim's files."""


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_etcd_is_backed_up_and_comes_back_with_every_key(
    kubectl: Kubectl,
    protection: Callable[..., Protection],
    s3_server: S3Server,
    s3_tls_server: S3Server,
    tmp_path: Path,
    scheme: str,
) -> None:
    protected = protection(s3_server if scheme == "http" else s3_tls_server)
    _protect(kubectl, protected)

    record = _back_up(kubectl, "first")
    assert record["metadata"]["name"] == f"mbr-{record['spec']['snapshotId'][:8]}"
    assert record["spec"] | {"snapshotId": ""} == {
        "policy": "policy",
        "backuploc": "location",
        "snapshotId": "",
    }
    assert record["status"]["revision"] >= protected.etcd.revision()
    assert condition(record, "Verified")["status"] == "True"
    policy = kubectl.get("metadatabackuppolicy", "policy")
    assert policy["status"]["backupStatus"] == "Completed"
    assert policy["status"]["mbrName"] == record["metadata"]["name"]
    kubectl.told("MetadataBackupPolicy", "policy", "BackupSucceeded")

    claimed = _restore_to_claim(kubectl, record)
    _assert_files_are_the_original(claimed, protected)
    direct = _restore_to_directory(protected, record, tmp_path)
    assert (direct / "etcd-snapshot.db").read_bytes() == (claimed / "etcd-snapshot.db").read_bytes()
    _assert_etcd_comes_back(direct / "etcd-snapshot.db", protected.etcd, tmp_path)


def test_a_policy_becomes_a_cronjob_and_keeps_it_so(
    kubectl: Kubectl, protection: Callable[..., Protection]
) -> None:
    protected = protection()
    kubectl.apply(*protected.secrets(), protected.backup_location(), protected.backup_policy())
    kubectl.wait("condition=Scheduled", "metadatabackuppolicy/policy")
    cronjob = kubectl.get("cronjob", "policy-backup-cronjob")
    assert cronjob["spec"]["schedule"] == "0 0 1 1 *"
    assert cronjob["spec"]["concurrencyPolicy"] == "Forbid"
    pod = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False

    protected.policy = {"schedule": "30 4 * * *", "suspend": True, "activeDeadlineSeconds": 600}
    kubectl.apply(protected.backup_policy())
    changed = kubectl.until(
        "cronjob", "policy-backup-cronjob", lambda found: found["spec"]["schedule"] == "30 4 * * *"
    )
    assert changed["spec"]["suspend"] is True
    assert changed["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] == 600


def test_the_schedule_itself_starts_a_backup(kubectl: Kubectl, protection: Callable[..., Protection]) -> None:
    protected = protection()
    _protect(kubectl, protected)
    protected.policy = {"schedule": "* * * * *"}
    kubectl.apply(protected.backup_policy())
    found = kubectl.until(
        "metadatabackuppolicy",
        "policy",
        lambda policy: bool(policy.get("status", {}).get("backupStatus")),
        seconds=200,
    )
    assert found["status"]["backupStatus"] == "Completed", found["status"].get("backupErrorMessage")
    protected.policy = {"suspend": True}
    kubectl.apply(protected.backup_policy())
    assert kubectl.get("metadatabackuprecord", found["status"]["mbrName"])["spec"]["policy"] == "policy"


def _protect(kubectl: Kubectl, protected: Protection) -> None:
    kubectl.apply(*protected.secrets(), protected.backup_location(), protected.backup_policy())
    kubectl.wait("condition=Ready", "backuplocation/location")
    location = kubectl.get("backuplocation", "location")
    assert location["status"]["initStatus"] == "Completed"
    kubectl.told("BackupLocation", "location", "InitSucceeded")
    assert protected.s3.objects(protected.bucket, "config") == ["config"]
    kubectl.wait("condition=Scheduled", "metadatabackuppolicy/policy")


def _back_up(kubectl: Kubectl, name: str) -> Object:
    """Start a backup from the CronJob, as one does by hand; return its record."""
    kubectl("create", "job", "--from=cronjob/policy-backup-cronjob", name)
    outcome = kubectl.finished(name)
    assert outcome == "Complete", kubectl("describe", "metadatabackuppolicy", "policy")
    kubectl.wait("condition=BackupSucceeded", "metadatabackuppolicy/policy")
    (record,) = kubectl.list("metadatabackuprecords")
    return record


def _restore_to_claim(kubectl: Kubectl, record: Object) -> Path:
    kubectl.apply(*restore("bring-it-back", record["metadata"]["name"], "restored"))
    kubectl.wait("condition=Restored", "metadatarestore/bring-it-back")
    done = kubectl.get("metadatarestore", "bring-it-back")
    assert done["status"]["restoreStatus"] == "Completed"
    kubectl.told("MetadataRestore", "bring-it-back", "RestoreSucceeded")
    return Path(kubectl.get("pvc", "restored")["metadata"]["annotations"][CLAIM_PATH])


def _restore_to_directory(protected: Protection, record: Object, folder: Path) -> Path:
    """Restore as on the day when there is no cluster: with the bucket, its keys and the password."""
    credentials, target, scratch = folder / "credentials", folder / "target", folder / "scratch"
    for path in (credentials, target, scratch):
        path.mkdir()
    contents = {
        "access_key": protected.s3.access_key,
        "secret_key": protected.s3.secret_key,
        "restic_repo_password": protected.password,
    }
    for name, content in contents.items():
        (credentials / name).write_text(content)
    settings = {
        "PATH": os.pathsep.join([str(program("restic").parent), str(program("etcdutl").parent), os.defpath]),
        "HOME": str(folder),
        "KUBEDR_REPOSITORY": f"s3:{protected.s3.url}/{protected.bucket}",
        "KUBEDR_REPOSITORY_CREDENTIALS_DIR": str(credentials),
        "KUBEDR_SNAPSHOT_ID": record["status"]["fullSnapshotId"],
        "KUBEDR_TARGET_DIR": str(target),
        "KUBEDR_SCRATCH_DIR": str(scratch),
        "KUBEDR_RESULT_PATH": str(folder / "result.json"),
        "KUBEDR_RUN_ID": "by-hand",
        "KUBEDR_DEADLINE_SECONDS": "100",
    }
    if protected.s3.ca_file is not None:
        settings["KUBEDR_REPOSITORY_CA_FILE"] = str(protected.s3.ca_file)
    done = subprocess.run(
        [sys.executable, "-m", "kubedr_server", "runner", "restore"],
        check=False,
        capture_output=True,
        text=True,
        env=settings,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((folder / "result.json").read_text())
    assert result["outcome"] == "Succeeded"
    assert result["restore"]["revision"] == record["status"]["revision"]
    return target


def _assert_files_are_the_original(restored: Path, protected: Protection) -> None:
    original = protected.etcd.authority.directory
    for path in original.rglob("*"):
        if path.is_file():
            copy = restored / "certificates" / path.relative_to(original)
            assert copy.read_bytes() == path.read_bytes()
            assert copy.stat().st_mode == path.stat().st_mode


def _assert_etcd_comes_back(snapshot: Path, original: EtcdServer, folder: Path) -> None:
    restored = EtcdServer(folder / "restored")
    argv = [str(program("etcdutl")), "snapshot", "restore", str(snapshot)]
    argv += ["--data-dir", str(restored.data_dir), "--name", restored.name]
    argv += ["--initial-cluster", f"{restored.name}={restored.peer_url}"]
    argv += ["--initial-advertise-peer-urls", restored.peer_url]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    with restored:
        assert restored.all() == original.all()
