"""Tells what was measured of admission: ratios first, for they hold on other machines, too."""

import os
import platform
import ssl
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.reviews import LARGE_BYTES, SMALL_BYTES, UPDATE_BYTES
from kubedr_server.ops.serving import KEEP_ALIVE_SECONDS

_PACKAGES = ("uvicorn", "httptools", "pydantic-core", "kopf", "aiohttp")


@dataclass(frozen=True)
class Speed:
    """The highest rate in time, and what it cost. Seconds."""

    rate: float
    cpu_per_1000: float
    in_flight: int
    p99: float
    generator_load: float

    def __str__(self) -> str:
        return (
            f"{self.rate:.0f}/s with {self.in_flight} in flight, p99 {1000 * self.p99:.1f} ms, "
            f"{self.cpu_per_1000:.3f} CPU s per 1000; generator at {100 * self.generator_load:.0f} %"
        )


@dataclass(frozen=True)
class Beside:
    """The p99 of small reviews without and with large ones beside them. Seconds."""

    alone: float
    beside: float
    large: float
    count: int

    def __str__(self) -> str:
        return (
            f"p99 {1000 * self.alone:.1f} ms alone, {1000 * self.beside:.1f} ms beside {self.count} large "
            f"reviews of {1000 * self.large:.0f} ms each"
        )


@dataclass
class Figures:
    """All that was measured, one item a round."""

    pinned: bool
    """Whether the servers had a core that the generator did not use."""

    raised: bool
    """Whether all ran at a raised priority."""

    ours: list[Speed] = field(default_factory=list)
    kopf: list[Speed] = field(default_factory=list)
    beside: list[Beside] = field(default_factory=list)
    rate: float = 0.0
    kopf_large_status: int = 0
    others: float | None = None
    """The part of all cores that other programs used meanwhile."""

    ours_idle: bool = False
    kopf_idle: bool = False


_TEXT = """## Admission

`make bench-admission` measures and writes this section. Compare the ratios: the other figures are of one
machine.

KubeDR's admission server beside [kopf]'s, the usual one in Python: the same rules (the pure functions of
`kubedr_server.admission`), the same certificate, the same core in turn, in one run. The figures are medians;
in brackets the least and the most of all rounds.

| KubeDR compared with kopf | measured | target |
|---|---|---|
| requests a second with p99 ≤ 10 ms | {rate_ratio} | at least 3 times |
| CPU time a request | {cpu_ratio} | at most 0.5 times |

| KubeDR by itself | measured | target |
|---|---|---|
| p99 of small reviews beside large ones, compared with alone | {beside_ratio} | at most 2 times |

| | KubeDR | kopf |
|---|---|---|
| requests a second with p99 ≤ 10 ms | {ours_rate} | {kopf_rate} |
| … with so many in flight | {ours_in_flight} | {kopf_in_flight} |
| CPU seconds per 1000 requests | {ours_cpu} | {kopf_cpu} |
| p99 in ms of small reviews at {fixed_rate:.0f} a second, alone | {alone} | |
| … while reviews of {large_size} come one after the other | {beside} | {kopf_large} |
| a review of {large_size} takes, in ms | {large} | |
| a connection that was idle for 92 s still answers | {ours_idle} | {kopf_idle} |
| load of the generator, in % of one core | {ours_generator} | {kopf_generator} |

{machine}

### How it is measured

- Small reviews have {small_size} bytes: one to default, one to create, one to update, one to refuse, in
  turn, of MetadataBackupPolicies. First both servers are asked whether they answer all of them alike.
- No server looks up references: the servers are compared, not the API server behind them.
- Requests a second: with 1 to 32 requests in flight, each sent when the last on its connection is answered,
  the highest rate at which p99 stays within 10 ms; both servers at each step, one after the other. CPU time
  is the kernel's account of the process and its children. A round in which another program kept one of the
  two from ever answering in time is measured again.
- Beside large reviews: requests at given times, whether or not earlier ones are answered; the p99 of each
  hundred of them, and the median of all hundreds. Another process sends large reviews, the next as soon as
  one is answered. Their size is the history of field managers: many small keys, the slowest to parse. What
  KubeDR starts to read them runs on the server's core, too.
- Where other programs use much of the machine, p99 at a low rate tells more of them than of the server, and
  the comparison with large reviews is worth little: measure it where nothing else runs.
- The generator is no bottleneck while its load is clearly below 100 %.
- KubeDR keeps idle connections for {keep_alive} s, the API server for 90 s: the side that sends is the one
  that closes, so no request meets a closed connection.

### Why a large review does not hold up the small ones

A body of more than 64 KiB is handed to a process of its own (`kubedr_server.admission.large`), which leaves
out what no rule reads (managed fields, status, long annotations) and hands back the rest, mostly less than
2 KB. Parsing 3 MB on the event loop held up everything else for 0.2 s at a time; a thread would hold the
interpreter's lock as long. The process is started at the first large review and kept: to start one for each
review held up the rest for 2 ms. It runs only when the server has nothing to do, and reads one review at a
time; one whose time is over is killed, and if none can be started, the server parses itself. What comes in is
taken in bites of 64 KiB, with the other connections' turns between them: small reviews had to wait for the
decryption of 256 KiB several times each.
Turning large reviews away was no choice: an update carries two objects, each as large as etcd allows, and
refusing it could make an object impossible to change or delete. A spec itself is bounded by the CRD's schema
only after defaulting: one of megabytes is still judged on the event loop, once, before the API server
refuses it.

[kopf]: https://github.com/nolar/kopf
"""


