"""Takes the snapshot: a stream that may be long, may stall, and may break."""

import asyncio
import re
from pathlib import Path
from typing import Final

from kubedr_server.api.conditions import Reason
from kubedr_server.runner.etcd import Etcd, Member
from kubedr_server.runner.etcd_tls import PROBE_SECONDS
from kubedr_server.runner.etcdctl import Etcdctl, why
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.log import Log, size

STALL_SECONDS: Final = 60.0
_WATCH_SECONDS: Final = 5.0
_FULL: Final = "no space left on device|disk quota exceeded|file too large"
_BROKEN: Final = "input/output error|read-only file system"


async def save(
    etcdctl: Etcdctl, etcd: Etcd, member: Member, path: Path, log: Log, stall_seconds: float = STALL_SECONDS
) -> None:
    """Write a snapshot to `path`; progress is logged.

    RunFailureError: EtcdSnapshotFailed if etcd breaks it off, or nothing comes for `stall_seconds`; DiskFull
    or DiskFailed; or what `Etcd.diagnose` finds, such as certificates that were changed meanwhile.
    """
    saving = asyncio.ensure_future(_save(etcdctl, etcd, member, path))
    watching = asyncio.ensure_future(_watch(path, member.db_size, log, stall_seconds))
    try:
        done, _ = await asyncio.wait({saving, watching}, return_when=asyncio.FIRST_COMPLETED)
        if saving not in done:
            await _blame_certificates(etcd, member, stall_seconds)
            raise RunFailureError(
                Reason.ETCD_SNAPSHOT_FAILED,
                f"The snapshot from {member.endpoint} stopped: nothing came for {stall_seconds:.0f} "
                "seconds. Look at etcd's log and its disk.",
            )
        saving.result()
    finally:
        for task in (saving, watching):
            task.cancel()
        await asyncio.gather(saving, watching, return_exceptions=True)
        # etcdctl leaves it when it is ended.
        _partial(path).unlink(missing_ok=True)


async def _save(etcdctl: Etcdctl, etcd: Etcd, member: Member, path: Path) -> None:
    finished = await etcdctl.stream("snapshot", "save", str(path), endpoint=member.endpoint)
    if finished.returncode == 0:
        return
    # The words of this machine's system about this file, and not etcd's about its own disk.
    disk = re.search(rf"{re.escape(str(path))}[^\s:]*: ({_FULL}|{_BROKEN})", finished.stderr)
    if disk and re.fullmatch(_FULL, disk[1]):
        raise RunFailureError(
            Reason.DISK_FULL,
            f"The snapshot of {size(member.db_size)} does not fit into {path.parent}: {disk[1]}.",
        )
    if disk:
        raise RunFailureError(
            Reason.DISK_FAILED,
            f"The snapshot cannot be written to {path.parent}: {disk[1]}. Look at the log of the node's "
            "kernel, and run it again on another node or volume.",
        )
    await etcd.diagnose(member.endpoint)
    raise RunFailureError(
        Reason.ETCD_SNAPSHOT_FAILED,
        f"etcd at {member.endpoint} did not give a snapshot: {why(finished)}. Look at etcd's log.",
    )


async def _blame_certificates(etcd: Etcd, member: Member, seconds: float) -> None:
    """Raise EtcdTLSFailed if etcd does not accept a connection: etcdctl tries again and again then."""
    try:
        await etcd.diagnose(member.endpoint, min(seconds, PROBE_SECONDS))
    except RunFailureError as failure:
        if failure.reason is Reason.ETCD_TLS_FAILED:
            raise


def _partial(path: Path) -> Path:
    """Return the name that etcdctl writes to before the snapshot is whole."""
    return path.with_name(path.name + ".part")


async def _watch(path: Path, expected: int, log: Log, stall_seconds: float) -> None:
    """Report progress; return when the file has not grown for `stall_seconds`."""
    partial = _partial(path)
    loop = asyncio.get_running_loop()
    last, since = -1, loop.time()
    pause = min(_WATCH_SECONDS, stall_seconds / 4)
    while loop.time() - since < stall_seconds:
        await asyncio.sleep(pause)
        there = next((file for file in (partial, path) if file.exists()), None)
        now = there.stat().st_size if there else 0
        if now != last:
            last, since = now, loop.time()
            log.tell(f"received {size(now)} of about {size(expected)}")
