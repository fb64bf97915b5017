"""`kubedr runner backup`: a proven snapshot of etcd, and the certificates, in the repository."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import CERTIFICATES_FOLDER, BackupResult
from kubedr_server.runner import certificates, programs
from kubedr_server.runner.catalogue import from_snapshot, host, search_tags, tags
from kubedr_server.runner.etcd import Etcd, Member
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.layout import FileLayout, Layout
from kubedr_server.runner.log import size
from kubedr_server.runner.proof import Proof, prove
from kubedr_server.runner.repository import open_repository
from kubedr_server.runner.restic import Restic
from kubedr_server.runner.restic_messages import BackupSummary
from kubedr_server.runner.run import Outcome, Run, require_space, scratch_directory, utc_now
from kubedr_server.runner.settings import BackupSettings

_RESTIC_SCRATCH_BYTES = 64 * 1024 * 1024
"""What restic keeps in temporary files while it packs, and its cache."""


@dataclass(frozen=True)
class _Staged:
    """What lies in the staging directory, proven. `sizes` is what the repository must hold afterwards."""

    member: Member
    minimum_revision: int
    proof: Proof
    sizes: dict[str, int]
    certificate_files: int


async def backup(settings: BackupSettings, context: Run) -> Outcome:
    """Back up, or find what this very run has already stored before it was killed."""
    started = time.monotonic()
    layout = FileLayout()
    etcdctl = await programs.find(programs.ETCDCTL, settings.run.search_path)
    etcdutl = await programs.find(programs.ETCDUTL, settings.run.search_path)
    async with (
        scratch_directory(settings.run) as directory,
        open_repository(settings.repository, settings.run, context, directory) as restic,
    ):
        adopted = await _find_own(settings, restic, context)
        if adopted is not None:
            return _told(adopted, "Found the snapshot that this run had already stored")
        etcd = Etcd(etcdctl, settings.etcd, directory, settings.run.search_path, context.log, clock=utc_now)
        staging = directory / "staging"
        staging.mkdir(mode=0o700)
        staged = await _stage(settings, context, etcd, etcdutl, layout, staging)
        context.log.tell("Storing in the repository")
        summary = await restic.backup(
            staging,
            host(settings.run.cluster_id),
            tags(settings, _result(staged, layout, None, 0.0), staged.sizes),
        )
        await _read_back(restic, summary.snapshot_id, staged)
        return _told(_result(staged, layout, summary, time.monotonic() - started), "Backed up")


async def _find_own(settings: BackupSettings, restic: Restic, context: Run) -> BackupResult | None:
    for snapshot in await restic.snapshots(*search_tags(settings)):
        result = from_snapshot(snapshot, await _sizes(restic, snapshot.id))
        if result is not None:
            context.log.tell(
                f"This run has stored snapshot {snapshot.id[:8]} already, before it was interrupted."
            )
            return result
        context.warn(f"Snapshot {snapshot.id[:8]} of this run is incomplete: it is forgotten.")
        await restic.forget(snapshot.id)
    return None


async def _stage(
    settings: BackupSettings,
    context: Run,
    etcd: Etcd,
    etcdutl: programs.Program,
    layout: Layout,
    staging: Path,
) -> _Staged:
    member, minimum = await _choose_member(etcd, context)
    context.log.tell(
        f"Backing up from {member.endpoint} (etcd {member.version}), at revision {minimum} or later"
    )
    await _check_space(settings, member)
    snapshot = staging.parent / "snapshot.db"
    await etcd.save(member, snapshot)
    proof = await prove(snapshot, etcdutl, settings.run.search_path, minimum)
    context.log.tell(f"Proven: revision {proof.revision}, {proof.total_keys} keys, {size(proof.size)}")
    copied = certificates.Copied({})
    if settings.certificates is not None:
        copied = await asyncio.to_thread(
            certificates.copy, settings.certificates, staging / CERTIFICATES_FOLDER, context.warn
        )
        context.log.tell(f"Copied {copied.files} certificate files")
    sizes = await layout.arrange(snapshot, staging)
    sizes |= {f"{CERTIFICATES_FOLDER}/{path}": count for path, count in copied.sizes.items()}
    return _Staged(member, minimum, proof, sizes, copied.files)


async def _choose_member(etcd: Etcd, context: Run) -> tuple[Member, int]:
    """Return a member that takes part in the consensus, and the revision it then has at least."""
    members = await etcd.members(context.warn)
    for position, member in enumerate(members, start=1):
        try:
            await etcd.check_alarms(member, context.warn)
            return member, await etcd.revision(member)
        except RunFailureError as failure:
            if position == len(members):
                raise
            context.warn(f"Not backed up from {member.endpoint}: {failure.message}")
    raise RunFailureError(Reason.ETCD_UNREACHABLE, "No etcd endpoint is set: correct spec.etcdEndpoint.")


async def _check_space(settings: BackupSettings, member: Member) -> None:
    needed = member.db_size + _RESTIC_SCRATCH_BYTES
    if settings.certificates is not None:
        needed += await asyncio.to_thread(certificates.total_size, settings.certificates)
    require_space(settings.run.scratch, needed, f"A snapshot of {size(member.db_size)} with its certificates")


async def _read_back(restic: Restic, snapshot_id: str, staged: _Staged) -> None:
    """Compare what the repository now lists with what was staged."""
    stored = await _sizes(restic, snapshot_id)
    if stored != staged.sizes:
        await restic.forget(snapshot_id)
        different = sorted(path for path, _ in stored.items() ^ staged.sizes.items())
        raise RunFailureError(
            Reason.BACKUP_INCOMPLETE,
            f"The repository does not hold what was stored ({different[0]} differs): snapshot "
            f"{snapshot_id[:8]} was "
            "forgotten again. Look at the scratch volume and the storage.",
        )


async def _sizes(restic: Restic, snapshot_id: str) -> dict[str, int]:
    _, nodes = await restic.list_files(snapshot_id)
    return {node.path.removeprefix("/"): node.size for node in nodes if node.type == "file"}


def _result(staged: _Staged, layout: Layout, summary: BackupSummary | None, seconds: float) -> BackupResult:
    """Return the result; without a summary (before storing), it has the part that the tags need."""
    proof = staged.proof
    return BackupResult(
        snapshot_id=summary.snapshot_id if summary else "0" * 64,
        revision=proof.revision,
        minimum_revision=staged.minimum_revision,
        hash=proof.hash,
        total_keys=proof.total_keys,
        sha256=proof.sha256,
        snapshot_size=proof.size,
        snapshot_format=layout.name,
        etcd_version=staged.member.version,
        etcd_endpoint=staged.member.endpoint,
        certificate_files=staged.certificate_files,
        files_new=summary.files_new if summary else 0,
        files_changed=summary.files_changed if summary else 0,
        data_added=summary.data_added if summary else 0,
        data_stored=summary.data_added_packed if summary else 0,
        total_bytes_processed=summary.total_bytes_processed if summary else 0,
        total_duration_secs=round(seconds, 3),
    )


def _told(result: BackupResult, verb: str) -> Outcome:
    return Outcome(
        f"{verb}: etcd at revision {result.revision} ({result.total_keys} keys, "
        f"{size(result.snapshot_size)}) and "
        f"{result.certificate_files} certificate files, as snapshot {result.snapshot_id[:8]}; "
        f"{size(result.data_stored)} were new.",
        backup=result,
    )
