"""The two that are compared: `etcdctl snapshot save && restic backup`, and `kubedr runner backup`.

Each has a bucket of its own on the same S3 server, and backs up the same etcd in turn.
"""

import os
import resource
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.backup_memory import Memory, watch
from kubedr_server.contract import Env, Operation
from support.etcd import EtcdServer
from support.runner import PASSWORD, RunnerPod
from support.s3 import S3Server
from support.tools import program

_DEADLINE_SECONDS = 1800
_NOT_INHERITED = ("AWS_", "RESTIC_", "ETCDCTL_")


@dataclass(frozen=True)
class Taken:
    """What one backup took: seconds by the clock, seconds of the processor, and bytes more in the bucket."""

    seconds: float
    cpu_seconds: float
    stored: int


class Plain:
    """What a person does by hand, with restic's cache kept from one backup to the next.

    `snapshot` is the file that etcdctl has saved last.
    """

    def __init__(self, directory: Path, s3: S3Server, etcd: EtcdServer, bucket: str) -> None:
        directory.mkdir(parents=True)
        self._directory, self._etcd = directory, etcd
        self._bucket = _Bucket(s3, bucket)
        self.snapshot = directory / "snapshot.db"
        self._url = s3.url
        s3.create_bucket(bucket)
        self._run("restic", "init")

    def backup(self, storage: str) -> Taken:
        """Save a snapshot and store the file; `storage` is the S3 server's URL. Raises CalledProcessError."""
        self._url = storage
        self.snapshot.unlink(missing_ok=True)
        seconds, cpu_seconds = _time(self._save_and_store)
        return Taken(seconds, cpu_seconds, self._bucket.growth())

    def _save_and_store(self) -> None:
        etcd = self._etcd
        tls = ("--cacert", str(etcd.ca), "--cert", str(etcd.cert), "--key", str(etcd.key))
        self._run("etcdctl", "--endpoints", etcd.endpoint, *tls, "snapshot", "save", str(self.snapshot))
        self._run("restic", "backup", "--quiet", self.snapshot.name)

    def _run(self, name: str, *arguments: str) -> None:
        environment = {key: text for key, text in os.environ.items() if not key.startswith(_NOT_INHERITED)}
        environment |= {
            "RESTIC_REPOSITORY": f"s3:{self._url}/{self._bucket.name}",
            "RESTIC_PASSWORD": PASSWORD,
            "RESTIC_CACHE_DIR": str(self._directory / "cache"),
            "AWS_ACCESS_KEY_ID": self._bucket.s3.access_key,
            "AWS_SECRET_ACCESS_KEY": self._bucket.s3.secret_key,
        }
        argv = [str(program(name)), *arguments]
        subprocess.run(argv, env=environment, cwd=self._directory, check=True, capture_output=True)


class Ours:
    """The backup image's program, with all its proof; its cache lives as long as its pod."""

    def __init__(self, directory: Path, s3: S3Server, etcd: EtcdServer, bucket: str) -> None:
        self._bucket = _Bucket(s3, bucket)
        self._pod = RunnerPod(directory, s3, etcd, bucket)
        self._pod.settings[Env.DEADLINE_SECONDS] = str(_DEADLINE_SECONDS)
        self._pod.settings[Env.SNAPSHOT_FORMAT] = "segments"
        self._pod.done(Operation.INIT)
        self.log = ""
        """What the last backup told."""

    def backup(self, storage: str) -> Taken:
        """Run a backup to its end; `storage` is the S3 server's URL. Raises AssertionError with its log."""
        self._pod.settings[Env.REPOSITORY] = f"s3:{storage}/{self._bucket.name}/{self._pod.prefix}"
        seconds, cpu_seconds = _time(self._run)
        return Taken(seconds, cpu_seconds, self._bucket.growth())

    def _run(self) -> None:
        with self._pod.start(Operation.BACKUP) as running:
            ended = running.end(_DEADLINE_SECONDS)
        assert ended.exit_code == 0, ended.log
        self.log = ended.log

    def memory(self) -> Memory:
        """Run a backup, and look at the memory of all its processes."""
        with self._pod.start(Operation.BACKUP) as running, watch(running.process.pid) as memory:
            ended = running.end(_DEADLINE_SECONDS)
        assert ended.exit_code == 0, ended.log
        return memory


class _Bucket:
    """A bucket, and how much it grows."""

    def __init__(self, s3: S3Server, name: str) -> None:
        self.s3 = s3
        self.name = name
        self._size = 0

    def growth(self) -> int:
        """Return by how many bytes it has grown since this was asked last."""
        size = 0
        with self.s3.client() as client:
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.name):
                size += sum(item["Size"] for item in page.get("Contents", []))
        self._size, grown = size, size - self._size
        return grown


def _time(work: Callable[[], None]) -> tuple[float, float]:
    """Return how long something took by the clock, and how long its processes used the processor."""
    cpu, started = _cpu_seconds(), time.monotonic()
    work()
    return time.monotonic() - started, _cpu_seconds() - cpu


def _cpu_seconds() -> float:
    """Return the time of all processes that were started here, and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
