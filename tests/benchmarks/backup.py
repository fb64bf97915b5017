"""Measures backups of etcd: what is stored and how long it takes, beside the snapshot file in restic.

`make bench-backup` runs it and writes docs/design/benchmarks-backup.md. There are two databases, with ten
minutes of churn before each backup; both sides back up the same etcd one after the other, the first in turn:
to a storage in memory, and then to one behind slower and slower networks. After that: how much memory a
backup of a gigabyte needs.
"""

import argparse
import asyncio
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from benchmarks import backup_report, kubernetes_load, synthetic_load
from benchmarks.backup_changes import Changes
from benchmarks.backup_memory import Memory
from benchmarks.backup_report import Figures, Round
from benchmarks.backup_sides import Ours, Plain, Taken
from benchmarks.document import write_section
from benchmarks.etcd_load import Loader, Operation
from benchmarks.link import LINKS, linked
from support.etcd import EtcdServer
from support.s3 import S3Server

_SEED = 20260302
_MEMORY = Path("/dev/shm")  # noqa: S108 - the directory in it has a name that nobody can guess
_ROOM = 10 << 30
_LINK_ROUNDS = 3
_PARTS = ("kubernetes", "synthetic", "memory")
_LOADS: dict[str, Callable[[], "Load"]] = {
    "kubernetes": lambda: kubernetes_load.KubernetesLoad(_SEED, kubernetes_load.Size.full()),
    "synthetic": lambda: synthetic_load.SyntheticLoad(_SEED, synthetic_load.Size.full()),
}
_ETCD_ARGUMENTS = ("--quota-backend-bytes", str(8 << 30), "--unsafe-no-fsync")


class Load(Protocol):
    """A database and its life."""

    def initial(self) -> Iterator[Operation]:
        """Fill an empty etcd."""
        ...

    def ten_minutes(self) -> Iterator[Operation]:
        """Go on for ten minutes."""
        ...


async def measure(name: str, load: Load, directory: Path, s3: S3Server, rounds: int) -> Figures:
    """Fill an etcd, and back it up once to begin with and then after each ten minutes."""
    figures = Figures(name)
    async with _etcd(directory / "etcd") as (etcd, loader):
        started = await loader.fill(load.initial())
        _say(f"{name}: {started} operations at the beginning")
        await loader.fill(load.ten_minutes())
        plain = await asyncio.to_thread(Plain, directory / "plain", s3, etcd, f"{name}-plain")
        ours = await asyncio.to_thread(Ours, directory / "ours", s3, etcd, f"{name}-ours")
        changes = await asyncio.to_thread(Changes, directory / "changes")
        for number in range(rounds + 1):
            if number:
                figures.operations = await loader.fill(load.ten_minutes())
            taken = await _by_both(plain, ours, number, s3.url)
            compressed = await asyncio.to_thread(changes.compressed, plain.snapshot)
            size = (await asyncio.to_thread(plain.snapshot.stat)).st_size
            measured = Round(taken[plain], taken[ours], compressed, changes.records, size)
            if number:
                figures.rounds.append(measured)
            else:
                figures.first = measured
            _say(f"{name}, backup {number}: {measured}")
        for link in LINKS:
            async with linked(s3.url, link) as storage:
                for number in range(_LINK_ROUNDS):
                    await loader.fill(load.ten_minutes())
                    taken = await _by_both(plain, ours, number, storage)
                    figures.by_link.setdefault(link, []).append((taken[plain], taken[ours]))
                    _say(f"{name}, {link}: plain {taken[plain]}; kubedr {taken[ours]}")
    return figures


async def _by_both(plain: Plain, ours: Ours, number: int, storage: str) -> dict[Plain | Ours, Taken]:
    """Back up by both sides, each the first one in turn."""
    sides = (plain, ours) if number % 2 else (ours, plain)
    return {side: await asyncio.to_thread(side.backup, storage) for side in sides}


async def measure_memory(directory: Path, s3: S3Server) -> tuple[int, Memory]:
    """Return the size of a snapshot of a gigabyte, and what its backup held in memory."""
    load = synthetic_load.SyntheticLoad(_SEED, synthetic_load.Size.gigabyte())
    async with _etcd(directory / "etcd") as (etcd, loader):
        await loader.fill(load.initial())
        await loader.fill(load.ten_minutes())
        ours = await asyncio.to_thread(Ours, directory / "ours", s3, etcd, "memory")
        first = await asyncio.to_thread(ours.memory)
        await loader.fill(load.ten_minutes())
        second = await asyncio.to_thread(ours.memory)
        found = first.most(second)
        _say(f"memory: {found}")
        return await asyncio.to_thread(_database_size, etcd), found


async def main(rounds: int, parts: Sequence[str], output: Path) -> None:
    """Measure one part after the other, and write each one's section of the document."""
    with (
        tempfile.TemporaryDirectory(prefix="kubedr-bench-", dir=_in_memory()) as scratch,
        S3Server(Path(scratch) / "s3") as s3,
    ):
        for part in parts:
            directory = Path(scratch) / part
            if part == "memory":
                section = backup_report.memory(*await measure_memory(directory, s3))
            else:
                section = backup_report.table(await measure(part, _LOADS[part](), directory, s3, rounds))
            _say(section)
            await asyncio.to_thread(write_section, output, part, section)
    await asyncio.to_thread(write_section, output, "method", backup_report.METHOD)
    _say(f"written: {output}")


def _in_memory() -> Path | None:
    """Return a file system in memory; None (for the usual one) where there is none with room.

    An ext4 without a journal, as a build machine may have, takes up to a millisecond to make a file within
    minutes after others were removed, and most of the time would be that.
    """
    if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM:
        return _MEMORY
    return None


@asynccontextmanager
async def _etcd(directory: Path) -> AsyncIterator[tuple[EtcdServer, Loader]]:
    server = EtcdServer(directory, extra_arguments=_ETCD_ARGUMENTS)
    await asyncio.to_thread(server.start)
    try:
        async with Loader(server) as loader:
            yield server, loader
    finally:
        await asyncio.to_thread(server.stop)


def _database_size(etcd: EtcdServer) -> int:
    return (etcd.data_dir / "member" / "snap" / "db").stat().st_size


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command's progress


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # all that was started is ended, as by Ctrl-C
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8, help="backups after the first")
    parser.add_argument("--only", action="append", choices=_PARTS, help="this part of the document")
    parser.add_argument("--output", type=Path, default=Path("docs/design/benchmarks-backup.md"))
    options = parser.parse_args()
    asyncio.run(main(options.rounds, options.only or _PARTS, options.output))
