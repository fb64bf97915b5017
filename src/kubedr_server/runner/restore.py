"""`kubedr runner restore`: bring one backup's files back, checked, into an empty directory."""

import asyncio
from pathlib import Path

from kubedr_server.contract import SNAPSHOT_FILE, RestoreResult
from kubedr_server.runner import programs
from kubedr_server.runner.fetch import fetch
from kubedr_server.runner.log import size
from kubedr_server.runner.repository import open_repository
from kubedr_server.runner.restic import Restic
from kubedr_server.runner.run import Outcome, Run, scratch_directory
from kubedr_server.runner.settings import RestoreSettings
from kubedr_server.runner.target import Target

_MARGIN_BYTES = 1024 * 1024


async def restore(settings: RestoreSettings, context: Run) -> Outcome:
    """Restore a snapshot; the target holds all of it afterwards, or none of it."""
    etcdutl = await programs.find(programs.ETCDUTL, settings.run.search_path)
    target = Target(settings.target)
    if await asyncio.to_thread(target.prepare):
        context.log.tell("Removed what an interrupted restore had left in the target.")
    try:
        async with (
            scratch_directory(settings.run) as directory,
            open_repository(settings.repository, settings.run, context, directory) as restic,
        ):
            result = await _bring(settings, context, restic, etcdutl, target)
        await _finish(target)
    finally:
        await asyncio.to_thread(target.discard)
    return Outcome(
        f"Restored snapshot {result.snapshot_id[:8]}: {result.files_restored} files, "
        f"{size(result.bytes_restored)}; "
        f"{SNAPSHOT_FILE} is whole, at revision {result.revision}. Next: etcdutl snapshot restore "
        f"{SNAPSHOT_FILE}.",
        restore=result,
    )


async def _finish(target: Target) -> None:
    """Move the files into place, to the end: who stops the run now gets a whole restore, not half of one."""
    finishing = asyncio.ensure_future(asyncio.to_thread(target.finish, SNAPSHOT_FILE))
    try:
        await asyncio.shield(finishing)
    except asyncio.CancelledError:
        await finishing


async def _bring(
    settings: RestoreSettings, context: Run, restic: Restic, etcdutl: programs.Program, target: Target
) -> RestoreResult:
    fetched = await fetch(
        restic,
        settings.snapshot_id,
        settings.repository.url,
        target.files,
        etcdutl,
        settings.run.search_path,
        context.log,
        lambda needed, what: context.require_room(settings.target, needed + _MARGIN_BYTES, what),
    )
    files, count = await asyncio.to_thread(_measure, target.files)
    return RestoreResult(
        snapshot_id=fetched.snapshot.id,
        files_restored=files,
        bytes_restored=count,
        revision=fetched.proof.revision,
        hash=fetched.proof.hash,
    )


def _measure(directory: Path) -> tuple[int, int]:
    sizes = [
        path.lstat().st_size for path in directory.rglob("*") if path.is_file() and not path.is_symlink()
    ]
    return len(sizes), sum(sizes)
