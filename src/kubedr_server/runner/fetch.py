"""Brings one backup's files out of the repository, and proves that they are what was stored."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import TAG_FORMAT, TAG_HASH, TAG_REVISION, TAG_SHA256, TAG_SIZE
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.layout import FileLayout, layout_named
from kubedr_server.runner.log import Log, size
from kubedr_server.runner.programs import Program
from kubedr_server.runner.proof import Proof, prove
from kubedr_server.runner.repository import full_id
from kubedr_server.runner.restic import Restic
from kubedr_server.runner.restic_messages import Snapshot


@dataclass(frozen=True)
class Fetched:
    """A backup's files in a directory; `database` is the etcd snapshot file among them."""

    snapshot: Snapshot
    database: Path
    proof: Proof


async def fetch(
    restic: Restic,
    wanted: str,
    repository: str,
    target: Path,
    etcdutl: Program,
    search_path: str,
    log: Log,
    require_room: Callable[[int, str], None],
) -> Fetched:
    """Restore the snapshot whose id begins with `wanted` into the directory `target`.

    `require_room` is called with the bytes that it takes and its name, before anything is written. Raises
    RunFailureError: SnapshotNotFound, SnapshotCorrupt if what came back is not what was recorded, and what
    restic finds wrong.
    """
    snapshot_id = await full_id(restic, wanted)
    if snapshot_id is None:
        raise RunFailureError(
            Reason.SNAPSHOT_NOT_FOUND,
            f"The repository {repository} has no snapshot {wanted}: was it forgotten, or made in another "
            "repository? 'restic snapshots' lists what is there.",
        )
    snapshot, nodes = await restic.list_files(snapshot_id)
    layout = layout_named(snapshot.tag(TAG_FORMAT) or FileLayout.name)
    stored = needed = sum(node.size for node in nodes)
    if layout.name != FileLayout.name:
        needed += int(snapshot.tag(TAG_SIZE) or 0)  # the file that is put together of the parts
    require_room(needed, f"Snapshot {snapshot_id[:8]}")
    log.tell(f"Restoring snapshot {snapshot_id[:8]} of {snapshot.time:%Y-%m-%d %H:%M} UTC ({size(stored)})")
    await restic.restore(snapshot_id, target)
    database = await layout.rebuild(target)
    proof = await prove(database, etcdutl, search_path)
    _compare(snapshot, proof)
    log.tell(f"Proven: revision {proof.revision}, hash {proof.hash}, {size(proof.size)}")
    return Fetched(snapshot, database, proof)


def _compare(snapshot: Snapshot, proof: Proof) -> None:
    """Compare with what was recorded when the backup was proven.

    A file that is put together of segments may be laid out otherwise by another version: it is the same if
    etcd's hash of every bucket, key and value is.
    """
    found = {TAG_REVISION: str(proof.revision), TAG_HASH: proof.hash}
    if (snapshot.tag(TAG_FORMAT) or FileLayout.name) == FileLayout.name:
        found[TAG_SHA256] = proof.sha256
    for tag, value in found.items():
        recorded = snapshot.tag(tag)
        if recorded is not None and recorded != value:
            raise RunFailureError(
                Reason.SNAPSHOT_CORRUPT,
                f"The restored file is not the one that was backed up: its {tag} is {value}, and "
                f"{recorded} was "
                "recorded. Check the repository with 'restic check --read-data', and restore another backup.",
            )
