"""Opens the repository that a run works with, after asking the storage what restic would not tell."""

import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from kubedr_server.api.conditions import Reason
from kubedr_server.runner import programs
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.leftovers import remove_dead_locks
from kubedr_server.runner.restic import Restic
from kubedr_server.runner.run import Run
from kubedr_server.runner.s3 import Bucket, parse_location
from kubedr_server.runner.settings import RepositorySettings, RunSettings


def bucket_of(settings: RepositorySettings) -> Bucket | None:
    """Return the repository's bucket; None if the repository is not on S3."""
    location = parse_location(settings.url)
    return Bucket(location, settings) if location else None


@asynccontextmanager
async def restic_for(
    settings: RepositorySettings, run: RunSettings, context: Run, directory: Path
) -> AsyncIterator[Restic]:
    """Give restic, with its credentials file, for as long as the block runs."""
    program = await programs.find(programs.RESTIC, run.search_path)
    async with Restic(program, settings, directory, run.search_path, context.log, time.monotonic) as restic:
        yield restic


@asynccontextmanager
async def open_repository(
    settings: RepositorySettings, run: RunSettings, context: Run, directory: Path
) -> AsyncIterator[Restic]:
    """Give an existing repository that the password opens, free of dead runs' locks."""
    async with restic_for(settings, run, context, directory) as restic:
        await open_with(restic, bucket_of(settings), context)
        yield restic


async def open_with(restic: Restic, bucket: Bucket | None, context: Run) -> int:
    """Make sure that the repository is there and opens; return how many dead runs' locks were removed."""
    removed = await ask_storage(restic, bucket, context)
    tell_opened(await restic.repository_id(), context)
    return removed


async def ask_storage(restic: Restic, bucket: Bucket | None, context: Run) -> int:
    """Raise what the storage says against a repository; return how many dead runs' locks were removed."""
    if bucket is None:
        return 0
    context.log.tell(f"Asking the storage: {restic.settings.url.removeprefix('s3:')}")
    await bucket.list(limit=1)
    return await remove_dead_locks(bucket, context.log)


def tell_opened(repository_id: str, context: Run) -> None:
    """Note which repository was opened."""
    context.repository_id = repository_id
    context.log.tell(f"Opened the repository {repository_id[:8]}")


async def reads_back(restic: Restic, bucket: Bucket | None, snapshot_id: str) -> bool:
    """Read a snapshot from the storage by its id; tell whether it is what restic has written there.

    A snapshot's id is the SHA-256 of its file. restic would take the file from its cache, where it has just
    put it: S3 is asked without restic, and other storage with a restic that has no cache. RunFailureError is
    what the storage or restic finds wrong.
    """
    if bucket is None:
        await restic.read_back(snapshot_id)
        return True
    content = await bucket.get(f"snapshots/{snapshot_id}")
    return hashlib.sha256(content).hexdigest() == snapshot_id


async def full_id(restic: Restic, wanted: str) -> str | None:
    """Return the one snapshot whose id begins with `wanted`, in full; None if there is none.

    RunFailureError (SnapshotNotFound) if there are several: a guess could restore, or forget, another one.
    """
    found = [snapshot_id for snapshot_id in await restic.snapshot_ids() if snapshot_id.startswith(wanted)]
    if len(found) > 1:
        raise RunFailureError(
            Reason.SNAPSHOT_NOT_FOUND,
            f"{len(found)} snapshots have ids that begin with {wanted}: give more of the id's 64 digits.",
        )
    return found[0] if found else None
