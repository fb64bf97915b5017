"""`kubedr runner restore`: bring one backup's files back, checked, into an empty directory."""

import asyncio
from pathlib import Path

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import (
    SNAPSHOT_FILE,
    TAG_FORMAT,
    TAG_HASH,
    TAG_REVISION,
    TAG_SHA256,
    RestoreResult,
)
from kubedr_server.runner import programs
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.layout import FileLayout, layout_named
from kubedr_server.runner.log import size
from kubedr_server.runner.proof import Proof, prove
from kubedr_server.runner.repository import full_id, open_repository
from kubedr_server.runner.restic import Restic
from kubedr_server.runner.restic_messages import Snapshot
from kubedr_server.runner.run import Outcome, Run, require_space, scratch_directory
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
    snapshot_id = await full_id(restic, settings.snapshot_id)
    if snapshot_id is None:
        raise RunFailureError(
            Reason.SNAPSHOT_NOT_FOUND,
            f"The repository {settings.repository.url} has no snapshot {settings.snapshot_id}: was it "
            "forgotten, or "
            "made in another repository? 'restic snapshots' lists what is there.",
        )
    snapshot, nodes = await restic.list_files(snapshot_id)
    layout = layout_named(snapshot.tag(TAG_FORMAT) or FileLayout.name)
    needed = sum(node.size for node in nodes)
    require_space(settings.target, needed + _MARGIN_BYTES, f"Snapshot {snapshot_id[:8]}")
    context.log.tell(
        f"Restoring snapshot {snapshot_id[:8]} of {snapshot.time:%Y-%m-%d %H:%M} UTC ({size(needed)})"
    )
    await restic.restore(snapshot_id, target.files)
    database = await layout.rebuild(target.files)
    proof = await prove(database, etcdutl, settings.run.search_path)
    _compare(snapshot, proof)
    context.log.tell(f"Proven: revision {proof.revision}, {proof.total_keys} keys, {size(proof.size)}")
    files, count = await asyncio.to_thread(_measure, target.files)
    return RestoreResult(
        snapshot_id=snapshot_id,
        files_restored=files,
        bytes_restored=count,
        revision=proof.revision,
        hash=proof.hash,
    )


def _compare(snapshot: Snapshot, proof: Proof) -> None:
    """Compare with what was recorded when the backup was proven."""
    found = {TAG_REVISION: str(proof.revision), TAG_HASH: proof.hash, TAG_SHA256: proof.sha256}
    for tag, value in found.items():
        recorded = snapshot.tag(tag)
        if recorded is not None and recorded != value:
            raise RunFailureError(
                Reason.SNAPSHOT_CORRUPT,
                f"The restored file is not the one that was backed up: its {tag} is {value}, and "
                f"{recorded} was "
                "recorded. Check the repository with 'restic check --read-data', and restore another backup.",
            )


def _measure(directory: Path) -> tuple[int, int]:
    sizes = [
        path.lstat().st_size for path in directory.rglob("*") if path.is_file() and not path.is_symlink()
    ]
    return len(sizes), sum(sizes)
