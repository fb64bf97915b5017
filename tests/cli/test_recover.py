"""`kubedr recover`, as on the day when there is no cluster: a bucket, its keys and the password."""

import json
import os
import pty
import select
import shlex
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kubedr_server.cli.recover import fetched_text, is_open_to_others, recover
from kubedr_server.cli.recover_members import read_members
from kubedr_server.contract import Env, Operation, RestoreResult
from kubedr_server.runner.restore_commands import UNKNOWN
from support.etcd import EtcdServer
from support.ports import free_port
from support.runner import PASSWORD, Ended, RunnerPod, program_path
from support.s3 import S3Server
from support.tools import program

pytestmark = pytest.mark.storage

CLUSTER = "0b2f4cbe-cluster"


@dataclass(frozen=True)
class Repository:
    """A repository with one backup. Change nothing in it."""

    pod: RunnerPod
    etcd: EtcdServer
    backup: Ended

    @property
    def snapshot(self) -> str:
        return self.backup.snapshot_id

    def arguments(self, **changes: str | Path) -> list[str]:
        """Return the options that reach it."""
        options: dict[str, str | Path] = {
            "repository": self.pod.settings[Env.REPOSITORY],
            "access_key_file": self.pod.credentials / "access_key",
            "secret_key_file": self.pod.credentials / "secret_key",
            "password_file": self.pod.credentials / "restic_repo_password",
            **changes,
        }
        return [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value]

    def call(self, command: str, *arguments: str, **changes: str | Path) -> Result:
        """Run `kubedr recover` as a person at a machine without a cluster."""
        environment = {"PATH": program_path(), "KUBECONFIG": "/nonexistent"}
        argv = [command, *arguments, *self.arguments(**changes)]
        return CliRunner().invoke(recover, argv, env=environment)


@pytest.fixture(scope="module")
def repository(
    tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server, etcd_server: EtcdServer
) -> Repository:
    folder = tmp_path_factory.mktemp("recover")
    pod = RunnerPod(folder, s3_server, etcd_server, f"bucket-{uuid.uuid4().hex[:12]}")
    etcd_server.put("recover", "value")
    pod.plant()
    return Repository(pod, etcd_server, pod.done(Operation.BACKUP))


def test_the_backups_are_listed_and_nothing_is_written(repository: Repository) -> None:
    before = repository.pod.s3.objects(repository.pod.bucket)
    result = repository.call("list")
    assert result.exit_code == 0, result.output
    headings, row = [line.split("  ") for line in result.stdout.splitlines()]
    assert headings[0] == "SNAPSHOT"
    assert row[0] == repository.snapshot[:8]
    assert CLUSTER[:8] in row
    assert repository.pod.s3.objects(repository.pod.bucket) == before


def test_the_list_as_json_has_whole_ids_and_what_was_proven(repository: Repository) -> None:
    result = repository.call("list", "-o", "json", "--newest=1", f"--cluster={CLUSTER[:8]}")
    (listed,) = json.loads(result.stdout)
    proof = repository.backup.result.backup
    assert proof is not None
    assert listed.pop("time").endswith("+00:00")
    assert (
        listed
        | {
            "snapshotId": proof.snapshot_id,
            "cluster": CLUSTER,
            "policy": "backup-system/every-hour",
            "revision": proof.revision,
            "hash": proof.hash,
            "snapshotFormat": proof.snapshot_format,
        }
        == listed
    )


