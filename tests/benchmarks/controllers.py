"""Measures our controllers against a kopf operator that does the same, on this machine, in one run.

`make bench-controllers` runs it and writes docs/design/benchmarks-controllers.md. Each run has an API server
of its own, filled with policies before, and is measured from the start of the process until each policy has
its CronJob and its status.
"""

import argparse
import asyncio
import json
import ssl
import tempfile
import time
from pathlib import Path

from benchmarks import controllers_cluster as cluster
from benchmarks import controllers_report as report
from benchmarks import load, processes, reviews
from benchmarks.admission import _issue as issue_certificates
from benchmarks.controllers_counting import WRITES
from benchmarks.controllers_report import Beside, Figures, Run

PEERS = {"KubeDR": "serve_controllers", "kopf": "serve_kopf_controllers"}
WEBHOOK_RATE = 20.0
"""Reviews a second while the server starts: more than a busy cluster sends for these kinds."""

_WINDOW_SECONDS = 5.0
_SETTLES_SECONDS = 3.0


async def measure(peer: str, policies: int, core: int | None, bound: float) -> tuple[Run, str]:
    """Start an API server and a peer, and measure until it has converged; with the API server's name."""
    with tempfile.TemporaryDirectory(prefix="kubedr-bench-") as directory:
        async with (
            cluster.api_server(Path(directory)) as (api, kubeconfig),
            cluster.connected(kubeconfig) as client,
        ):
            await cluster.fill(client, policies)
            begun = time.monotonic()
            async with processes.serving(PEERS[peer], str(kubeconfig), core=core) as server:
                seconds = await cluster.converged(client, policies, begun, bound)
                await asyncio.sleep(_SETTLES_SECONDS)  # what it still writes counts, too
                cpu = server.cpu_seconds()
                told = json.loads(await server.finish())
    requests = told["requests"]
    writes = sum(count for method, count in requests.items() if method in WRITES)
    growth = told["rss"] - int(server.said)
    return Run(policies, seconds, cpu, sum(requests.values()), writes, told["rss"], growth), api


async def beside_webhooks(policies: int, core: int | None, bound: float) -> Beside:
    """Measure reviews while our server starts with so many policies, and once it is at rest."""
    with tempfile.TemporaryDirectory(prefix="kubedr-bench-") as directory:
        certificates, authority = Path(directory) / "tls", Path(directory) / "ca.crt"
        await asyncio.to_thread(issue_certificates, certificates, authority)
        context = ssl.create_default_context(cafile=str(authority))
        async with (
            cluster.api_server(Path(directory) / "api") as (_, kubeconfig),
            cluster.connected(kubeconfig) as client,
        ):
            await cluster.fill(client, policies)
            begun = time.monotonic()
            arguments = (str(kubeconfig), str(certificates))
            async with processes.serving(PEERS["KubeDR"], *arguments, core=core) as server:
                target = load.Target(int(server.said), context)
                calls = [sample.call(target.port, spaced=False) for sample in reviews.small()]
                waiting = asyncio.create_task(cluster.converged(client, policies, begun, bound))
                starting = await _reviews(target, calls, waiting)
                await asyncio.sleep(_SETTLES_SECONDS)
                resting = await load.at_rate(target, calls, 4, WEBHOOK_RATE, 2 * _WINDOW_SECONDS)
                target.close()
    starting.sort()
    return Beside(
        starting[int(len(starting) * 0.99)], resting.percentile(99), len(starting), WEBHOOK_RATE, policies
    )


async def _reviews(
    target: load.Target, calls: list[load.Call], until: asyncio.Task[float | None]
) -> list[float]:
    latencies: list[float] = []
    while not until.done():
        latencies += (await load.at_rate(target, calls, 4, WEBHOOK_RATE, _WINDOW_SECONDS)).latencies
    return latencies


async def main(sizes: list[int], rounds: int, bound: float, beside: int, output: Path) -> None:
    """Measure, and write the tables."""
    server_core, own_core = processes.cores()
    with processes.raised_priority() as raised:
        processes.pin_self(own_core)
        figures = Figures(pinned=server_core is not None, raised=raised)
        await _measure_all(figures, sizes, rounds, bound, server_core)
        figures.beside = await beside_webhooks(beside, server_core, bound)
        _say(str(figures.beside))
    await asyncio.to_thread(output.write_text, report.render(figures, bound))
    _say(f"written: {output}")


async def _measure_all(
    figures: Figures, sizes: list[int], rounds: int, bound: float, core: int | None
) -> None:
    for policies in sizes:
        # One round of the largest is minutes long and steadier than many of the smallest.
        for number in range(rounds if policies < 5000 else 1):
            for peer in PEERS if number % 2 == 0 else reversed(PEERS):
                run, figures.api = await measure(peer, policies, core, bound)
                figures.runs.setdefault(peer, []).append(run)
                _say(f"{peer}: {run}")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command's progress


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policies", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--rounds", type=int, default=3, help="for fewer than 5,000 policies")
    parser.add_argument("--bound", type=float, default=1200.0, help="seconds that one run may take")
    parser.add_argument("--beside", type=int, default=10000, help="policies beside which reviews are sent")
    parser.add_argument("--output", type=Path, default=Path("docs/design/benchmarks-controllers.md"))
    options = parser.parse_args()
    asyncio.run(main(options.policies, options.rounds, options.bound, options.beside, options.output))
