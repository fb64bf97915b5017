"""`kubedr runner backup`: a proven snapshot of etcd, and what belongs to it, in the repository."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import RECOVERY_FOLDER, BackupResult
from kubedr_server.runner.catalogue import from_snapshot, host, search_tags, tags
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.layout import Layout, layout_named
from kubedr_server.runner.log import size
from kubedr_server.runner.repository import ask_storage, bucket_of, reads_back, restic_for, tell_opened
from kubedr_server.runner.restic import Restic
from kubedr_server.runner.restic_messages import BackupSummary
from kubedr_server.runner.run import Outcome, Run, scratch_directory
from kubedr_server.runner.s3 import Bucket
from kubedr_server.runner.settings import BackupSettings
from kubedr_server.runner.staging import Staged, stage


async def backup(settings: BackupSettings, context: Run) -> Outcome:
    """Back up, or find what this very run has already stored before it was killed.

    The snapshot is taken while the repository is opened. If neither can be done, the repository's trouble is
    told: it has to be mended first.
    """
    started = time.monotonic()
    layout = layout_named(settings.snapshot_format)
    bucket = bucket_of(settings.repository)
    async with (
        scratch_directory(settings.run) as directory,
        _staged_meanwhile(settings, context, layout, directory) as staging,
        restic_for(settings.repository, settings.run, context, directory) as restic,
    ):
        await ask_storage(restic, bucket, context)
        adopted = await _find_own(settings, restic, context)
        if adopted is not None:
            return _told(adopted, "Found the snapshot that this run had already stored")
        staged = await staging
        context.log.tell("Storing in the repository")
        summary = await restic.backup(
            staged.directory,
            host(settings.run.cluster_id),
            tags(settings, _result(staged, layout, None, 0.0), staged.sizes),
            total=sum(staged.sizes.values()),
            compare=layout.few_files,
            last=RECOVERY_FOLDER,
            prove=staged.complete,
        )
        await _check_stored(restic, bucket, summary, staged)
        return _told(_result(staged, layout, summary, time.monotonic() - started), "Backed up")


@contextlib.asynccontextmanager
async def _staged_meanwhile(
    settings: BackupSettings, context: Run, layout: Layout, directory: Path
) -> AsyncIterator["asyncio.Task[Staged]"]:
    """Stage the backup in a task of its own, which ends with the block at the latest."""
    task = asyncio.create_task(stage(settings, context, layout, directory))
    try:
        yield task
    finally:
        task.cancel()
        # Its failure, if it has one, was raised where it was awaited, or does not matter any more.
        await asyncio.gather(task, return_exceptions=True)


async def _find_own(settings: BackupSettings, restic: Restic, context: Run) -> BackupResult | None:
    found = await restic.snapshots(*search_tags(settings))
    tell_opened(restic.opened_id() or await restic.repository_id(), context)
    for snapshot in found:
        result = from_snapshot(snapshot, await _sizes(restic, snapshot.id))
        if result is not None:
            context.log.tell(
                f"This run has stored snapshot {snapshot.id[:8]} already, before it was interrupted."
            )
            return result
        context.warn(f"Snapshot {snapshot.id[:8]} of this run is incomplete: it is forgotten.")
        await restic.forget(snapshot.id)
    return None


async def _check_stored(
    restic: Restic, bucket: Bucket | None, summary: BackupSummary, staged: Staged
) -> None:
    """Compare what restic has stored with what was staged, and read the snapshot back from the storage."""
    snapshot_id = summary.snapshot_id
    stored = (summary.total_files_processed, summary.total_bytes_processed)
    expected = (len(staged.sizes), sum(staged.sizes.values()))
    if stored != expected:
        await restic.forget(snapshot_id)
        raise RunFailureError(
            Reason.BACKUP_INCOMPLETE,
            f"restic stored {stored[0]} files of {stored[1]} bytes, and there were {expected[0]} of "
            f"{expected[1]}: snapshot {snapshot_id[:8]} was forgotten again. Look at the scratch volume.",
        )
    if not await reads_back(restic, bucket, snapshot_id):
        await restic.forget(snapshot_id)
        raise RunFailureError(
            Reason.BACKUP_INCOMPLETE,
            f"The storage does not give back what was stored: snapshot {snapshot_id[:8]} was forgotten "
            "again. Look at the storage and at what is between.",
        )


async def _sizes(restic: Restic, snapshot_id: str) -> dict[str, int]:
    _, nodes = await restic.list_files(snapshot_id)
    return {node.path.removeprefix("/"): node.size for node in nodes if node.type == "file"}


def _result(staged: Staged, layout: Layout, summary: BackupSummary | None, seconds: float) -> BackupResult:
    """Return the result; without a summary (before storing), it has the part that the tags need."""
    proof = staged.proof
    return BackupResult(
        snapshot_id=summary.snapshot_id if summary else "0" * 64,
        revision=proof.revision,
        minimum_revision=staged.chosen.minimum_revision,
        hash=proof.hash,
        total_keys=proof.total_keys,
        sha256=proof.sha256,
        snapshot_size=proof.size,
        snapshot_format=layout.name,
        etcd_version=staged.chosen.member.version,
        etcd_endpoint=staged.chosen.member.endpoint,
        certificate_files=staged.certificate_files,
        certificates_expire=staged.certificates_expire,
        encrypted_objects=staged.encryption.encrypted,
        unrestorable_objects=staged.encryption.unrestorable,
        files_new=summary.new_files if summary else 0,
        files_changed=summary.files_changed if summary else 0,
        data_added=summary.data_added if summary else 0,
        data_stored=summary.data_added_packed if summary else 0,
        total_bytes_processed=summary.total_bytes_processed if summary else 0,
        total_duration_secs=round(seconds, 3),
    )


def _told(result: BackupResult, verb: str) -> Outcome:
    return Outcome(
        f"{verb}: etcd at revision {result.revision} ({result.total_keys} stored revisions, "
        f"{size(result.snapshot_size)}) and {result.certificate_files} certificate files, as snapshot "
        f"{result.snapshot_id[:8]}; {size(result.data_stored)} were new.",
        backup=result,
    )