def render(figures: Figures) -> str:
    """Return the section."""
    ours, kopf, beside = figures.ours, figures.kopf, figures.beside
    pairs = list(zip(ours, kopf, strict=True))
    refused = f"refused: HTTP {figures.kopf_large_status}" if figures.kopf_large_status != 200 else ""
    return _TEXT.format(
        rate_ratio=_of([a.rate / b.rate for a, b in pairs], "{:.1f}", " times"),
        cpu_ratio=_of([a.cpu_per_1000 / b.cpu_per_1000 for a, b in pairs], "{:.2f}", " times"),
        beside_ratio=_of([one.beside / one.alone for one in beside], "{:.1f}", " times"),
        ours_rate=_each(ours, lambda one: one.rate),
        kopf_rate=_each(kopf, lambda one: one.rate),
        ours_in_flight=_each(ours, lambda one: one.in_flight),
        kopf_in_flight=_each(kopf, lambda one: one.in_flight),
        ours_cpu=_each(ours, lambda one: one.cpu_per_1000, "{:.2f}"),
        kopf_cpu=_each(kopf, lambda one: one.cpu_per_1000, "{:.2f}"),
        ours_generator=_each(ours, lambda one: 100 * one.generator_load),
        kopf_generator=_each(kopf, lambda one: 100 * one.generator_load),
        fixed_rate=figures.rate,
        alone=_of([1000 * one.alone for one in beside], "{:.1f}"),
        beside=_of([1000 * one.beside for one in beside], "{:.1f}"),
        large=_of([1000 * one.large for one in beside], "{:.0f}"),
        large_size=f"{LARGE_BYTES / 2**20:.0f} MiB",
        small_size=f"{SMALL_BYTES:,} to {UPDATE_BYTES:,}",
        kopf_large=refused,
        ours_idle="yes" if figures.ours_idle else "no",
        kopf_idle="yes" if figures.kopf_idle else "no",
        keep_alive=KEEP_ALIVE_SECONDS,
        machine=_machine(figures),
    )


def _each(speeds: Sequence[Speed], value: Callable[[Speed], float], form: str = "{:.0f}") -> str:
    return _of([value(one) for one in speeds], form)


def _of(values: Sequence[float], form: str, unit: str = "") -> str:
    least, middle, most = (
        form.format(value) for value in (min(values), statistics.median(values), max(values))
    )
    return f"{middle}{unit}" if least == most else f"{middle}{unit} ({least} to {most})"


def _machine(figures: Figures) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    cores = "pinned to one core" if figures.pinned else "not pinned to a core"
    others = ""
    if figures.others is not None:
        others = f"; other programs used {100 * figures.others:.0f} % of the machine meanwhile"
    priority = "a raised" if figures.raised else "normal"
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} with Python {platform.python_version()}, {packages}, "
        f"{' '.join(ssl.OPENSSL_VERSION.split()[:2])}, Linux {platform.release().split('-')[0]}, "
        f"{os.cpu_count()} cores ({_processor()}); the servers {cores}, at {priority} priority; "
        f"{len(figures.ours)} rounds{others}."
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
