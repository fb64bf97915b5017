"""Writes what was measured of the controllers as a document: ratios first, for they hold elsewhere, too."""

import os
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import version

from kubedr_server.kube.transport import ClientSettings

_PACKAGES = ("kopf", "aiohttp", "kubernetes-asyncio", "pydantic-core")
_MIB = 2**20


class Start(StrEnum):
    """What a process finds when it starts."""

    FIRST = "first start"
    """Policies only."""

    RESTART = "restart"
    """All that it made itself; also what another leader finds."""

    UPGRADE = "upgrade"
    """All that it made, but each CronJob has to have another image."""


@dataclass(frozen=True)
class Run:
    """One start with so many policies. Memory in bytes."""

    start: Start
    policies: int
    seconds: float | None
    """Until all was as it should be; None if it was not in time."""

    cpu: float
    requests: int
    writes: int
    rss: int
    growth: int
    """How much of the memory has come since the process began, with its modules loaded."""

    def __str__(self) -> str:
        took = "not converged" if self.seconds is None else f"{self.seconds:.1f} s"
        return (
            f"{self.policies} policies, {self.start}: {took}, {self.cpu:.1f} CPU s, "
            f"{self.requests / self.policies:.2f} requests a policy, "
            f"{self.writes / self.policies:.2f} of them writes, "
            f"{self.rss / _MIB:.0f} MiB (+{self.growth / _MIB:.0f})"
        )


@dataclass(frozen=True)
class Beside:
    """The p99 of reviews in seconds, while the controllers start and when they are at rest."""

    starting: float
    resting: float
    count: int
    rate: float
    policies: int

    def __str__(self) -> str:
        return (
            f"p99 of {self.count} reviews while starting {1000 * self.starting:.1f} ms, "
            f"at rest {1000 * self.resting:.1f} ms"
        )


@dataclass
class Figures:
    """All that was measured."""

    pinned: bool
    raised: bool
    """Whether all ran at a raised priority."""

    api: str = ""
    runs: dict[str, list[Run]] = field(default_factory=dict)
    beside: Beside | None = None


_TEXT = """# Benchmarks of the controllers

Made by `make bench-controllers`; do not edit. Compare the ratios: the other figures are of one machine.

KubeDR's controllers beside an operator on [kopf], the usual framework in Python, from the start of the
process until each MetadataBackupPolicy has its CronJob and its status. Both make the CronJob with the same
function (`kubedr_server.manifests.cronjob`) and by server-side apply. A process starts three times: with
nothing there but the policies; again, as after a roll-out or with another leader; and as a version that has
another image for backups, so that each CronJob changes.

{tables}

{webhooks}

## What limits a first start

The API server. It has one core, and both processes wait for it: a server-side apply of a CronJob and a
change of a policy's status cost it several milliseconds each, more than they cost who asks. KubeDR asks for
these two things a policy and nothing else; kopf also notes on each policy what it has seen. So the ratio of
the times cannot be much better than that of the writes: half of kopf's time is out of reach where it
writes three times a policy. It writes more often when there are many.

A POST makes a CronJob for two thirds of what an apply costs a kube-apiserver. But its fields are then owned
by an `Update`, and by an `Apply` as well from the first change on: what a later version leaves out would
stay for ever, unless each CronJob's managedFields were rewritten first, with one more write.

## The fewest writes

The target is 1.5 writes a policy. From nothing, two are the fewest: the API server takes the CronJob and
the policy's status apart, and both have to say something new. An upgrade needs one. A restart, or another
leader, needs none (`tests/faults/controllers/test_many_policies.py`).

## How it is measured

- Each life has {api} of its own, which holds the policies and a ready BackupLocation before the process
  starts; no controller manager runs. Medians of the rounds. A start of more than {bound:.0f} s is given up,
  and nothing is told of it.
- A process has come to rest when it uses no CPU for two seconds, and all CronJobs and statuses are then
  found to be right. Nobody else asks the API server meanwhile; only where webhooks run beside, it is asked
  from time to time how many CronJobs there are.
- Neither client limits its own rate. `kubedr serve` does, to {qps:.0f} requests a second on average: a first
  start with 10,000 policies takes at least {floor:.0f} s then, however fast the process is.
- Requests are counted below all code of either, where both call aiohttp. CPU time and memory are the
  kernel's account of the process. What each does for three seconds after it has come to rest counts, too.
- kopf's operator does the core only: one handler, which applies the CronJob with KubeDR's own client and
  says so in the status. KubeDR also follows Jobs, pods, records, restores, locations and Secrets, and writes
  conditions.

{machine}

[kopf]: https://github.com/nolar/kopf
"""