def test_a_backup_is_fetched_and_proven_and_the_next_step_works(
    repository: Repository, tmp_path: Path
) -> None:
    target = tmp_path / "new" / "restored"
    result = repository.call("fetch", repository.snapshot[:8], f"--to={target}", "-o", "json")
    assert result.exit_code == 0, result.output
    assert "Proven: revision" in result.stderr
    assert {"certificates", "etcd-snapshot.db"} <= {path.name for path in target.iterdir()}
    assert (target / "certificates" / "ca.key").read_text() == "a key\n"
    assert target.stat().st_mode & 0o777 == 0o700
    assert "Warning" not in result.stderr

    told, proof = json.loads(result.stdout), repository.backup.result.backup
    assert proof is not None
    assert told.pop("directory") == str(target)
    fetched = RestoreResult.model_validate(told)
    assert (fetched.snapshot_id, fetched.revision, fetched.hash) == (
        proof.snapshot_id,
        proof.revision,
        proof.hash,
    )

    text = fetched_text(fetched, target, read_members(target))
    data = tmp_path / "data"
    command = text.partition("# default\n")[2].replace("\\\n", " ")
    argv = shlex.split(command.replace("/var/lib/etcd-restored", str(data)))
    assert argv[3] == str(target / "etcd-snapshot.db")
    assert f"default={repository.etcd.peer_url}" in argv
    subprocess.run([str(program("etcdutl")), *argv[1:]], check=True, capture_output=True, timeout=60)
    assert (data / "member").is_dir()


@pytest.mark.parametrize("content", [None, "", "{", "7"])
def test_where_the_members_cannot_be_read_there_is_a_word_to_replace(
    tmp_path: Path, content: str | None
) -> None:
    (tmp_path / "recovery").mkdir()
    if content is not None:
        (tmp_path / "recovery" / "members.json").write_text(content)
    assert read_members(tmp_path) == [UNKNOWN]


@pytest.mark.parametrize(("mode", "expected"), [(0o700, False), (0o750, True), (0o711, True)])
def test_a_directory_that_others_can_read_is_known(tmp_path: Path, mode: int, expected: bool) -> None:
    tmp_path.chmod(mode)
    assert is_open_to_others(tmp_path) is expected


@pytest.mark.parametrize("snapshot", ["latest", "LATEST", "4c1223", "g" * 8, "0" * 65])
def test_only_an_id_names_a_backup(repository: Repository, tmp_path: Path, snapshot: str) -> None:
    result = repository.call("fetch", snapshot, f"--to={tmp_path}")
    assert result.exit_code == 2
    assert "kubedr recover list" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_backup_that_is_not_there_leaves_no_directory(repository: Repository, tmp_path: Path) -> None:
    result = repository.call("fetch", "00000000", f"--to={tmp_path / 'new'}")
    assert result.exit_code == 24
    assert "kubedr recover list" in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_directory_with_files_is_left_as_it_is(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    result = repository.call("fetch", repository.snapshot, f"--to={tmp_path}")
    assert result.exit_code == 41
    assert "Give another directory with --to" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_copy_of_the_bucket_will_do_and_what_is_no_complete_backup_is_left_out(
    repository: Repository, tmp_path: Path
) -> None:
    copy = _copy_of(repository, tmp_path / "copy")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "etcd-snapshot.db").write_text("half of it")
    tags = next(item["tags"] for item in repository.pod.snapshots() if item["id"] == repository.snapshot)
    repository.pod.restic("backup", f"--repo={copy}", f"--tag={','.join(tags)}", str(tmp_path / "half"))
    without_keys: dict[str, str | Path] = {"repository": copy, "access_key_file": "", "secret_key_file": ""}

    result = repository.call("list", "--policy=every-hour", **without_keys)
    assert result.exit_code == 0, result.output
    assert [line[:8] for line in result.stdout.splitlines()[1:]] == [repository.snapshot[:8]]
    assert "is not a complete backup" in result.stderr


