"""Measures our admission server against kopf's, with the same rules, on this machine, in one run.

`make bench-admission` runs it and writes its section of docs/design/benchmarks.md. Both servers have the same
core, turn and turn about; the generator has another. Where the system allows it, all three run at a raised
priority: another program's work must not be taken for theirs.
"""

import argparse
import asyncio
import base64
import json
import signal
import ssl
import statistics
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import trustme

from benchmarks import document, load, processes, report, reviews
from benchmarks.report import Beside, Figures, Speed
from kubedr_server.ops import certificate_files

LEVELS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
"""How many requests are in flight at once."""

LIMIT_SECONDS = 0.010
WARM_UP_SECONDS = 1.0
IDLE_SECONDS = 92.0
"""The API server keeps an idle connection for 90 s."""


@dataclass
class Peer:
    """A server that is measured."""

    name: str
    process: processes.Server
    target: load.Target
    calls: Sequence[load.Call]
    authority: Path

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.target.port


class Search:
    """Looks for the highest rate at which 99 of 100 requests are answered in time."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.best: Speed | None = None
        self._too_slow = 0

    @property
    def has_ended(self) -> bool:
        """Whether more in flight would be too slow, too.

        Once may be another program's fault; twice in a row it is more than the server can do.
        """
        return self.best is not None and self._too_slow >= 2

    async def measure(self, level: int, seconds: float) -> None:
        """Measure with this many requests in flight."""
        before = self.peer.process.cpu_seconds()
        result = await load.saturate(self.peer.target, self.peer.calls, level, seconds)
        cpu = self.peer.process.cpu_seconds() - before
        p99 = result.percentile(99)
        if p99 <= LIMIT_SECONDS and (self.best is None or result.rate > self.best.rate):
            cost = 1000 * cpu / len(result.latencies)
            self.best = Speed(result.rate, cost, level, p99, result.generator_load)
        self._too_slow = self._too_slow + 1 if p99 > LIMIT_SECONDS else 0


async def speeds(peers: Sequence[Peer], seconds: float) -> list[Speed | None]:
    """Measure each at every level in turn, so that all meet the same conditions; None: never in time."""
    searches = [Search(peer) for peer in peers]
    for level in LEVELS:
        for search in searches:
            if not search.has_ended:
                await search.measure(level, seconds)
    return [search.best for search in searches]


async def beside_large(peer: Peer, rate: float, seconds: float) -> Beside:
    """Measure small reviews at a rate, alone and while large ones come one after the other."""
    alone = await load.at_rate(peer.target, peer.calls, 16, rate, seconds)
    # Where the generator runs, for a started process inherits that.
    sending = processes.serving("send_large", str(peer.port), str(peer.authority), core=None)
    async with sending as sender:
        beside = await load.at_rate(peer.target, peer.calls, 16, rate, seconds)
        large: list[float] = json.loads(await sender.finish())
    return Beside(alone.usual_p99(), beside.usual_p99(), statistics.median(large), len(large))


async def check_same(peers: Sequence[Peer]) -> None:
    """Make sure that both judge alike, patches included; otherwise nothing is compared."""
    for sample in reviews.small():
        told = []
        for peer in peers:
            answer = json.loads((await _post(peer, sample))[1])["response"]
            told.append((answer["allowed"], _operations(answer)))
        if told[0] != told[1] or told[0][0] is not sample.allowed:
            raise load.LoadError(f"the servers do not judge alike: {told}")


async def main(rounds: int, seconds: float, output: Path) -> None:
    """Measure, and write the section."""
    server_core, own_core = processes.cores()
    async with AsyncExitStack() as stack:
        raised = stack.enter_context(processes.raised_priority())
        ours, kopfs = await _start(stack, server_core, own_core)
        await check_same([ours, kopfs])
        figures = Figures(pinned=server_core is not None, raised=raised)
        idle = [asyncio.create_task(_outlasts_idleness(peer)) for peer in (ours, kopfs)]
        for peer in (ours, kopfs):
            await load.saturate(peer.target, peer.calls, 4, WARM_UP_SECONDS)
        others = processes.OtherPrograms()
        await _compare(figures, ours, kopfs, rounds, seconds)
        # Well below what either can do: what is measured is waiting, not overload.
        figures.rate = max(10.0, round(min(one.rate for one in figures.kopf) / 4, -1))
        for number in range(2 * rounds + 1):
            figures.beside.append(await beside_large(ours, figures.rate, 4 * seconds))
            _say(f"round {number + 1}: {ours.name}: {figures.beside[-1]}")
        figures.others = others.share()
        figures.kopf_large_status = (await _post(kopfs, reviews.large()))[0]
        _say("waiting: is an idle connection kept?")
        figures.ours_idle, figures.kopf_idle = await asyncio.gather(*idle)
        for peer in (ours, kopfs):
            peer.target.close()
    await asyncio.to_thread(document.write_section, output, "admission", report.render(figures))
    _say(f"written: {output}")


async def _compare(figures: Figures, ours: Peer, kopfs: Peer, rounds: int, seconds: float) -> None:
    """Fill in the rounds in which both could be measured."""
    for number in range(2 * rounds):
        ours_speed, kopf_speed = await speeds((ours, kopfs), seconds)
        _say(f"round {number + 1}: {ours.name}: {ours_speed or 'never in time'}")
        _say(f"round {number + 1}: {kopfs.name}: {kopf_speed or 'never in time'}")
        if ours_speed and kopf_speed:
            figures.ours.append(ours_speed)
            figures.kopf.append(kopf_speed)
        if len(figures.ours) == rounds:
            return
    if not figures.ours:
        raise load.LoadError("neither was ever fast enough: is the machine busy with something else?")


async def _start(stack: AsyncExitStack, server_core: int | None, own_core: int | None) -> tuple[Peer, Peer]:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kubedr-bench-")))
    certificates, authority = directory / "tls", directory / "ca.crt"
    await asyncio.to_thread(_issue, certificates, authority)
    context = ssl.create_default_context(cafile=str(authority))
    api = await stack.enter_async_context(processes.serving("serve_api", core=own_core))

    async def peer(name: str, *arguments: str) -> Peer:
        process = await stack.enter_async_context(
            processes.serving(f"serve_{name}", str(certificates), *arguments, core=server_core)
        )
        port = int(process.said)
        calls = [sample.call(port, spaced=name == "kopf") for sample in reviews.small()]
        return Peer(name, process, load.Target(port, context), calls, authority)

    ours, kopfs = await peer("kubedr"), await peer("kopf", api.said)
    processes.pin_self(own_core)  # not earlier: taskset must still see both cores
    return ours, kopfs


def _issue(certificates: Path, authority: Path) -> None:
    ca = trustme.CA()
    leaf = ca.issue_cert("127.0.0.1", "localhost")
    chain = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
    certificate_files.write(certificates, chain, leaf.private_key_pem.bytes())
    ca.cert_pem.write_to_path(str(authority))


@asynccontextmanager
async def _session(peer: Peer) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(ssl=peer.target.context)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


async def _post(peer: Peer, sample: reviews.Sample) -> tuple[int, bytes]:
    """Return the status and the body of an answer."""
    url, headers = f"https://localhost:{peer.port}{sample.path}", {"content-type": "application/json"}
    async with _session(peer) as session, session.post(url, data=sample.body, headers=headers) as answer:
        return answer.status, await answer.read()


def _operations(response: dict[str, Any]) -> list[str]:
    """Return the operations of a patch in a fixed order, for they may be listed in any."""
    patch = json.loads(base64.b64decode(response.get("patch", "W10=")))
    return sorted(json.dumps(operation, sort_keys=True) for operation in patch)


async def _outlasts_idleness(peer: Peer) -> bool:
    """Whether a connection can be used again as late as the API server would."""
    target = load.Target(peer.port, peer.target.context)
    (connection,) = await target.open(1)
    used = await _answers(connection, peer.calls[0])
    await asyncio.sleep(IDLE_SECONDS)
    used_again = await _answers(connection, peer.calls[0])
    target.close()
    return used and used_again


async def _answers(connection: load.Connection, call: load.Call) -> bool:
    answered = asyncio.Event()
    connection.call(call, answered.set)
    try:
        await asyncio.wait_for(answered.wait(), 5)
    except TimeoutError:
        return False
    return True


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command's progress


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # all that was started is ended, as by Ctrl-C
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each level of concurrency")
    parser.add_argument("--output", type=Path, default=Path("docs/design/benchmarks.md"))
    options = parser.parse_args()
    asyncio.run(main(options.rounds, options.seconds, options.output))
