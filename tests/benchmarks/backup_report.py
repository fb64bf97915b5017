"""Writes what was measured of backups as a document: ratios first, for they hold on other machines, too."""

import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from benchmarks.backup_memory import Memory
from benchmarks.backup_sides import Taken
from benchmarks.link import Link
from support.tools import program

_MB = 1e6
_T = TypeVar("_T")


@dataclass(frozen=True)
class Round:
    """A backup by both sides. `changed` is the compressed size, in bytes, of the `records` that are new."""

    plain: Taken
    ours: Taken
    changed: int
    records: int
    snapshot_size: int

    def __str__(self) -> str:
        return (
            f"snapshot {self.snapshot_size / _MB:.0f} MB; plain {_taken(self.plain)}; "
            f"kubedr {_taken(self.ours)}; {self.records} new records, {self.changed / _MB:.2f} MB compressed"
        )


@dataclass
class Figures:
    """All that was measured with one database."""

    name: str
    rounds: list[Round] = field(default_factory=list)
    first: Round | None = None
    operations: int = 0
    by_link: dict[Link, list[tuple[Taken, Taken]]] = field(default_factory=dict)
    """What the plain side and ours took by each network."""


METHOD = """## How it is measured

A backup by `kubedr runner backup` (segments, with all its proof) beside the usual `etcdctl snapshot save &&
restic backup`: the same etcd, the same S3 server, one after the other, the first in turn. Every backup is a
full one. Between two backups, ten minutes of a cluster's life. Figures are medians; in brackets the least
and the most. Compare the ratios: the absolute figures are of one machine.

- *Kubernetes*: objects as an API server stores them (protobuf), by a seeded generator: 300 nodes, 1,500
  Deployments with 9,300 pods and four ReplicaSets each, Secrets, ConfigMaps, EndpointSlices, an hour's
  Events, custom resources. In ten minutes: 305 leases are renewed every ten seconds or more often, each
  node reports twice, 3 % of the pods are replaced (half by roll-outs, half one by one, with all that the
  scheduler, the kubelet and the controllers write for it), 1,500 Events come and as many go with their
  leases, and etcd is compacted every five minutes, so that a snapshot holds 7.5 minutes of history.
- *Synthetic*: 79,000 keys whose values are half text and half random, with the same kind of churn.
- Stored: by how much the bucket grew: data, listings of directories, index and snapshot, all of it.
- Changed records: the records of etcd's `key` bucket that the last snapshot did not have, history included,
  in one file, stored by restic with the same compression. No backup can need less; together they compress
  better than in pieces.
- Time: from the start of the first program to the end of the last. The plain side keeps restic's cache;
  KubeDR's pod starts with none. The processor's time is that of the programs, without etcd and the S3
  server. All files of both sides, etcd and the S3 server are in memory (/dev/shm) where there is room.
- Networks: a proxy in front of the S3 server holds the bytes back, for both sides alike. Mbit/s are in each
  direction, for all connections together; milliseconds are those of a round trip, and opening a connection
  takes one.
- Writes are sent a hundred keys a transaction, to take seconds instead of minutes; the records are the same.
  etcd moves fewer of its pages about than in ten minutes of life, which is to the plain side's advantage.
- Memory: what all processes of a run held at one time, looked at every 20 ms. Pages of a mapped file that
  were not written to are no part of it, for the kernel drops them when it needs the memory.
"""

_TABLE = """## {title}

{count} backups after the first, of a snapshot file of {snapshot} MB. In ten minutes {operations:,} writes
leave {records} new records.

| KubeDR compared with plain | measured | target |
|---|---|---|
| stored per backup | {stored_ratio} | {stored_target} |
| stored per backup, compared with the changed records compressed | {changed_ratio} | at most 3.5 times |
| time by the clock | {seconds_ratio} | at most 1.15 times |
| time of the processor | {cpu_ratio} | |

| | KubeDR | plain |
|---|---|---|
| MB stored per backup | {ours_stored} | {plain_stored} |
| MB stored by the first backup | {ours_first} | {plain_first} |
| seconds | {ours_seconds} | {plain_seconds} |
| seconds of the processor | {ours_cpu} | {plain_cpu} |
| MB of changed records, compressed | {changed} | |

| network to the storage | time by the clock, KubeDR's by plain's | seconds, KubeDR | seconds, plain |
|---|---|---|---|
{links}

{machine}
"""

