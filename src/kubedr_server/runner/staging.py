"""Puts into one directory all that a backup stores, proven.

What does not depend on each other runs at the same time: the node's files are copied while etcd streams; the
snapshot is proven, the members are compared, and the objects counted, while it is taken apart. The trial
comes last, while restic stores: then all but one digest is known of what will be stored.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from kubedr_server.contract import (
    CERTIFICATES_FOLDER,
    ENCRYPTION_FOLDER,
    KUBECONFIGS_FOLDER,
    STATIC_PODS_FOLDER,
)
from kubedr_server.runner import (
    certificates,
    component_arguments,
    encryption,
    etcd_save,
    node_files,
    programs,
    recovery,
)
from kubedr_server.runner.etcd import Chosen, Etcd, KeyHash
from kubedr_server.runner.etcdctl import Etcdctl
from kubedr_server.runner.layout import Layout
from kubedr_server.runner.log import size
from kubedr_server.runner.programs import Program
from kubedr_server.runner.proof import Proof, prove, prove_rebuilt, read_inventory
from kubedr_server.runner.run import Run, utc_now
from kubedr_server.runner.settings import BackupSettings
from kubedr_server.runner.together import in_thread, together
from kubedr_server.snapshot.objects import DEFAULT_PREFIX

_RESTIC_SCRATCH_BYTES: Final = 64 * 1024 * 1024
"""What restic keeps in temporary files while it packs, and its cache."""


@dataclass(frozen=True)
class Staged:
    """What lies in `directory`. `sizes` is what the repository must hold at the end: path to bytes.

    `complete` has to be awaited before the files in `recovery/` are stored: it proves that a restore gives
    the same snapshot, and writes the last of them. RunFailureError (RebuildDiffers).
    """

    directory: Path
    chosen: Chosen
    proof: Proof
    sizes: Mapping[str, int]
    certificate_files: int
    certificates_expire: datetime | None
    encryption: encryption.Judged
    complete: Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class _NodeFiles:
    """What was copied of the node."""

    sizes: dict[str, int]
    certificates_expire: datetime | None = None
    keys: encryption.Keys | None = None
    arguments: dict[str, list[str]] | None = None

    def count(self, folder: str) -> int:
        return sum(1 for path in self.sizes if path.startswith(f"{folder}/"))


async def stage(settings: BackupSettings, context: Run, layout: Layout, directory: Path) -> Staged:
    """Take a snapshot and what belongs to it, below `directory`, and prove it all."""
    async with together() as group:
        finding = [
            group.create_task(programs.find(each, settings.run.search_path))
            for each in (programs.ETCDCTL, programs.ETCDUTL, programs.RESTIC)
        ]
    etcdctl_program, etcdutl, restic = (task.result() for task in finding)
    etcdctl = Etcdctl(etcdctl_program, settings.etcd, directory, settings.run.search_path)
    etcd = Etcd(etcdctl, settings.etcd, clock=utc_now)
    chosen = await etcd.choose(context.warn)
    context.log.tell(
        f"Backing up from {chosen.member.endpoint} (etcd {chosen.member.version}), at revision "
        f"{chosen.minimum_revision} or later"
    )
    sources = list(_sources(settings))
    await _check_space(settings, context, chosen, layout, sources)
    staging = directory / "staging"
    staging.mkdir(mode=0o700)
    snapshot = directory / "snapshot.db"
    async with together() as group:
        group.create_task(etcd_save.save(etcdctl, etcd, chosen.member, snapshot, context.log))
        copying = group.create_task(in_thread(_copy, sources, staging, context))
    copied = copying.result()
    prefix = component_arguments.etcd_prefix(copied.arguments or {}) or DEFAULT_PREFIX
    async with together() as group:
        arranging = group.create_task(layout.arrange(snapshot, staging))
        proving = group.create_task(_prove(snapshot, etcdutl, settings, etcd, chosen, context))
        counting = group.create_task(read_inventory(snapshot, prefix))
    (original, key_hash), inventory = proving.result(), counting.result()
    # The rebuilt file has to fit into the same space.
    await in_thread(snapshot.unlink)
    context.log.tell(
        f"Counted {inventory.total} objects of {len(inventory.resources)} resources, "
        f"{inventory.encrypted.total()} of them encrypted at rest"
    )
    facts = recovery.Facts(
        cluster_id=settings.run.cluster_id,
        policy=settings.policy,
        snapshot_format=layout.name,
        chosen=chosen,
        proof=original,
        key_hash=key_hash,
        inventory=inventory,
        programs=(etcdctl_program, etcdutl, restic),
        arguments=copied.arguments,
    )
    written = await in_thread(recovery.write, staging, facts, list(copied.sizes), layout.tools())

    async def complete() -> None:
        sha256 = await _try_out(layout, staging, original, etcdutl, settings, context)
        await in_thread(recovery.write_digests, staging, written, sha256)

    return Staged(
        directory=staging,
        chosen=chosen,
        proof=original,
        sizes={**arranging.result(), **copied.sizes, **written.sizes},
        certificate_files=copied.count(CERTIFICATES_FOLDER),
        certificates_expire=copied.certificates_expire,
        encryption=encryption.judge(inventory.encrypted, copied.keys, context.warn),
        complete=complete,
    )


async def _prove(
    snapshot: Path, etcdutl: Program, settings: BackupSettings, etcd: Etcd, chosen: Chosen, context: Run
) -> tuple[Proof, KeyHash | None]:
    """Prove the file, then compare the members at its revision."""
    proof = await prove(snapshot, etcdutl, settings.run.search_path, chosen.minimum_revision)
    context.log.tell(f"Proven: revision {proof.revision}, {proof.total_keys} revisions, {size(proof.size)}")
    return proof, await etcd.key_hash(chosen, proof.revision, context.warn)


async def _try_out(
    layout: Layout, staging: Path, original: Proof, etcdutl: Program, settings: BackupSettings, context: Run
) -> str:
    """Prove that a restore gives a file which equals the original; return that file's SHA-256."""
    trial = staging.parent / "rebuilt.db"
    rebuilt = await layout.try_out(staging, trial)
    if rebuilt is None:
        return original.sha256
    await prove_rebuilt(trial, etcdutl, settings.run.search_path, original)
    await in_thread(trial.unlink)
    context.log.tell(
        f"Put together again for a trial: hash, revision and {original.total_keys} revisions as in the "
        "original"
    )
    return rebuilt.sha256


