"""What people get wrong: each is told in one sentence, within seconds, and mended by a later correct try."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import EXIT_CODES, Env, Operation
from kubedr_server.local.demo.pki import Authority
from support.etcd import EtcdServer
from support.ports import free_port
from support.runner import Ended, RunnerPod
from support.s3 import Identity, S3Server

pytestmark = pytest.mark.storage

SECONDS = 300.0
"""What "within seconds" means here: a restic left alone takes fifteen minutes."""


def assert_failed(ended: Ended, reason: Reason, sentence: str) -> None:
    """Assert the reason, the exit code, the sentence (a pattern for the whole of it), and the time."""
    assert ended.result.reason is reason, ended.log
    assert ended.exit_code == EXIT_CODES[reason]
    assert re.fullmatch(sentence, ended.result.message), ended.result.message
    assert ended.result.outcome == "Failed"
    assert ended.seconds < SECONDS
    assert sentence_in_log(ended)


def sentence_in_log(ended: Ended) -> bool:
    """Whether the pod's log ends with the same sentence."""
    return f"error: {ended.result.message}" in ended.log


def test_an_unknown_access_key_makes_nothing_and_the_right_one_then_works(pod: RunnerPod) -> None:
    (pod.credentials / "access_key").write_text("unknown")
    ended = pod.run(Operation.INIT)
    assert_failed(
        ended,
        Reason.WRONG_S3_CREDENTIALS,
        r"The storage at http://127\.0\.0\.1:\d+ does not know the access key: correct access_key and "
        r"secret_key "
        r"in the Secret that spec\.credentials of the BackupLocation names\.",
    )
    assert pod.bucket not in pod.s3.buckets()
    pod.set_keys(pod.s3.identities[0])
    pod.done(Operation.INIT)


def test_a_wrong_secret_key_is_told_for_every_operation(shared_pod: RunnerPod, tmp_path: Path) -> None:
    wrong = shutil.copytree(shared_pod.credentials, tmp_path / "credentials")
    (wrong / "secret_key").write_text("wrong")
    changes: dict[str, str | None] = {Env.REPOSITORY_CREDENTIALS_DIR: str(wrong), Env.SNAPSHOT_ID: "0" * 64}
    for operation in (Operation.INIT, Operation.BACKUP, Operation.RESTORE, Operation.FORGET):
        assert_failed(
            shared_pod.run(operation, changes),
            Reason.WRONG_S3_CREDENTIALS,
            r"The storage at \S+ refuses the secret key: it does not belong to the access key: correct .*",
        )


def test_keys_without_rights_are_told_apart_from_wrong_keys(tmp_path: Path, etcd_server: EtcdServer) -> None:
    reader = Identity("other", "OTHERKEY", "other-secret", ("Read:other-bucket", "List:other-bucket"))
    with S3Server(tmp_path / "s3", identities=(Identity.new("admin"), reader)) as server:
        server.create_bucket("mine")
        pod = RunnerPod(tmp_path / "pod", server, etcd_server, "mine")
        pod.set_keys(reader)
        assert_failed(
            pod.run(Operation.INIT),
            Reason.S3_ACCESS_DENIED,
            r"The storage at \S+ knows the access key, and does not allow it to list the bucket 'mine': "
            r"allow "
            r"s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject there\.",
        )


def test_a_wrong_password_is_told_apart_from_a_missing_repository(
    shared_pod: RunnerPod, tmp_path: Path
) -> None:
    wrong = shutil.copytree(shared_pod.credentials, tmp_path / "credentials")
    (wrong / "restic_repo_password").write_text("wrong")
    for operation in (Operation.INIT, Operation.BACKUP):
        assert_failed(
            shared_pod.run(operation, {Env.REPOSITORY_CREDENTIALS_DIR: str(wrong)}),
            Reason.WRONG_REPOSITORY_PASSWORD,
            r"The repository s3:\S+ exists, and restic_repo_password does not open it: put the password .*",
        )
    missing = shared_pod.settings[Env.REPOSITORY] + "-elsewhere"
    assert_failed(
        shared_pod.run(Operation.BACKUP, {Env.REPOSITORY: missing}),
        Reason.REPOSITORY_NOT_FOUND,
        r"There is no repository at s3:\S+-elsewhere: check spec\.url, .* never made anew by a backup or "
        r"a restore\.",
    )
    shared_pod.done(Operation.INIT)


