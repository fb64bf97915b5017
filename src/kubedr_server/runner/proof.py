"""Proves that a file is a whole etcd snapshot, and that one made of its parts is the same one.

etcd appends the SHA-256 of what it sent; neither `snapshot save` nor `snapshot status` compares it, so a
flipped byte passes both. It is compared here; then `etcdutl snapshot status` walks the file as bbolt
pages and gives the hash, the revision and the count of revisions that are recorded with the backup.
"""

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import kubedr_server
from kubedr_server.api.conditions import Reason
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.log import one_line
from kubedr_server.runner.process import run
from kubedr_server.runner.programs import Program
from kubedr_server.runner.together import in_thread, together
from kubedr_server.snapshot import count
from kubedr_server.snapshot.objects import Inventory

_TRAILER = hashlib.sha256().digest_size
_PAGE_UNIT = 512
_CHUNK = 1024 * 1024
_PACKAGES = Path(kubedr_server.__file__).parents[1]


@dataclass(frozen=True)
class Proof:
    """What is known of a snapshot file. `hash` is etcdutl's, `sha256` is of the whole file, both in hex.

    A file that is rebuilt has the same `hash`, `revision` and `total_keys`, and its own size and SHA-256.
    """

    size: int
    sha256: str
    hash: str
    revision: int
    total_keys: int


async def prove(snapshot: Path, etcdutl: Program, search_path: str, minimum_revision: int = 1) -> Proof:
    """Check a snapshot file whole.

    RunFailureError: SnapshotCorrupt, or SnapshotStale if it is older than `minimum_revision`.
    """
    async with together() as group:
        checking = group.create_task(in_thread(_check_trailer, snapshot))
        asking = group.create_task(_status(snapshot, etcdutl, search_path))
    length, sha256 = checking.result()
    status = asking.result()
    if status.revision < minimum_revision:
        raise RunFailureError(
            Reason.SNAPSHOT_STALE,
            f"The snapshot is of revision {status.revision}, and etcd was at {minimum_revision} when the run "
            "began: the member lags behind or is cut off. Look at 'etcdctl endpoint status', or name "
            "another endpoint.",
        )
    return Proof(length, sha256, status.hash, status.revision, status.total_keys)


async def prove_rebuilt(trial: Path, etcdutl: Program, search_path: str, original: Proof) -> None:
    """Compare the file that a restore would give with the snapshot that it was made of.

    RunFailureError (RebuildDiffers) if etcdutl's hash, which covers every key and value,
    the revision or the count of revisions is another one.
    """
    try:
        status = await _status(trial, etcdutl, search_path)
    except RunFailureError as failure:
        raise _differs(failure.message) from failure
    for what, found, expected in (
        ("hash", status.hash, original.hash),
        ("revision", status.revision, original.revision),
        ("count of revisions", status.total_keys, original.total_keys),
    ):
        if found != expected:
            raise _differs(f"its {what} is {found}, and {expected} is the original's.")


async def read_inventory(snapshot: Path, prefix: str) -> Inventory:
    """Count a snapshot's objects below kube-apiserver's prefix; RunFailureError (SnapshotCorrupt).

    In a process of its own: it takes about as long as taking the snapshot apart, beside which it runs.
    """
    finished = await run(
        [sys.executable, "-m", count.__name__, snapshot, prefix],
        env={"PYTHONPATH": str(_PACKAGES), "HOME": str(snapshot.parent)},
        cwd=snapshot.parent,
    )
    if finished.returncode == count.UNREADABLE:
        raise _corrupt(one_line(finished.last_words)[:300])
    try:
        return count.from_json(finished.stdout)
    except (ValueError, KeyError, TypeError):
        raise RunFailureError(
            Reason.INTERNAL_ERROR,
            f"The snapshot's objects could not be counted (exit code {finished.returncode}): "
            f"{one_line(finished.last_words)[:300]}.",
        ) from None


@dataclass(frozen=True)
class _Status:
    """What etcdutl tells of a file."""

    hash: str
    revision: int
    total_keys: int


async def _status(snapshot: Path, etcdutl: Program, search_path: str) -> _Status:
    directory = str(snapshot.parent)
    finished = await run(
        [etcdutl.path, "snapshot", "status", snapshot, "--write-out=json"],
        env={"PATH": search_path, "HOME": directory, "TMPDIR": directory},
    )
    if finished.returncode != 0:
        raise _corrupt(f"etcdutl cannot read it ({one_line(finished.last_words)[:300]})")
    try:
        answer = json.loads(finished.stdout)
        status = _Status(
            hash=f"{int(answer['hash']):x}",
            revision=int(answer["revision"]),
            total_keys=int(answer["totalKey"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _corrupt(f"etcdutl printed no status ({one_line(finished.stdout)[:200]})") from error
    if status.total_keys < 1 or status.revision < 1:
        raise _corrupt("it is empty")
    return status


def _check_trailer(snapshot: Path) -> tuple[int, str]:
    """Return the file's size and SHA-256 after comparing its content with the hash at its end."""
    length = snapshot.stat().st_size
    if length % _PAGE_UNIT != _TRAILER or length < _PAGE_UNIT:
        raise _corrupt(f"its {length} bytes are not whole pages and a SHA-256, so it was cut")
    content = hashlib.sha256()
    left = length - _TRAILER
    with snapshot.open("rb") as file:
        while left and (chunk := file.read(min(_CHUNK, left))):
            content.update(chunk)
            left -= len(chunk)
        trailer = file.read()
    if left or trailer != content.digest():
        raise _corrupt("its content does not match the SHA-256 at its end")
    content.update(trailer)
    return length, content.hexdigest()


def _differs(what: str) -> RunFailureError:
    return RunFailureError(
        Reason.REBUILD_DIFFERS,
        f"The snapshot was put together again from its parts for a trial, and is not the same: {what} "
        "No backup was made. Please report this with the log; spec.snapshotFormat: file stores the snapshot "
        "as it is meanwhile.",
    )


def _corrupt(what: str) -> RunFailureError:
    return RunFailureError(
        Reason.SNAPSHOT_CORRUPT,
        f"The etcd snapshot is damaged: {what}. Run it again; if it stays so, look at the disk, the memory "
        "and the network between.",
    )
