"""The load generator: raw HTTP/1.1 over TLS, with kept connections.

It speaks just enough HTTP for the two servers that it measures, because a whole client would cost as much
as they do. Its own CPU time is told beside each figure: while it has time left, it is the server that is
measured.
"""

import asyncio
import resource
import ssl
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


class LoadError(Exception):
    """The server did not answer as it must; nothing can be said of its speed."""


@dataclass(frozen=True)
class Call:
    """One request, ready to be written, and the words that its answer must hold."""

    wire: bytes
    expected: bytes


@dataclass
class Result:
    """What was measured in one run. Seconds throughout."""

    seconds: float
    latencies: list[float]
    generator_cpu: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    @property
    def generator_load(self) -> float:
        """The part of one core that the generator used."""
        return self.generator_cpu / self.seconds

    def percentile(self, percent: float) -> float:
        """Return the latency that this part of the requests does not exceed, by the nearest rank."""
        if not self.latencies:
            raise LoadError("no request was answered")
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    def usual_p99(self) -> float:
        """Return the p99 of a hundred requests in a row, the median of all hundreds.

        A moment in which another program held up everything then counts once, and not for the whole run.
        """
        hundreds = [self.latencies[at : at + 100] for at in range(0, len(self.latencies) - 99, 100)]
        if not hundreds:
            return self.percentile(99)
        return statistics.median(max(hundred) for hundred in hundreds)


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._received = b""
        self._call: Call | None = None
        self._done: Callable[[], None] = lambda: None
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._call is not None:
            self._fail(f"the server closed the connection before its answer ({exc})")

    def call(self, call: Call, done: Callable[[], None]) -> None:
        """Send a request; `done` is called at the end of its answer."""
        self._call, self._done = call, done
        self._transport.write(call.wire)

    def data_received(self, data: bytes) -> None:
        data = self._received + data
        head = data.find(b"\r\n\r\n")
        if head < 0:
            self._received = data
            return
        at = data.lower().find(b"content-length:", 0, head)
        end = data.find(b"\r", at)
        if at < 0:
            self._fail(f"an answer without a length: {data[:200]!r}")
            return
        if len(data) < head + 4 + int(data[at + 15 : end]):
            self._received = data
            return
        call, self._call, self._received = self._call, None, b""
        if call is None or not data.startswith(b"HTTP/1.1 200") or call.expected not in data[head:]:
            self._fail(f"another answer than expected: {data[:400]!r}")
            return
        self._done()

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def _fail(self, why: str) -> None:
        if not self.failure.done():
            self.failure.set_exception(LoadError(why))


@dataclass
class Target:
    """Where a server listens, and how it is trusted."""

    port: int
    context: ssl.SSLContext
    connections: list[Connection] = field(default_factory=list)

    async def open(self, count: int) -> list[Connection]:
        """Return this many open connections; those that are there are used again."""
        loop = asyncio.get_running_loop()
        while len(self.connections) < count:
            _, connection = await loop.create_connection(
                Connection, "127.0.0.1", self.port, ssl=self.context, server_hostname="localhost"
            )
            self.connections.append(connection)
        return self.connections[:count]

    def close(self) -> None:
        """Close all connections."""
        for connection in self.connections:
            connection.close()
        self.connections.clear()


async def saturate(target: Target, calls: Sequence[Call], connections: int, seconds: float) -> Result:
    """Send on each connection the next request as soon as the last one is answered."""
    opened = await target.open(connections)
    latencies: list[float] = []
    all_done = asyncio.Event()
    clock = time.perf_counter
    position, busy = 0, len(opened)
    began, cpu = clock(), _cpu()
    until = began + seconds

    def next_call(connection: Connection) -> None:
        nonlocal position
        sent = clock()
        position += 1

        def done() -> None:
            nonlocal busy
            now = clock()
            latencies.append(now - sent)
            if now < until:
                next_call(connection)
            else:
                busy -= 1
                if not busy:
                    all_done.set()

        connection.call(calls[position % len(calls)], done)

    for connection in opened:
        next_call(connection)
    await _wait(all_done, opened, seconds + 30)
    return Result(clock() - began, latencies, _cpu() - cpu)


async def at_rate(
    target: Target, calls: Sequence[Call], connections: int, rate: float, seconds: float
) -> Result:
    """Send requests at given times, whether or not earlier ones are answered.

    To wait for a free connection is part of the latency, as it is for the API server; that the generator
    itself woke up late is not.
    """
    opened = await target.open(connections)
    free, waiting = deque(opened), deque[float]()
    latencies: list[float] = []
    total, position = int(rate * seconds), 0
    all_done = asyncio.Event()
    clock = time.perf_counter
    began, cpu = clock(), _cpu()

    def serve() -> None:
        nonlocal position
        while free and waiting:
            position += 1
            start(free.popleft(), waiting.popleft(), calls[position % len(calls)])

    def start(connection: Connection, due: float, call: Call) -> None:
        def done() -> None:
            latencies.append(clock() - due)
            free.append(connection)
            if len(latencies) == total:
                all_done.set()
            serve()

        connection.call(call, done)

    async def tick() -> None:
        for number in range(total):
            pause = began + number / rate - clock()
            if pause > 0:
                await asyncio.sleep(pause)
            waiting.append(clock())
            serve()

    ticking = asyncio.create_task(tick())
    try:
        await _wait(all_done, opened, seconds + 30)
    finally:
        ticking.cancel()
    return Result(clock() - began, latencies, _cpu() - cpu)


async def _wait(done: asyncio.Event, connections: Sequence[Connection], seconds: float) -> None:
    """Wait for the end of a run, or for the first failure."""
    finished = asyncio.create_task(done.wait())
    try:
        waited: set[asyncio.Future[Any]] = {finished, *(connection.failure for connection in connections)}
        ended, _ = await asyncio.wait(waited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if not ended:
            raise LoadError(f"no end after {seconds:.0f} s")
        for one in ended:
            one.result()
    finally:
        finished.cancel()


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