def test_a_backup_into_a_bucket_that_does_not_exist_makes_none(pod: RunnerPod) -> None:
    assert_failed(
        pod.run(Operation.BACKUP),
        Reason.BUCKET_NOT_FOUND,
        r"The storage at \S+ has no bucket 'bucket-\w+': correct spec\.bucketName, or create the bucket\.",
    )
    assert pod.bucket not in pod.s3.buckets()


def test_a_storage_that_is_not_there_is_named_with_host_port_and_cause(shared_pod: RunnerPod) -> None:
    port = free_port()
    for repository, cause in (
        (f"s3:http://127.0.0.1:{port}/bucket", "connection refused"),
        ("s3:http://storage.invalid/bucket", "(name or service not known|.*name resolution.*)"),
    ):
        assert_failed(
            shared_pod.run(Operation.INIT, {Env.REPOSITORY: repository}),
            Reason.STORAGE_UNREACHABLE,
            rf"The storage at \S+ port \d+ cannot be reached: {cause}\. Check spec\.url, .*",
        )


def test_https_and_http_taken_for_each_other(shared_pod: RunnerPod, s3_tls_server: S3Server) -> None:
    plain = shared_pod.settings[Env.REPOSITORY].replace("http://", "https://")
    assert_failed(
        shared_pod.run(Operation.INIT, {Env.REPOSITORY: plain}),
        Reason.STORAGE_TLS_FAILED,
        r"No trusted connection .*: it does not speak TLS there \(is spec\.url an http:// address\?\)\. .*",
    )
    secure = f"s3:{s3_tls_server.url.replace('https://', 'http://')}/bucket"
    assert_failed(
        shared_pod.run(Operation.INIT, {Env.REPOSITORY: secure}),
        Reason.STORAGE_TLS_FAILED,
        r"The storage at \S+ speaks https there: correct spec\.url to https://….",
    )


@pytest.mark.parametrize("key", ["access_key", "secret_key", "restic_repo_password"])
def test_a_missing_key_of_the_storages_secret_is_named(pod: RunnerPod, key: str) -> None:
    (pod.credentials / key).unlink()
    assert_failed(
        pod.run(Operation.INIT),
        Reason.SETTING_MISSING,
        rf"There is no key '{key}' in the storage's Secret \(spec\.credentials of the BackupLocation\), or "
        r"no such "
        r"Secret: create it in the same namespace\. \(No file \S+\.\)",
    )


def test_a_missing_key_of_etcds_secret_is_named(shared_pod: RunnerPod, tmp_path: Path) -> None:
    credentials = shutil.copytree(shared_pod.settings[Env.ETCD_CREDENTIALS_DIR], tmp_path / "etcd")
    (credentials / "client.key").unlink()
    assert_failed(
        shared_pod.run(Operation.BACKUP, {Env.ETCD_CREDENTIALS_DIR: str(credentials)}),
        Reason.SETTING_MISSING,
        r"There is no key 'client\.key' in etcd's Secret \(spec\.etcdCreds of the policy\), or no such "
        r"Secret: .*",
    )


@pytest.mark.parametrize("name", [Env.REPOSITORY, Env.SCRATCH_DIR, Env.ETCD_ENDPOINTS, Env.RUN_ID])
def test_a_missing_variable_is_named(shared_pod: RunnerPod, name: Env) -> None:
    assert_failed(
        shared_pod.run(Operation.BACKUP, {name: None}),
        Reason.SETTING_MISSING,
        rf"The variable {name} is not set in the pod's environment\.",
    )