@pytest.mark.parametrize(
    ("option", "content", "code", "words"),
    [
        ("password_file", "canary-wrong-password", 20, "The password is what is in --password-file."),
        ("secret_key_file", "canary-wrong-key", 10, "--access-key-file and --secret-key-file"),
        ("access_key_file", "CANARYWRONGKEY", 10, "--access-key-file and --secret-key-file"),
    ],
)
def test_a_wrong_secret_is_told_by_its_option(
    repository: Repository, tmp_path: Path, option: str, content: str, code: int, words: str
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text(f"{content}\n")
    result = repository.call("list", **{option: wrong})
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr
    assert content not in result.output
    assert PASSWORD not in result.output


def test_a_storage_that_is_away_is_told_at_once(repository: Repository) -> None:
    result = repository.call("list", repository=f"s3:http://127.0.0.1:{free_port()}/bucket")
    assert result.exit_code == 13
    assert "The place is --repository" in result.stderr


def test_a_bucket_without_a_repository(repository: Repository) -> None:
    result = repository.call("list", repository=f"{repository.pod.settings[Env.REPOSITORY]}/elsewhere")
    assert result.exit_code == 21
    assert "The place is --repository" in result.stderr


@pytest.mark.parametrize(
    ("option", "content", "words"),
    [
        ("password_file", "", "is missing, and there is no terminal to ask at: give --password-file."),
        ("secret_key_file", "", "give --secret-key-file."),
        ("access_key_file", "nowhere", "--access-key-file: nowhere cannot be read: No such file"),
        ("ca_file", "nowhere", "--ca-file: nowhere cannot be read"),
        ("repository", "", "Missing option '--repository'"),
        ("repository", "https://s3.example.com/bucket", "write 's3:https://s3.example.com/bucket'"),
    ],
)
def test_a_setting_that_is_missing_is_named(
    repository: Repository, option: str, content: str, words: str
) -> None:
    result = repository.call("list", **{option: content})
    assert result.exit_code == 2
    assert words in result.stderr


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "is empty"), (b"one\ntwo\n", "more than one line"), (b"\xff", "is not text")]
)
def test_a_file_that_holds_no_secret_is_named(
    repository: Repository, tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "password").write_bytes(content)
    result = repository.call("list", password_file=tmp_path / "password")
    assert result.exit_code == 2
    assert f"--password-file: {tmp_path / 'password'}" in result.stderr
    assert words in result.stderr


def test_a_program_that_is_missing_is_named(repository: Repository, tmp_path: Path) -> None:
    argv = ["fetch", repository.snapshot, f"--to={tmp_path / 'new'}", *repository.arguments()]
    result = CliRunner().invoke(recover, argv, env={"PATH": "/nonexistent"})
    assert result.exit_code == 50
    assert "etcdutl" in result.stderr
    assert not (tmp_path / "new").exists()


def test_without_files_the_secrets_are_asked_for_at_the_terminal(repository: Repository) -> None:
    keys = repository.pod.s3.identities[0]
    answers = {
        "Access key": keys.access_key,
        "Secret key": keys.secret_key,
        "Password of the repository": PASSWORD,
    }
    argv = [*("-m", "kubedr_server", "recover", "list", "--newest=1")]
    argv += [f"--repository={repository.pod.settings[Env.REPOSITORY]}"]
    shown, exit_code = _at_a_terminal([sys.executable, *argv], answers)
    assert exit_code == 0, shown
    assert repository.snapshot[:8] in shown
    assert not [answer for answer in answers.values() if answer in shown]


def _at_a_terminal(argv: list[str], answers: dict[str, str]) -> tuple[str, int]:
    """Run a program at a terminal of its own and answer its prompts; return what was shown, and its end."""
    ours, theirs = pty.openpty()
    environment = {"PATH": program_path(), "HOME": "/nonexistent", "TERM": "dumb"}
    process = subprocess.Popen(
        # A session of its own: it must not ask at the terminal that the tests run at.
        argv,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        start_new_session=True,
    )
    os.close(theirs)
    shown, waiting = "", dict(answers)
    try:
        while select.select([ours], [], [], 60)[0]:
            try:
                shown += os.read(ours, 4096).decode(errors="replace")
            except OSError:  # the last one has closed the terminal
                break
            # The blank comes once the echo is off. What is typed before that is thrown away.
            asked = next((what for what in waiting if f"{what}: " in shown), "")
            if asked:
                os.write(ours, f"{waiting.pop(asked)}\n".encode())
        return shown, process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _copy_of(repository: Repository, folder: Path) -> Path:
    """Copy the repository's objects to a directory, as one does with a bucket."""
    prefix = f"{repository.pod.prefix}/"
    with repository.pod.s3.client() as client:
        for key in repository.pod.s3.objects(repository.pod.bucket, prefix):
            path = folder / key.removeprefix(prefix)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(client.get_object(Bucket=repository.pod.bucket, Key=key)["Body"].read())
    for name in ("locks", "keys", "data", "index", "snapshots"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return folder
