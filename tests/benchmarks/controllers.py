"""Measures our controllers against a kopf operator that does the same, on this machine, in one run.

`make bench-controllers` runs it and writes docs/design/benchmarks-controllers.md. Each life has an API server
of its own, filled with policies before: first nothing else is there, then the same process is started again,
and at last a version that has another image for backups. Each start is measured from the start of the process
until it has nothing more to do.
"""

import argparse
import asyncio
import json
import signal
import ssl
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks import controllers_cluster as cluster
from benchmarks import controllers_report as report
from benchmarks import load, processes, reviews
from benchmarks.admission import _issue as issue_certificates
from benchmarks.controllers_counting import WRITES
from benchmarks.controllers_report import Beside, Figures, Run, Start
from kubedr_server.kube.client import Client
from support.kubedr_objects import RUNNER

PEERS = {"KubeDR": "serve_controllers", "kopf": "serve_kopf_controllers"}
NEXT_IMAGE = "registry.example.com/kubedr/backup:next"
WEBHOOK_RATE = 20.0
"""Reviews a second while the server starts: more than a busy cluster sends for these kinds."""

_WINDOW_SECONDS = 5.0
_SETTLES_SECONDS = 3.0
_MANY = 5000
"""From so many policies on a start is minutes long, and steadier than many of the smallest."""


class Life:
    """One peer with one API server, from start to start."""

    def __init__(
        self, peer: str, policies: int, kubeconfig: Path, client: Client, core: int | None, bound: float
    ) -> None:
        self._peer = peer
        self._policies = policies
        self._kubeconfig = kubeconfig
        self._client = client
        self._core = core
        self._bound = bound

    async def start(self, start: Start) -> Run:
        """Start the peer, and measure until it has nothing more to do."""
        image = NEXT_IMAGE if start is Start.UPGRADE else RUNNER.image
        begun = time.monotonic()
        arguments = (str(self._kubeconfig), f"--image={image}")
        async with processes.serving(PEERS[self._peer], *arguments, core=self._core) as server:
            seconds = await cluster.at_rest(self._client, server, self._policies, image, begun, self._bound)
            await asyncio.sleep(_SETTLES_SECONDS)  # what it still does counts, too
            return await self._run(start, server, seconds)

    async def start_with_webhooks(self, certificates: Path, context: ssl.SSLContext) -> tuple[Run, Beside]:
        """Start our server for the first time, send it reviews meanwhile, and once it is at rest."""
        begun = time.monotonic()
        arguments = (str(self._kubeconfig), f"--certificates={certificates}")
        async with processes.serving(PEERS[self._peer], *arguments, core=self._core) as server:
            target = load.Target(int(server.said.split()[1]), context)
            calls = [sample.call(target.port, spaced=False) for sample in reviews.small()]
            waiting = asyncio.create_task(cluster.converged(self._client, self._policies, begun, self._bound))
            starting = load.Result(0.0, await _reviews(target, calls, waiting), 0.0)
            await asyncio.sleep(_SETTLES_SECONDS)
            cpu = server.cpu_seconds()
            resting = await load.at_rate(target, calls, 4, WEBHOOK_RATE, 2 * _WINDOW_SECONDS)
            target.close()
            run = replace(await self._run(Start.FIRST, server, waiting.result()), cpu=cpu)
        worst = starting.percentile(99), resting.percentile(99)
        return run, Beside(*worst, len(starting.latencies), WEBHOOK_RATE, self._policies)

    async def _run(self, start: Start, server: processes.Server, seconds: float | None) -> Run:
        cpu, before = server.cpu_seconds(), int(server.said.split()[0])
        told = json.loads(await server.finish())
        requests = told["requests"]
        writes = sum(count for method, count in requests.items() if method in WRITES)
        return Run(
            start,
            self._policies,
            seconds,
            cpu,
            sum(requests.values()),
            writes,
            told["rss"],
            told["rss"] - before,
        )


async def _reviews(
    target: load.Target, calls: list[load.Call], until: asyncio.Task[float | None]
) -> list[float]:
    latencies: list[float] = []
    while not until.done():
        latencies += (await load.at_rate(target, calls, 4, WEBHOOK_RATE, _WINDOW_SECONDS)).latencies
    return latencies


async def main(sizes: list[int], rounds: int, bound: float, output: Path) -> None:
    """Measure, and write the tables."""
    server_core, own_core = processes.cores()
    with processes.raised_priority() as raised:
        processes.pin_self(own_core)
        figures = Figures(pinned=server_core is not None, raised=raised)
        for policies in sizes:
            for number in range(rounds if policies < _MANY else 1):
                for peer in PEERS if number % 2 == 0 else reversed(PEERS):
                    await _measure(figures, peer, policies, server_core, bound)
    await asyncio.to_thread(output.write_text, report.render(figures, bound))
    _say(f"written: {output}")


async def _measure(figures: Figures, peer: str, policies: int, core: int | None, bound: float) -> None:
    """Measure one life."""
    with tempfile.TemporaryDirectory(prefix="kubedr-bench-") as directory:
        async with (
            cluster.api_server(Path(directory) / "api") as (figures.api, kubeconfig),
            cluster.connected(kubeconfig) as client,
        ):
            await cluster.fill(client, policies)
            life = Life(peer, policies, kubeconfig, client, core, bound)
            starts = list(Start)
            if policies >= _MANY:
                starts = [Start.RESTART] if peer == "KubeDR" else [Start.FIRST]
            if policies >= _MANY and peer == "KubeDR":
                certificates, authority = Path(directory) / "tls", Path(directory) / "ca.crt"
                await asyncio.to_thread(issue_certificates, certificates, authority)
                context = ssl.create_default_context(cafile=str(authority))
                run, figures.beside = await life.start_with_webhooks(certificates, context)
                _say(f"{peer}: {run}; {figures.beside}")
                figures.runs.setdefault(peer, []).append(run)
            for start in starts:
                run = await life.start(start)
                _say(f"{peer}: {run}")
                figures.runs.setdefault(peer, []).append(run)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command's progress


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # all that was started is ended, as by Ctrl-C
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policies", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--rounds", type=int, default=1, help=f"for fewer than {_MANY:,} policies")
    parser.add_argument("--bound", type=float, default=600.0, help="seconds that one start may take")
    parser.add_argument("--output", type=Path, default=Path("docs/design/benchmarks-controllers.md"))
    options = parser.parse_args()
    asyncio.run(main(options.policies, options.rounds, options.bound, options.output))
