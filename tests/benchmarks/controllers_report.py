"""Writes what was measured of the controllers as a document: ratios first, for they hold elsewhere, too."""

import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version

from kubedr_server.kube.transport import ClientSettings

_PACKAGES = ("kopf", "aiohttp", "kubernetes-asyncio", "pydantic-core")
_MIB = 2**20


@dataclass(frozen=True)
class Run:
    """One start with so many policies. Memory in bytes."""

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
            f"{self.policies} policies: {took}, {self.cpu:.1f} CPU s, "
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
function (`kubedr_server.manifests.cronjob`) and by server-side apply.

| KubeDR compared with kopf | {sizes} | target |
|---|{lines}---|
| time from start to converged | {time_ratios} | at most 0.5 times |
| memory that comes with the policies | {memory_ratios} | at most 0.5 times |
| CPU time | {cpu_ratios} | |

| | {columns} |
|---|{column_lines}
| seconds from start to converged | {seconds} |
| CPU seconds | {cpu} |
| API requests a policy | {requests} |
| … of them writes | {writes} |
| memory in MiB | {rss} |
| … of which per 10,000 policies, with their CronJobs | {growth} |

{webhooks}

{machine}

## How it is measured

- Each run has {api} of its own, which holds the policies and a ready BackupLocation before the process
  starts; no controller manager runs. Medians of the rounds; a run of more than {bound:.0f} s is given up.
- Neither client limits its own rate. `kubedr serve` does, to {qps:.0f} requests a second on average: a start
  with 10,000 policies takes at least {floor:.0f} s then, however fast the process is.
- Requests are counted below all code of either, where both call aiohttp. CPU time and memory are the kernel's
  account of the process. What each does for three seconds after it has converged counts, too.
- kopf's operator does the core only: one handler, which applies the CronJob with KubeDR's own client and says
  so in the status. KubeDR also follows Jobs, pods, records, restores, locations and Secrets, and writes
  conditions.

## The fewest writes

Two writes a policy are the fewest from nothing: the API server takes its CronJob and its status apart, and
both have to say something new. A target of 1.5 can only be met where some CronJobs are there already. Where
all are, after a restart or with another leader, nothing is written
(`tests/faults/controllers/test_many_policies.py`).

[kopf]: https://github.com/nolar/kopf
"""


def render(figures: Figures, bound: float) -> str:
    """Return the document."""
    ours, kopf = figures.runs["KubeDR"], figures.runs["kopf"]
    sizes = sorted({run.policies for run in ours})
    groups = [(_of_size(ours, size), _of_size(kopf, size)) for size in sizes]
    columns = [f"{name}, {size:,}" for size in sizes for name in ("KubeDR", "kopf")]
    each = [runs for pair in groups for runs in pair]

    def ratio(value: Callable[[Run], float | None]) -> str:
        return " | ".join(_ratio(_median(a, value), _median(b, value)) for a, b in groups)

    def row(value: Callable[[Run], float | None], form: str = "{:.1f}") -> str:
        return " | ".join(_shown(_median(runs, value), form) for runs in each)

    return _TEXT.format(
        sizes=" | ".join(f"{size:,} policies" for size in sizes),
        lines="---|" * len(sizes),
        time_ratios=ratio(lambda run: run.seconds),
        memory_ratios=ratio(lambda run: run.growth),
        cpu_ratios=ratio(lambda run: run.cpu),
        columns=" | ".join(columns),
        column_lines="---|" * len(columns),
        seconds=row(lambda run: run.seconds),
        cpu=row(lambda run: run.cpu),
        requests=row(lambda run: run.requests / run.policies, "{:.2f}"),
        writes=row(lambda run: run.writes / run.policies, "{:.2f}"),
        rss=row(lambda run: run.rss / _MIB, "{:.0f}"),
        growth=row(lambda run: run.growth / _MIB * 10_000 / run.policies, "{:.0f}"),
        webhooks=_webhooks(figures.beside),
        machine=_machine(figures),
        api=figures.api,
        bound=bound,
        qps=ClientSettings().qps,
        floor=10_000
        * (_median(groups[-1][0], lambda run: run.requests / run.policies) or 0)
        / ClientSettings().qps,
    )


def _of_size(runs: Sequence[Run], size: int) -> list[Run]:
    return [run for run in runs if run.policies == size]


def _median(runs: Sequence[Run], value: Callable[[Run], float | None]) -> float | None:
    values = [value(run) for run in runs]
    known = [one for one in values if one is not None]
    return statistics.median(known) if known and len(known) == len(values) else None


def _ratio(a: float | None, b: float | None) -> str:
    return "one did not end in time" if a is None or not b else f"{a / b:.2f} times"


def _shown(value: float | None, form: str) -> str:
    return "not in time" if value is None else form.format(value)


def _webhooks(beside: Beside | None) -> str:
    if beside is None:
        return ""
    return (
        f"While KubeDR starts with {beside.policies:,} policies, the webhooks in the same process answer "
        f"{beside.rate:.0f} reviews\na second with a p99 of {1000 * beside.starting:.0f} ms "
        f"(of {beside.count:,}); at rest it is {1000 * beside.resting:.0f} ms."
    )


def _machine(figures: Figures) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    cores = (
        "has one core, the API server the other" if figures.pinned else "shares the cores with the API server"
    )
    priority = "a raised" if figures.raised else "normal"
    rounds = max(len(_of_size(figures.runs["KubeDR"], run.policies)) for run in figures.runs["KubeDR"])
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} with Python {platform.python_version()}, {packages}, "
        f"Linux {platform.release().split('-')[0]}, {os.cpu_count()} cores; what is measured {cores}, "
        f"at {priority} priority; up to {rounds} rounds. The load average at the end, this run included, was "
        f"{os.getloadavg()[0]:.0f}: well above {os.cpu_count()}, other programs took their share and times "
        "are worth little."
    )