def test_an_etcd_that_is_not_there_is_named(shared_pod: RunnerPod) -> None:
    assert_failed(
        shared_pod.run(Operation.BACKUP, {Env.ETCD_ENDPOINTS: f"https://127.0.0.1:{free_port()}"}),
        Reason.ETCD_UNREACHABLE,
        r"etcd at 127\.0\.0\.1 port \d+ cannot be reached: the connection was refused\. Check "
        r"spec\.etcdEndpoint "
        r"of the policy, and that etcd runs on this node\.",
    )
    shared_pod.done(Operation.BACKUP)


@dataclass(frozen=True)
class WrongCertificate:
    """How etcd's credentials are spoilt, and what is said."""

    spoil: Callable[[Path, EtcdServer], None]
    sentence: str


def _client(credentials: Path, authority: Authority, *, days: int | None = None) -> None:
    pair = authority.client("root", days=days)
    shutil.copy(pair.certificate, credentials / "client.crt")
    shutil.copy(pair.key, credentials / "client.key")


def _expired(credentials: Path, server: EtcdServer) -> None:
    _client(credentials, server.authority, days=-1)


def _of_a_stranger(credentials: Path, server: EtcdServer) -> None:
    _client(credentials, Authority(credentials / "stranger"))


def _strange_ca(credentials: Path, server: EtcdServer) -> None:
    shutil.copy(Authority(credentials / "stranger").certificate, credentials / "ca.crt")


def _other_key(credentials: Path, server: EtcdServer) -> None:
    shutil.copy(server.authority.client("other").key, credentials / "client.key")


def _no_certificate(credentials: Path, server: EtcdServer) -> None:
    (credentials / "client.crt").write_text("no certificate")


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(
            WrongCertificate(_expired, r"The etcd client certificate expired on .* UTC: renew it .*"),
            id="expired",
        ),
        pytest.param(
            WrongCertificate(_of_a_stranger, r"etcd at \S+ refuses the client certificate: client\.crt .*"),
            id="of another authority",
        ),
        pytest.param(
            WrongCertificate(_strange_ca, r"etcd's certificate at \S+ is not accepted .*: is ca\.crt in .*"),
            id="another ca.crt",
        ),
        pytest.param(
            WrongCertificate(_other_key, r"client\.key does not belong to client\.crt .*"), id="another key"
        ),
        pytest.param(
            WrongCertificate(_no_certificate, r"client\.crt in .* is not a PEM certificate\."),
            id="no certificate",
        ),
    ],
)
def test_what_is_wrong_with_etcds_certificates_is_told(
    shared_pod: RunnerPod, etcd_server: EtcdServer, tmp_path: Path, wrong: WrongCertificate
) -> None:
    credentials = shutil.copytree(etcd_server.credentials_dir, tmp_path / "etcd")
    wrong.spoil(credentials, etcd_server)
    assert_failed(
        shared_pod.run(Operation.BACKUP, {Env.ETCD_CREDENTIALS_DIR: str(credentials)}),
        Reason.ETCD_TLS_FAILED,
        wrong.sentence,
    )


def test_http_for_an_etcd_that_speaks_https(shared_pod: RunnerPod, etcd_server: EtcdServer) -> None:
    assert_failed(
        shared_pod.run(
            Operation.BACKUP, {Env.ETCD_ENDPOINTS: etcd_server.endpoint.replace("https://", "http://")}
        ),
        Reason.ETCD_TLS_FAILED,
        r"etcd at 127\.0\.0\.1 port \d+ does not speak plain http: is spec\.etcdEndpoint an https:// one\?",
    )