def _sources(settings: BackupSettings) -> list[node_files.Source]:
    named = (
        (node_files.certificates, settings.certificates),
        (node_files.static_pods, settings.static_pods),
        (node_files.kubeconfigs, settings.kubeconfigs),
        (node_files.encryption_config, settings.encryption_config),
    )
    return [make(path) for make, path in named if path is not None]


async def _check_space(
    settings: BackupSettings, context: Run, chosen: Chosen, layout: Layout, sources: list[node_files.Source]
) -> None:
    needed = layout.peak_bytes(chosen.member) + _RESTIC_SCRATCH_BYTES
    for source in sources:
        needed += await asyncio.to_thread(node_files.total_size, source)
    context.require_room(
        settings.run.scratch, needed, f"A snapshot of {size(chosen.member.db_size)} with the node's files"
    )
    context.log.tell(f"Scratch space: {size(needed)} at most")


def _copy(sources: list[node_files.Source], staging: Path, context: Run) -> _NodeFiles:
    """Copy what the policy names of the node, and look at what was copied."""
    sizes: dict[str, int] = {}
    for source in sources:
        copied = node_files.copy(source, staging / source.folder, context.warn)
        sizes |= {f"{source.folder}/{path}": count for path, count in copied.sizes.items()}
        context.log.tell(f"Copied {copied.files} files of the {source.what}")
    pki = [name for name in sizes if name.startswith((f"{CERTIFICATES_FOLDER}/", f"{KUBECONFIGS_FOLDER}/"))]
    configuration = next((name for name in sizes if name.startswith(f"{ENCRYPTION_FOLDER}/")), None)
    static_pods = staging / STATIC_PODS_FOLDER
    return _NodeFiles(
        sizes=sizes,
        certificates_expire=certificates.inspect(staging, pki, utc_now(), context.warn),
        keys=encryption.read_keys(staging / configuration) if configuration else None,
        arguments=component_arguments.read(static_pods) if static_pods.is_dir() else None,
    )
