"""What is wrong is told in one sentence, wherever one looks; a correct later try needs no cleaning."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import EXIT_CODES
from support.etcd import EtcdServer
from support.kubectl import Kubectl, Object, condition
from support.ports import free_port
from support.protection import Protection, restore, secret
from support.s3 import S3Server

pytestmark = [pytest.mark.cluster, pytest.mark.storage, pytest.mark.slow, pytest.mark.timeout(300)]

SECONDS = 90
"""From `kubectl apply` to the sentence: restic alone would try a refused key again for many minutes."""


def _exit_codes(kubectl: Kubectl, selector: str) -> set[int]:
    pods = kubectl.list("pods", selector)
    return {
        status["state"]["terminated"]["exitCode"]
        for pod in pods
        for status in pod["status"]["containerStatuses"]
        if "terminated" in status["state"]
    }


def _assert_location_failed(kubectl: Kubectl, reason: Reason) -> str:
    """Assert that a failed initialisation is told everywhere; return the sentence."""
    location = kubectl.until(
        "backuplocation",
        "location",
        lambda found: found.get("status", {}).get("initStatus") == "Failed",
        seconds=SECONDS,
    )
    ready = condition(location, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", reason)
    sentence = location["status"]["initErrorMessage"]
    assert sentence
    kubectl.told("BackupLocation", "location", "InitFailed", sentence)
    selector = "kubedr.catalogicsoftware.com/operation=init"
    # An earlier attempt's pods may still be there: a lone kube-apiserver has no garbage collector.
    assert EXIT_CODES[reason] in _exit_codes(kubectl, selector)
    return str(sentence)


def _assert_location_ready(kubectl: Kubectl) -> None:
    kubectl.wait("condition=Ready", "backuplocation/location")
    assert not kubectl.get("backuplocation", "location")["status"].get("initErrorMessage")


def _back_up(kubectl: Kubectl, name: str, outcome: str) -> Object:
    kubectl.wait("condition=Scheduled", "metadatabackuppolicy/policy")
    kubectl("create", "job", "--from=cronjob/policy-backup-cronjob", name)
    assert kubectl.finished(name, seconds=SECONDS) == outcome, kubectl("logs", f"job/{name}")
    job_uid = kubectl.get("job", name)["metadata"]["uid"]
    return kubectl.until(
        "metadatabackuppolicy", "policy", lambda found: found.get("status", {}).get("lastJob") == job_uid
    )


def _assert_backup_failed(kubectl: Kubectl, name: str, reason: Reason) -> str:
    """Start a backup and assert that its failure is told everywhere; return the sentence."""
    policy = _back_up(kubectl, name, "Failed")
    told = condition(policy, "BackupSucceeded")
    assert (told["status"], told["reason"]) == ("False", reason)
    assert policy["status"]["backupStatus"] == "Failed"
    sentence = policy["status"]["backupErrorMessage"]
    assert sentence
    kubectl.told("MetadataBackupPolicy", "policy", "BackupFailed", sentence)
    assert _exit_codes(kubectl, f"job-name={name}") == {EXIT_CODES[reason]}
    assert kubectl.list("metadatabackuprecords") == []
    return str(sentence)


def _assert_backup_succeeds(kubectl: Kubectl, name: str) -> None:
    policy = _back_up(kubectl, name, "Complete")
    assert policy["status"]["backupStatus"] == "Completed"
    assert not policy["status"].get("backupErrorMessage")
    assert len(kubectl.list("metadatabackuprecords")) == 1


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"secret_key": "not-the-secret-key-of-this-server"}, Reason.WRONG_S3_CREDENTIALS),
        ({"access_key": "NOTANACCESSKEYOFTHIS"}, Reason.WRONG_S3_CREDENTIALS),
    ],
    ids=["secret key", "access key"],
)
def test_a_wrong_s3_key(
    kubectl: Kubectl, protection: Callable[..., Protection], wrong: dict[str, str], reason: Reason
) -> None:
    protected = protection()
    for name, value in wrong.items():
        setattr(protected, name, value)
    kubectl.apply(*protected.secrets(), protected.backup_location())
    sentence = _assert_location_failed(kubectl, reason)
    assert all(value not in sentence for value in wrong.values() if value.startswith("not-the-secret"))
    assert protected.bucket not in protected.s3.buckets()

    protected.access_key = protected.secret_key = ""
    kubectl.apply(*protected.secrets())
    _assert_location_ready(kubectl)


def test_a_wrong_repository_password(kubectl: Kubectl, protection: Callable[..., Protection]) -> None:
    protected = protection()
    kubectl.apply(*protected.secrets(), protected.backup_location())
    _assert_location_ready(kubectl)
    before = protected.s3.objects(protected.bucket)

    right, protected.password = protected.password, "another password"
    kubectl.apply(*protected.secrets())
    sentence = _assert_location_failed(kubectl, Reason.WRONG_REPOSITORY_PASSWORD)
    assert "another password" not in sentence
    assert protected.s3.objects(protected.bucket) == before

    protected.password = right
    kubectl.apply(*protected.secrets())
    _assert_location_ready(kubectl)


def test_a_key_that_the_storage_secret_lacks(kubectl: Kubectl, protection: Callable[..., Protection]) -> None:
    protected = protection()
    lacking = protected.storage_secret()
    del lacking["data"]["restic_repo_password"]
    kubectl.apply(lacking, protected.backup_location())
    location = kubectl.until(
        "backuplocation",
        "location",
        lambda found: condition(found, "Ready").get("reason") == Reason.SECRET_KEY_MISSING,
        seconds=SECONDS,
    )
    sentence = condition(location, "Ready")["message"]
    assert "restic_repo_password" in sentence
    assert "storage" in sentence
    kubectl.told("BackupLocation", "location", "InitFailed", sentence)

    kubectl.apply(*protected.secrets())
    _assert_location_ready(kubectl)


def test_a_storage_server_that_is_not_there(kubectl: Kubectl, protection: Callable[..., Protection]) -> None:
    protected = protection()
    protected.location = {"url": f"http://127.0.0.1:{free_port()}"}
    kubectl.apply(*protected.secrets(), protected.backup_location())
    _assert_location_failed(kubectl, Reason.STORAGE_UNREACHABLE)

    protected.location = {}
    kubectl.apply(protected.backup_location())
    _assert_location_ready(kubectl)


def test_a_storage_server_whose_authority_is_not_given(
    kubectl: Kubectl, protection: Callable[..., Protection], s3_tls_server: S3Server
) -> None:
    protected = protection(s3_tls_server)
    location = protected.backup_location()
    del location["spec"]["caSecret"]
    kubectl.apply(*protected.secrets(), location)
    assert "caSecret" in _assert_location_failed(kubectl, Reason.STORAGE_TLS_FAILED)

    kubectl.apply(protected.backup_location())
    _assert_location_ready(kubectl)


def test_an_etcd_that_cannot_be_read_is_told_each_time_and_a_right_try_needs_no_cleaning(
    kubectl: Kubectl, protection: Callable[..., Protection], etcd_server: EtcdServer
) -> None:
    protected = protection()
    right, strange, lacking = (protected.etcd_secret() for _ in range(3))
    strange["data"] = replace(protected, etcd=etcd_server).etcd_secret()["data"]
    del lacking["data"]["client.key"]

    port = str(free_port())
    protected.policy = {"etcdEndpoint": f"https://127.0.0.1:{port}"}
    kubectl.apply(protected.storage_secret(), right, protected.backup_location(), protected.backup_policy())
    _assert_location_ready(kubectl)
    assert port in _assert_backup_failed(kubectl, "not-there", Reason.ETCD_UNREACHABLE)

    protected.policy = {}
    kubectl.apply(protected.backup_policy(), strange)
    kubectl.until(
        "cronjob", "policy-backup-cronjob", lambda found: protected.etcd.endpoint in str(found["spec"])
    )
    _assert_backup_failed(kubectl, "strange-certificate", Reason.ETCD_TLS_FAILED)

    kubectl.apply(lacking)
    assert "client.key" in _assert_backup_failed(kubectl, "lacking-key", Reason.SETTING_MISSING)
    assert protected.s3.objects(protected.bucket, "snapshots") == []

    kubectl.apply(right)
    _assert_backup_succeeds(kubectl, "right")


def test_a_certificates_directory_that_is_not_there(
    kubectl: Kubectl, protection: Callable[..., Protection]
) -> None:
    protected = protection()
    protected.policy = {"certsDir": "/nonexistent/pki"}
    kubectl.apply(*protected.secrets(), protected.backup_location(), protected.backup_policy())
    _assert_location_ready(kubectl)
    kubectl.wait("condition=Scheduled", "metadatabackuppolicy/policy")
    kubectl("create", "job", "--from=cronjob/policy-backup-cronjob", "waiting")
    policy = kubectl.until(
        "metadatabackuppolicy",
        "policy",
        lambda found: "/nonexistent/pki" in str(found.get("status", {}).get("conditions")),
        seconds=SECONDS,
    )
    assert policy["status"].get("backupStatus") != "Completed"


def test_a_restore_to_a_volume_that_is_not_empty(
    kubectl: Kubectl, protection: Callable[..., Protection]
) -> None:
    protected = protection()
    kubectl.apply(*protected.secrets(), protected.backup_location(), protected.backup_policy())
    _assert_location_ready(kubectl)
    _assert_backup_succeeds(kubectl, "first")
    (record,) = kubectl.list("metadatabackuprecords")
    name = record["metadata"]["name"]
    kubectl.apply(*restore("one", name, "claim"))
    kubectl.wait("condition=Restored", "metadatarestore/one")
    kubectl.apply(*restore("two", name, "claim"))
    failed = kubectl.until(
        "metadatarestore", "two", lambda found: found.get("status", {}).get("restoreStatus") == "Failed"
    )
    assert condition(failed, "Restored")["reason"] == Reason.TARGET_NOT_EMPTY
    sentence = failed["status"]["restoreErrorMessage"]
    kubectl.told("MetadataRestore", "two", "RestoreFailed", sentence)

    kubectl.apply(*restore("three", name, "another-claim"))
    kubectl.wait("condition=Restored", "metadatarestore/three")


def test_a_secret_that_does_not_exist(kubectl: Kubectl, protection: Callable[..., Protection]) -> None:
    protected = protection()
    kubectl.apply(protected.backup_location())
    kubectl.until(
        "backuplocation",
        "location",
        lambda found: condition(found, "Ready").get("reason") == Reason.SECRET_NOT_FOUND,
    )
    kubectl.apply(secret("storage", access_key="", secret_key="", restic_repo_password=""))
    kubectl.until(
        "backuplocation",
        "location",
        lambda found: condition(found, "Ready").get("reason") == Reason.SECRET_KEY_MISSING,
    )
    kubectl.apply(*protected.secrets())
    _assert_location_ready(kubectl)
