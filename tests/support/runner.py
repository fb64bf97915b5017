"""Runs `kubedr runner …` as a pod would: a process of its own, with nothing but its settings."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kubedr_server.contract import Env, Operation, RunResult
from support.etcd import EtcdServer
from support.repository import planted
from support.s3 import Identity, S3Server
from support.tools import program

PASSWORD = "canary-repository-password"


def program_path() -> str:
    """Return a PATH with the real programs."""
    programs = ("restic", "etcdctl", "etcdutl", "etcd")
    return os.pathsep.join([*{str(program(name).parent) for name in programs}, "/usr/bin", "/bin"])


@dataclass(frozen=True)
class Ended:
    """A run that has ended. `log` is all that it printed."""

    exit_code: int
    result: RunResult
    log: str
    seconds: float

    @property
    def snapshot_id(self) -> str:
        """The backup's snapshot."""
        assert self.result.backup is not None, self.log
        return self.result.backup.snapshot_id


class RunningRunner:
    """A runner that is at work, in a process group of its own, until the `with` block ends."""

    def __init__(self, process: "subprocess.Popen[str]", result_path: Path) -> None:
        self.process = process
        self._result_path = result_path
        self._started = time.monotonic()
        self._log = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Only a test that fails leaves it at work, or its output unread.
        if self.process.poll() is None:
            self.kill_all()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def wait_for(self, words: str, seconds: float = 120) -> None:
        """Wait until the log has a line with these words."""
        assert self.process.stderr is not None
        end = time.monotonic() + seconds
        while words not in self._log:
            line = self.process.stderr.readline()
            self._log += line
            assert line, f"ended and never said {words!r}:\n{self._log}"
            assert time.monotonic() < end, f"did not say {words!r} in time:\n{self._log}"

    def kill_all(self) -> None:
        """Kill the runner and its children at once, as a node's power failure does."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate(timeout=10)

    def children(self) -> list[str]:
        """Return the command lines of the processes in the runner's group, without its own."""
        listed = subprocess.run(
            ["ps", "-o", "pid=,args=", "-g", str(self.process.pid)],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.splitlines()
        rows = [line.strip().split(None, 1) for line in listed]
        return [row[1] for row in rows if len(row) == 2 and row[0] != str(self.process.pid)]

    def end(self, seconds: float = 300) -> Ended:
        """Wait for the end."""
        stdout, stderr = self.process.communicate(timeout=seconds)
        log = self._log + stderr + stdout
        assert self._result_path.is_file(), f"no result document; exit {self.process.returncode}:\n{log}"
        result = RunResult.from_termination_message(self._result_path.read_text())
        return Ended(self.process.returncode, result, log, time.monotonic() - self._started)


class RunnerPod:
    """The volumes and settings of one pod after the other, all for the same repository."""

    def __init__(
        self, directory: Path, s3: S3Server | None, etcd: EtcdServer, bucket: str, repository: str = ""
    ) -> None:
        self.directory = directory
        self._s3 = s3
        self.bucket = bucket
        self.prefix = "clusters/one"
        self.credentials = directory / "repository-credentials"
        self.scratch = directory / "scratch"
        self.target = directory / "target"
        self.certificates = directory / "pki"
        for folder in (self.credentials, self.scratch, self.target, self.certificates):
            folder.mkdir(parents=True)
        self.set_keys(s3.identities[0] if s3 else Identity.new("nobody"))
        (self.credentials / "restic_repo_password").write_text(PASSWORD + "\n")
        (self.certificates / "ca.crt").write_text("a certificate\n")
        (self.certificates / "ca.key").write_text("a key\n")
        (self.certificates / "ca.key").chmod(0o600)
        self.settings: dict[str, str] = {
            Env.REPOSITORY: f"s3:{s3.url}/{bucket}/{self.prefix}" if s3 else repository,
            Env.REPOSITORY_CREDENTIALS_DIR: str(self.credentials),
            Env.SCRATCH_DIR: str(self.scratch),
            Env.DEADLINE_SECONDS: "120",
            Env.CLUSTER_ID: "0b2f4cbe-cluster",
            Env.POLICY: "backup-system/every-hour",
            Env.ETCD_ENDPOINTS: etcd.endpoint,
            Env.ETCD_CREDENTIALS_DIR: str(etcd.credentials_dir),
            Env.CERTIFICATES_DIR: str(self.certificates),
            Env.TARGET_DIR: str(self.target),
            "PATH": program_path(),
            "HOME": "/nonexistent",
        }
        if s3 is not None and s3.ca_file is not None:
            self.settings[Env.REPOSITORY_CA_FILE] = str(s3.ca_file)

    @property
    def s3(self) -> S3Server:
        """The storage."""
        assert self._s3 is not None, "the repository is a directory"
        return self._s3

    def set_keys(self, identity: Identity) -> None:
        """Put S3 keys into the Secret."""
        (self.credentials / "access_key").write_text(identity.access_key)
        (self.credentials / "secret_key").write_text(identity.secret_key)

    def plant(self) -> None:
        """Put a new repository into the bucket: as an initialisation does, and quick to open."""
        self.s3.create_bucket(self.bucket)
        for name, content in planted(PASSWORD).items():
            self.s3.put_object(self.bucket, f"{self.prefix}/{name}", content)

    def start(self, operation: Operation, changes: Mapping[str, str | None] | None = None) -> RunningRunner:
        """Start an operation, for a `with` block; `changes` override settings (None removes one)."""
        run_id = str(uuid.uuid4())
        result_path = self.directory / f"result-{run_id}"
        environment = {
            Env.RUN_ID: run_id,
            Env.RESULT_PATH: str(result_path),
            **self.settings,
            **(changes or {}),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "kubedr_server", "runner", operation.value],
            env={str(name): value for name, value in environment.items() if value is not None},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return RunningRunner(process, result_path)

    def run(self, operation: Operation, changes: Mapping[str, str | None] | None = None) -> Ended:
        """Run an operation to its end."""
        with self.start(operation, changes) as running:
            return running.end()

    def done(self, operation: Operation, changes: Mapping[str, str | None] | None = None) -> Ended:
        """Run an operation that has to succeed."""
        ended = self.run(operation, changes)
        assert ended.exit_code == 0, ended.log
        assert ended.result.succeeded
        return ended

    def restic(self, *arguments: str) -> str:
        """Run plain restic on the repository, as a person would; return its output."""
        argv = [str(program("restic")), "--no-cache"]
        env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.directory),
            "RESTIC_REPOSITORY": self.settings[Env.REPOSITORY],
            "RESTIC_PASSWORD": PASSWORD,
        }
        if self._s3 is not None:
            argv += ["-o", "s3.bucket-lookup=path"]
            if self.s3.ca_file is not None:
                argv.append(f"--cacert={self.s3.ca_file}")
            env |= {"AWS_ACCESS_KEY_ID": self.s3.access_key, "AWS_SECRET_ACCESS_KEY": self.s3.secret_key}
        return subprocess.run(
            [*argv, *arguments],
            env=env,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout

    def snapshots(self) -> list[dict[str, Any]]:
        """Return the repository's snapshots."""
        found: list[dict[str, Any]] = json.loads(self.restic("snapshots", "--json", "--no-lock"))
        return found

    def locks(self) -> list[str]:
        """Return the repository's locks."""
        return self.s3.objects(self.bucket, f"{self.prefix}/locks/")