_MEMORY = """## Memory

A snapshot of {size} MB: the most that all processes of a run held at one time.

| | MB | target |
|---|---|---|
| held | {held:.0f} | less than 200 |
| with the pages of mapped files | {with_files:.0f} | |
{programs}

{machine}
"""

_TITLES = {"kubernetes": ("Kubernetes' objects", 8), "synthetic": ("A larger, synthetic database", 15)}


def table(figures: Figures) -> str:
    """Return the section of a database."""
    rounds, first = figures.rounds, figures.first
    assert first is not None
    title, target = _TITLES[figures.name]
    parts = statistics.median(one.plain.stored for one in rounds) / statistics.median(
        one.ours.stored for one in rounds
    )
    return _TABLE.format(
        title=title,
        count=len(rounds),
        snapshot=f"{rounds[-1].snapshot_size / _MB:.0f}",
        operations=figures.operations,
        records=_each(rounds, lambda one: one.records, "{:,.0f}"),
        stored_ratio=f"1/{parts:.1f}",
        stored_target=f"at most 1/{target}",
        changed_ratio=_each(rounds, lambda one: one.ours.stored / one.changed, "{:.2f}", " times"),
        seconds_ratio=_each(rounds, lambda one: one.ours.seconds / one.plain.seconds, "{:.2f}", " times"),
        cpu_ratio=_each(rounds, lambda one: one.ours.cpu_seconds / one.plain.cpu_seconds, "{:.2f}", " times"),
        ours_stored=_each(rounds, lambda one: one.ours.stored / _MB, "{:.2f}"),
        plain_stored=_each(rounds, lambda one: one.plain.stored / _MB, "{:.1f}"),
        ours_first=f"{first.ours.stored / _MB:.1f}",
        plain_first=f"{first.plain.stored / _MB:.1f}",
        ours_seconds=_each(rounds, lambda one: one.ours.seconds, "{:.2f}"),
        plain_seconds=_each(rounds, lambda one: one.plain.seconds, "{:.2f}"),
        ours_cpu=_each(rounds, lambda one: one.ours.cpu_seconds, "{:.2f}"),
        plain_cpu=_each(rounds, lambda one: one.plain.cpu_seconds, "{:.2f}"),
        changed=_each(rounds, lambda one: one.changed / _MB, "{:.2f}"),
        links="\n".join(_link(name, taken) for name, taken in _by_link(figures).items()),
        machine=_machine(),
    )


def memory(size: int, held: Memory) -> str:
    """Return the section of memory, for a snapshot of so many bytes."""
    programs = "\n".join(
        f"| {name} alone | {most / _MB:.0f} | |" for name, most in sorted(held.by_program.items())
    )
    return _MEMORY.format(
        size=f"{size / _MB:,.0f}",
        held=held.held / _MB,
        with_files=held.with_files / _MB,
        programs=programs,
        machine=_machine(),
    )


def _by_link(figures: Figures) -> dict[str, list[tuple[Taken, Taken]]]:
    none = [(one.plain, one.ours) for one in figures.rounds]
    return {"none: in memory": none, **{str(link): taken for link, taken in figures.by_link.items()}}


def _link(name: str, taken: Sequence[tuple[Taken, Taken]]) -> str:
    ratio = _each(taken, lambda one: one[1].seconds / one[0].seconds, "{:.2f}", " times")
    plain = _each(taken, lambda one: one[0].seconds, "{:.1f}")
    ours = _each(taken, lambda one: one[1].seconds, "{:.1f}")
    return f"| {name} | {ratio} | {ours} | {plain} |"


def _each(rounds: Sequence[_T], value: Callable[[_T], float], form: str, unit: str = "") -> str:
    values = [value(one) for one in rounds]
    least, middle, most = (form.format(one) for one in (min(values), statistics.median(values), max(values)))
    return f"{middle}{unit}" if least == most else f"{middle}{unit} ({least} to {most})"


def _taken(taken: Taken) -> str:
    return f"{taken.stored / _MB:.2f} MB in {taken.seconds:.2f} s ({taken.cpu_seconds:.2f} s CPU)"


def _machine() -> str:
    etcd = _version("etcd", "--version").partition(": ")[2]
    restic = _version("restic", "version").split()[1]
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} with etcd {etcd}, restic {restic}, "
        f"Python {platform.python_version()}, Linux {platform.release().split('-')[0]}, "
        f"{os.cpu_count()} cores ({_processor()})."
    )


def _version(name: str, argument: str) -> str:
    told = subprocess.run([program(name), argument], check=True, capture_output=True, text=True).stdout
    return told.splitlines()[0]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
