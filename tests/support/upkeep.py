"""Runs a runner's operation in the test's own process: as a pod would, without Python's start."""

import asyncio
import contextlib
import io
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kubedr_server.contract import Env
from kubedr_server.runner.backup import backup
from kubedr_server.runner.check import check
from kubedr_server.runner.health import health
from kubedr_server.runner.initialise import initialise
from kubedr_server.runner.leftovers import SETTLED
from kubedr_server.runner.log import Log
from kubedr_server.runner.programs import RESTIC, Program
from kubedr_server.runner.prune import prune
from kubedr_server.runner.repository import bucket_of
from kubedr_server.runner.restic import Restic
from kubedr_server.runner.run import Outcome, Run
from kubedr_server.runner.s3 import Bucket
from kubedr_server.runner.settings import (
    backup_settings,
    check_settings,
    health_settings,
    init_settings,
    prune_settings,
)
from support.repository import planted
from support.runner import PASSWORD, program_path
from support.tools import program


@dataclass
class Upkeep:
    """A repository, and the operations on it. `log` is what the last one said."""

    directory: Path
    environment: dict[str, str]
    log: str = ""

    @classmethod
    def at(cls, directory: Path, repository: str, secret: Mapping[str, str]) -> "Upkeep":
        """Return one for a repository's name and the keys of its Secret, with directories of its own."""
        credentials, scratch = directory / "credentials", directory / "scratch"
        for folder in (credentials, scratch):
            folder.mkdir(parents=True)
        for key, value in {"restic_repo_password": PASSWORD, **secret}.items():
            (credentials / key).write_text(value)
        return cls(
            directory,
            {
                Env.REPOSITORY: repository,
                Env.REPOSITORY_CREDENTIALS_DIR: str(credentials),
                Env.SCRATCH_DIR: str(scratch),
                Env.DEADLINE_SECONDS: "120",
                Env.CLUSTER_ID: "0b2f4cbe-cluster",
                "PATH": program_path(),
            },
        )

    def through(self, **changes: str) -> "Upkeep":
        """Return the same with other settings, by the names of `Env`."""
        named = {str(Env[name]): value for name, value in changes.items()}
        return Upkeep(self.directory, {**self.environment, **named})

    def restic(self) -> Restic:
        """Return restic on the repository, to be entered."""
        private = self.directory / f"restic-{uuid.uuid4().hex[:8]}"
        private.mkdir()
        settings = init_settings(self._environment()).repository
        tool = Program(RESTIC.name, program("restic"), (0, 0, 0))
        return Restic(tool, settings, private, program_path(), Log(io.StringIO(), _now), time.monotonic)

    def bucket(self) -> Bucket:
        """Return the repository's bucket."""
        bucket = bucket_of(init_settings(self._environment()).repository)
        assert bucket is not None
        return bucket

    async def plant(self) -> None:
        """Put a new repository into the bucket, which is made: quick to open."""
        bucket = self.bucket()
        await bucket.put("", b"")
        for name, content in planted(PASSWORD).items():
            await bucket.put(name, content)

    async def init(self, settled: timedelta = SETTLED) -> Outcome:
        """Initialise."""
        with _Kept(self) as context:
            return await initialise(init_settings(self._environment()), context, settled)

    async def backup(self, pod: Mapping[str, str]) -> Outcome:
        """Back up what a pod's settings say into this repository."""
        settings = backup_settings({**pod, **self._environment()})
        with _Kept(self) as context:
            return await backup(settings, context)

    async def health(self, *, unlock: bool = False) -> Outcome:
        """Look at the repository."""
        settings = health_settings({**self._environment(), Env.UNLOCK: str(unlock).lower()})
        with _Kept(self) as context:
            return await health(settings, context)

    async def check(self, part: int = 1, parts: int = 1) -> Outcome:
        """Check a part."""
        settings = check_settings(
            {**self._environment(), Env.CHECK_PART: str(part), Env.CHECK_PARTS: str(parts)}
        )
        with _Kept(self) as context:
            return await check(settings, context)

    async def prune(self) -> Outcome:
        """Prune."""
        with _Kept(self) as context:
            return await prune(prune_settings(self._environment()), context)

    async def store(self, name: str, content: bytes) -> str:
        """Store a file as a snapshot's only one; return the snapshot's id."""
        folder = self.directory / f"files-{uuid.uuid4().hex[:8]}"
        await asyncio.to_thread(_write, folder / name, content)
        async with self.restic() as restic:
            summary = await restic.backup(
                folder, "a-host", ["kubedr"], total=len(content), compare=True, last=".", prove=_nothing
            )
            return summary.snapshot_id

    async def packs(self) -> list[str]:
        """Return the names of the objects with data, the largest first."""
        found = [item async for item in self.bucket().walk("data/")]
        return [item.name for item in sorted(found, key=lambda item: -item.size)]

    async def locks(self) -> list[str]:
        """Return the names of the locks."""
        return [item.name async for item in self.bucket().walk("locks/")]

    def _environment(self) -> dict[str, str]:
        return {**self.environment, Env.RUN_ID: f"run-{uuid.uuid4()}"}


@contextlib.asynccontextmanager
async def running(restic: Restic, *arguments: str, cwd: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Give a plain restic that is at work, with a pipe as its standard input; it is killed at the end."""
    process = await asyncio.create_subprocess_exec(
        program("restic"),
        *restic._global_options(),
        *arguments,
        env=restic._environment(),
        cwd=cwd,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if process.stdin is not None:
            process.stdin.close()


async def until(true: Callable[[], Awaitable[object]]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(60):
        while not await true():  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.05)


class _Kept:
    """A run's context, whose log is kept also if the run fails."""

    def __init__(self, upkeep: Upkeep) -> None:
        self._upkeep = upkeep
        self._stream = io.StringIO()

    def __enter__(self) -> Run:
        return Run(Log(self._stream, _now))

    def __exit__(self, *exc: object) -> None:
        self._upkeep.log = self._stream.getvalue()


async def _nothing() -> None:
    """Prove nothing."""


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)


def _now() -> datetime:
    return datetime.now(UTC)