_TARGETS = {"seconds": "at most 0.5 times", "memory": "at most 0.5 times", "writes": "at most 1.5"}


def render(figures: Figures, bound: float) -> str:
    """Return the document."""
    sizes = sorted({run.policies for run in figures.runs["KubeDR"]})
    first = _of(figures, "KubeDR", sizes[-1], Start.FIRST)
    asked = _median(first, lambda run: run.requests / run.policies) or 0.0
    return _TEXT.format(
        tables="\n\n".join(_table(figures, size, bound) for size in sizes),
        webhooks=_webhooks(figures.beside),
        machine=_machine(figures),
        api=figures.api,
        bound=bound,
        qps=ClientSettings().qps,
        floor=10_000 * asked / ClientSettings().qps,
    )


def _table(figures: Figures, size: int, bound: float) -> str:
    lines = [f"| {size:,} policies | KubeDR | kopf | KubeDR / kopf | target |", "|---|---|---|---|---|"]
    for start in Start:
        ours, theirs = (_of(figures, peer, size, start) for peer in ("KubeDR", "kopf"))
        if ours:
            lines += _rows(start, ours, theirs, bound)
    return "\n".join(lines)


def _rows(start: Start, ours: Sequence[Run], theirs: Sequence[Run], bound: float) -> Iterator[str]:
    def row(
        name: str, value: Callable[[Run], float | None], form: str, target: str = "", *, limited: bool = False
    ) -> str:
        a, b = (_median([run for run in runs if run.seconds], value) for runs in (ours, theirs))
        missing = "not in time" if theirs else ""
        ratio = ""
        if a is not None and b:
            ratio = f"{a / b:.2f}"
        elif a is not None and theirs and limited:
            ratio = f"under {a / bound:.2f}"
        shown = [
            "not in time" if a is None else form.format(a),
            missing if b is None else form.format(b),
            ratio,
        ]
        return f"| {name} | {' | '.join(shown)} | {target} |"

    yield row(f"{start}: seconds", lambda run: run.seconds, "{:.1f}", _TARGETS["seconds"], limited=True)
    yield row("… CPU seconds", lambda run: run.cpu, "{:.1f}")
    yield row("… requests a policy", lambda run: run.requests / run.policies, "{:.2f}")
    yield row("… writes a policy", lambda run: run.writes / run.policies, "{:.2f}", _TARGETS["writes"])
    yield row(
        "… memory that came with the policies, MiB",
        lambda run: run.growth / _MIB,
        "{:.0f}",
        _TARGETS["memory"],
    )


def _of(figures: Figures, peer: str, size: int, start: Start) -> list[Run]:
    return [run for run in figures.runs[peer] if run.policies == size and run.start is start]


def _median(runs: Sequence[Run], value: Callable[[Run], float | None]) -> float | None:
    values = [value(run) for run in runs]
    known = [one for one in values if one is not None]
    return statistics.median(known) if known and len(known) == len(values) else None


def _webhooks(beside: Beside | None) -> str:
    if beside is None:
        return ""
    starting, resting = 1000 * beside.starting, 1000 * beside.resting
    return (
        f"While KubeDR starts for the first time with {beside.policies:,} policies, the webhooks in the\n"
        f"same process answer {beside.rate:.0f} reviews a second with a p99 of {starting:.0f} ms "
        f"(of {beside.count:,}); at rest it is {resting:.0f} ms.\n"
        "That start's figures above have the reviews in them."
    )


def _machine(figures: Figures) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    cores = (
        "has one core, the API server the other" if figures.pinned else "shares the cores with the API server"
    )
    priority = "a raised" if figures.raised else "normal"
    sizes = {run.policies for run in figures.runs["KubeDR"]}
    rounds = max(len(_of(figures, "KubeDR", size, Start.FIRST)) for size in sizes)
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} with Python {platform.python_version()}, {packages}, "
        f"Linux {platform.release().split('-')[0]}, {os.cpu_count()} cores; what is measured {cores}, "
        f"at {priority} priority; rounds: {rounds}. The load average at the end, this run included, was "
        f"{os.getloadavg()[0]:.1f}. Where that is well above {os.cpu_count()}, other programs took their "
        "share and times are worth little."
    )
