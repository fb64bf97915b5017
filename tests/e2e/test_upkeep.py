"""The repository is looked at, checked and pruned by itself; a record that was lost comes back from it."""

from collections.abc import Callable

import pytest

from support.clusters import Cluster
from support.kubectl import Kubectl, Object, condition
from support.protection import Protection

pytestmark = [pytest.mark.cluster, pytest.mark.storage, pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_lost_record_comes_back_from_the_repository_that_is_checked_and_pruned(
    cluster: Cluster, kubectl: Kubectl, protection: Callable[..., Protection]
) -> None:
    protected = protection()
    kubectl.apply(*protected.secrets(), protected.backup_location(), protected.backup_policy())
    kubectl.wait("condition=Ready", "backuplocation/location")
    kubectl.wait("condition=Scheduled", "metadatabackuppolicy/policy")
    kubectl("create", "job", "--from=cronjob/policy-backup-cronjob", "first")
    assert kubectl.finished("first") == "Complete"
    kubectl.wait("condition=BackupSucceeded", "metadatabackuppolicy/policy")
    (lost,) = kubectl.list("metadatabackuprecords")
    name = lost["metadata"]["name"]

    # One bit of a pack flips, and is put right again.
    pack, content = protected.largest_pack()
    protected.put(pack, content[:-1] + bytes([content[-1] ^ 1]))
    protected.location = {"checkSchedule": "@every 1s", "checkParts": 1}
    kubectl.apply(protected.backup_location())
    location = kubectl.until("backuplocation", "location", _says("Checked", "False"), seconds=100)
    assert condition(location, "Checked")["reason"] == "RepositoryDamaged"
    kubectl.until("metadatabackuprecord", name, _says("SnapshotAvailable", "Unknown"), seconds=100)
    protected.put(pack, content)
    kubectl.until("metadatabackuprecord", name, _says("SnapshotAvailable", "True"), seconds=100)

    kubectl("patch", "metadatabackuprecord", name, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    kubectl("delete", "metadatabackuprecord", name)

    every = dict.fromkeys(("healthSchedule", "checkSchedule", "pruneSchedule"), "@every 1s")
    protected.location = {**every, "checkParts": 1}
    kubectl.apply(protected.backup_location())
    location = kubectl.until(
        "backuplocation",
        "location",
        lambda found: {"lastHealthTime", "lastFullCheckTime", "lastPruneTime"} <= found["status"].keys(),
        seconds=100,
    )
    if cluster.kind == "local":
        # A look adopts what it has found before the location tells of the look. But there may have been one
        # before the record was lost.
        kubectl.wait("create", f"metadatabackuprecord/{name}")
        kubectl.wait("condition=Verified", f"metadatabackuprecord/{name}")
    protected.location = {"suspendMaintenance": True}
    kubectl.apply(protected.backup_location())
    assert [condition(location, each)["status"] for each in ("Healthy", "Checked", "Pruned")] == ["True"] * 3
    for reason in ("CheckFailed", "CheckSucceeded"):
        kubectl.told("BackupLocation", "location", reason)
    assert location["status"]["snapshots"] == 1
    assert location["status"]["repositorySize"] > 0

    if cluster.kind != "local":
        # A kube-apiserver asks a node's kubelet for logs, and here is none: that is told.
        assert "could not be read" in condition(location, "Healthy")["message"]
        return
    assert location["status"]["catalogueRun"]
    found = kubectl.get("metadatabackuprecord", name)
    assert condition(found, "Verified")["reason"] == "Adopted"
    for each in ("fullSnapshotId", "revision", "hash", "totalKeys", "sha256", "snapshotSize", "runId"):
        assert found["status"][each] == lost["status"][each], each
    kubectl.told("MetadataBackupRecord", name, "RecordAdopted")


def _says(type_: str, status: str) -> Callable[[Object], bool]:
    return lambda found: condition(found, type_).get("status") == status