@pytest.mark.parametrize("name", ["restic", "etcdctl", "etcdutl"])
def test_a_missing_program_is_named(shared_pod: RunnerPod, tmp_path: Path, name: str) -> None:
    folder = _programs_without(shared_pod, tmp_path, name)
    assert_failed(
        shared_pod.run(Operation.BACKUP, {"PATH": str(folder)}),
        Reason.PROGRAM_MISSING,
        rf"The program '{name}' is not on the PATH \(\S+\): install {name} \d\.\d+ or newer, or use the "
        r"backup image\.",
    )


@pytest.mark.parametrize(
    ("name", "words"), [("restic", "restic 0.14.0 compiled"), ("etcdutl", "version: 3.4.23")]
)
def test_a_program_that_is_too_old_is_named_with_both_versions(
    shared_pod: RunnerPod, tmp_path: Path, name: str, words: str
) -> None:
    folder = _programs_without(shared_pod, tmp_path, name)
    (folder / name).write_text(f"#!/bin/sh\necho '{words}'\n")
    (folder / name).chmod(0o755)
    assert_failed(
        shared_pod.run(Operation.BACKUP, {"PATH": f"{folder}:/bin"}),
        Reason.PROGRAM_TOO_OLD,
        rf"'\S+{name}' is version [\d.]+, and \d\.\d+ or newer is needed: install a newer {name}, .*",
    )


@pytest.mark.parametrize("state", ["missing", "empty"])
def test_a_certificates_directory_that_is_missing_or_empty(
    shared_pod: RunnerPod, tmp_path: Path, state: str
) -> None:
    directory = tmp_path / "pki"
    if state == "empty":
        directory.mkdir()
    assert_failed(
        shared_pod.run(Operation.BACKUP, {Env.CERTIFICATES_DIR: str(directory)}),
        Reason.CERTIFICATES_UNREADABLE,
        r".*certificates directory \(mounted at \S+\).*[Cc]orrect .*",
    )


def test_a_snapshot_that_does_not_exist_leaves_the_target_empty(shared_pod: RunnerPod) -> None:
    assert_failed(
        shared_pod.run(Operation.RESTORE, {Env.SNAPSHOT_ID: "0" * 64}),
        Reason.SNAPSHOT_NOT_FOUND,
        r"The repository s3:\S+ has no snapshot 0{64}: was it forgotten, .*",
    )
    assert list(shared_pod.target.iterdir()) == []


def test_a_place_that_holds_something_else_is_not_initialised_over(pod: RunnerPod) -> None:
    pod.s3.create_bucket(pod.bucket)
    pod.s3.put_object(pod.bucket, f"{pod.prefix}/photos/cat.jpg", b"meow")
    assert_failed(
        pod.run(Operation.INIT),
        Reason.REPOSITORY_FAILED,
        r"The place \S+ holds something that is no repository \(for example 'photos/cat\.jpg'\): give an "
        r"empty .*",
    )
    assert pod.s3.objects(pod.bucket) == [f"{pod.prefix}/photos/cat.jpg"]


def test_a_repository_that_lost_its_config_is_not_initialised_over(
    pod: RunnerPod, etcd_server: EtcdServer
) -> None:
    etcd_server.put("config", "lost")
    pod.plant()
    pod.done(Operation.BACKUP)
    pod.s3.delete_object(pod.bucket, f"{pod.prefix}/config")
    before = pod.s3.objects(pod.bucket)
    assert_failed(
        pod.run(Operation.INIT),
        Reason.REPOSITORY_FAILED,
        r"The place \S+ holds a repository without its config .*: nothing is initialised over it\. .*",
    )
    assert pod.s3.objects(pod.bucket) == before


def _programs_without(pod: RunnerPod, tmp_path: Path, name: str) -> Path:
    folder = tmp_path / "programs"
    folder.mkdir()
    for other in {"restic", "etcdctl", "etcdutl"} - {name}:
        found = shutil.which(other, path=pod.settings["PATH"])
        assert found is not None
        (folder / other).symlink_to(found)
    return folder
