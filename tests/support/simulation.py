"""Local mode's API and several server processes in one event loop, whose clock jumps.

Everything is real but the sockets and the disk: the embedded API with its schemas, server-side apply,
finalizers and garbage collection on one side, the client with its time-outs, retries and guard on the
other. A minute of pause, or a day, takes no time, and a run is the same whenever and wherever it is run.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
from kubernetes_asyncio.client import Configuration

from kubedr_server.api import crd
from kubedr_server.kube.client import Client
from kubedr_server.kube.connection import Connection
from kubedr_server.kube.resources import CRDS
from kubedr_server.kube.transport import ClientSettings, Transport
from kubedr_server.local.api.admission import Admission
from kubedr_server.local.api.app import App
from kubedr_server.local.api.background import Background
from kubedr_server.local.api.builtin import BUILTIN
from kubedr_server.local.api.context import Engine
from kubedr_server.local.api.database import Database, Key, Row
from kubedr_server.local.api.deleting import Deleter
from kubedr_server.local.api.faults import Faults
from kubedr_server.local.api.reading import Reader
from kubedr_server.local.api.resources import Registry
from kubedr_server.local.api.schemas import Definitions
from kubedr_server.local.api.storage import Entry, Store
from kubedr_server.local.api.structural import Structure
from kubedr_server.local.api.webhook_call import WebhookClient
from kubedr_server.local.api.writing import Writer
from support.virtual_time import VirtualTimeLoop

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_TOKEN = "of-the-simulation"
_UNLIMITED = ClientSettings(qps=0)
T = TypeVar("T")


class _NoDisk(Database):
    """Keeps nothing: the store has every object in memory, and no test starts it again.

    `objects` are there from the beginning.
    """

    def __init__(self, objects: Iterable[Entry] = ()) -> None:
        super().__init__(Path("/nonexistent"))
        self._objects = [(entry.key, entry.revision, entry.body) for entry in objects]

    async def open(self) -> None:
        """Open nothing."""

    async def load(self) -> tuple[list[tuple[Key, int, bytes]], list[Row], int]:
        """Return the first objects."""
        return self._objects, [], max((revision for _, revision, _ in self._objects), default=0)

    async def commit(self, rows: Iterable[Row], keep_from: int) -> None:
        """Let the others run, as writing to a disk would."""
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Close nothing."""


@dataclass(frozen=True)
class Seen:
    """A request as it reached the API. `at` is in seconds of the loop's clock."""

    process: str
    at: float
    method: str
    path: str
    query: Mapping[str, str]
    body: Any


@cache
def _definitions() -> Definitions:
    return Definitions()


class Simulation:
    """The API, and the processes that talk to it. Use `simulation()`."""

    def __init__(self, rng: random.Random, latency: float, objects: Iterable[Entry] = ()) -> None:
        self.rng = rng
        self.latency = latency
        self.faults = Faults()
        self.seen: list[Seen] = []
        self.store = Store(_NoDisk(objects))
        self.start = START
        self.skew = timedelta()
        """How far the servers' clocks are ahead of the API's."""

        self._began = asyncio.get_running_loop().time()
        self._apps: dict[bool, App] = {}
        """With faults, and without."""

        self._exchanges: dict[asyncio.Task[None], _Exchange] = {}

    def now(self) -> datetime:
        """Return the time as the API and its cluster know it."""
        return self.start + timedelta(seconds=asyncio.get_running_loop().time() - self._began)

    def process(self, name: str) -> "Process":
        """Return a new process."""
        return Process(name, self)

    def writes(self, process: str = "", after: float = 0.0) -> list[Seen]:
        """Return the writes that came in after a moment, of a process or of all; Events do not count."""
        return [
            seen
            for seen in self.seen
            if seen.method in WRITES
            and seen.at > after
            and process in {"", seen.process}
            and not seen.path.endswith("/events")
        ]

    def requests(self, process: str) -> list[Seen]:
        """Return all requests of a process."""
        return [seen for seen in self.seen if seen.process == process]

    def cut_watches(self, process: str) -> None:
        """Break the connections of all watches of a process."""
        for exchange in self._exchanges.values():
            if exchange.process == process and "watch=" in exchange.query:
                exchange.cut()

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        definitions = _definitions()
        engine = Engine(
            self.store, Registry(BUILTIN), definitions, Structure(definitions), self.now, self.rng
        )
        await self.store.open()
        webhooks = WebhookClient({})
        admission = Admission(engine, webhooks)
        writer, deleter = Writer(engine, admission), Deleter(engine, admission)
        try:
            async with Background(engine, writer, deleter):
                reader = Reader(engine, self.rng)
                for spared, trouble in ((False, self.faults), (True, Faults())):
                    self._apps[spared] = App(engine, reader, writer, deleter, _TOKEN, None, trouble)
                yield
                for exchange in self._exchanges:
                    exchange.cancel()
                await asyncio.gather(*self._exchanges, return_exceptions=True)
        finally:
            await webhooks.close()
            await self.store.close()

    def exchange(
        self, process: "Process", method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> "_Exchange":
        """Have a request carried out, whether or not anyone waits for the answer."""
        where = urlsplit(url)
        query = dict(pair.split("=", 1) for pair in where.query.split("&")) if where.query else {}
        parsed = json.loads(body) if body else None
        now = asyncio.get_running_loop().time()
        self.seen.append(Seen(process.name, now, method, where.path, query, parsed))
        exchange = _Exchange(process.name, method, where.path, where.query, headers, body)
        task = asyncio.create_task(exchange.run(self._apps[process.spared]))
        exchange.task = task
        self._exchanges[task] = exchange
        task.add_done_callback(lambda done: self._exchanges.pop(done, None) and None)
        return exchange


class _Exchange:
    """One request in the API, and what it has answered so far."""

    def __init__(
        self, process: str, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> None:
        self.process = process
        self.query = query
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": quote(path).encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
        self.status = 0
        self.headers: dict[str, str] = {}
        self.head = asyncio.Event()
        self.parts: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.broken = False
        self.task: asyncio.Task[None] | None = None
        self._body: bytes | None = body

    async def run(self, app: App) -> None:
        """Carry the request out."""
        try:
            await app(self.scope, self._receive, self._send)
        except asyncio.CancelledError:
            self.broken = True
            raise
        except Exception:  # noqa: BLE001 - as in a server: the connection breaks
            self.broken = True
        finally:
            self.head.set()
            self.parts.put_nowait(None)

    def cut(self) -> None:
        """Break the connection."""
        self.broken = True
        self.head.set()
        self.parts.put_nowait(None)

    async def _receive(self) -> dict[str, Any]:
        if self._body is None:
            await asyncio.Event().wait()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode().title(): value.decode() for name, value in message["headers"]}
            self.head.set()
        elif message.get("body"):
            self.parts.put_nowait(message["body"])


class _Response:
    """What the transport sees of aiohttp's ClientResponse."""

    def __init__(self, exchange: _Exchange, process: "Process", limits: aiohttp.ClientTimeout) -> None:
        self.status = exchange.status
        self.headers = exchange.headers
        self.content = self
        self._exchange = exchange
        self._process = process
        self._limits = limits

    async def read(self) -> bytes:
        """Return the whole body."""
        return b"".join([part async for part in self.iter_any()])

    async def iter_any(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes."""
        while True:
            async with asyncio.timeout(self._limits.sock_read):
                part = await self._exchange.parts.get()
            await self._process.running.wait()
            if part is None:
                if self._exchange.broken:
                    raise aiohttp.ClientPayloadError("the connection was cut")
                return
            yield part

    def close(self) -> None:
        """Hang up; a watch then ends on the server's side, too."""
        if self._exchange.task is not None and self._exchange.scope["method"] == "GET":
            self._exchange.task.cancel()


class Process(Connection):
    """A process of its own: it can be paused, and then sends and hears nothing."""

    def __init__(self, name: str, simulation: Simulation) -> None:
        super().__init__(Configuration(host="http://simulation"))
        self.name = name
        self.running = asyncio.Event()
        self.running.set()
        self.alive = True
        self.latency = simulation.latency
        """How many seconds each way of a request takes at the most."""

        self.spared = False
        """Whether faults of the API do not befall it."""

        self.stopped = asyncio.Event()
        """Set once it has been paused, or has crashed, after the write that it was told to."""

        self._left: int | None = None
        self._then: Callable[[], None] = self.crash
        self._simulation = simulation

    def after_writes(self, count: int, then: Callable[[], None]) -> None:
        """Have it pause or crash once it has sent so many more writes, before the last one is answered."""
        self._left, self._then = count, then
        self._count(0)

    def wrote(self) -> None:
        """Note that a write has been sent."""
        if self._left is not None:
            self._count(1)

    def _count(self, writes: int) -> None:
        self._left = (self._left or 0) - writes
        if self._left == 0:
            self._left = None
            self._then()
            self.stopped.set()

    async def travel(self) -> None:
        """Wait as long as a request or its answer is under way."""
        if self.latency:
            await asyncio.sleep(self._simulation.rng.uniform(0, self.latency))

    def pause(self) -> None:
        """Stop it as SIGSTOP does, at whatever it is waiting for."""
        self.running.clear()

    def resume(self) -> None:
        """Let it go on."""
        self.running.set()

    def crash(self) -> None:
        """From now on it sends nothing more; what it has sent is carried out."""
        self.alive = False

    async def sleep(self, seconds: float) -> None:
        """Sleep; in a paused process nothing wakes."""
        await asyncio.sleep(seconds)
        await self.running.wait()

    async def authorization(self) -> str | None:
        """Return the credentials: the first thing that every request needs, before it is guarded."""
        await self.running.wait()
        if not self.alive:
            raise aiohttp.ClientConnectionError(f"{self.name} has crashed")
        return f"Bearer {_TOKEN}"

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Connect."""
        transport = Transport(
            self,
            _UNLIMITED,
            rng=self._simulation.rng,
            clock=asyncio.get_running_loop().time,
            sleep=self.sleep,
            http=_InProcess(self, self._simulation),
        )
        async with Client(transport) as client:
            yield client


class _InProcess:
    """What the transport sees of its HTTP client."""

    def __init__(self, process: Process, simulation: Simulation) -> None:
        self._process = process
        self._simulation = simulation

    async def close(self) -> None:
        """Nothing is open."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        query_params: Mapping[str, str] | None,
        headers: Mapping[str, str],
        body: Any,
        _preload_content: bool,
        _request_timeout: aiohttp.ClientTimeout,
    ) -> _Response:
        """Send a request, and wait for the head of its answer."""
        process, simulation = self._process, self._simulation
        content = b"" if body is None else json.dumps(body).encode()
        target = f"{url}?{urlencode(query_params)}" if query_params else url
        await process.travel()
        exchange = simulation.exchange(process, method, target, headers, content)
        if method in WRITES:
            process.wrote()
        limit = _request_timeout.total or _request_timeout.sock_read
        async with asyncio.timeout(limit):
            await exchange.head.wait()
        await process.travel()
        await process.running.wait()
        if not exchange.status or not process.alive:
            raise aiohttp.ServerDisconnectedError
        return _Response(exchange, process, _request_timeout)


class SimulationLoop(VirtualTimeLoop):
    """Virtual time that does not run on while a thread works: what belongs in a thread runs here."""

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override] # as its base class has it, with types
        """Run a function at once."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - raised where the result is asked for
            future.set_exception(error)
        return future


def run_simulation(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a loop of its own."""
    with asyncio.Runner(loop_factory=SimulationLoop) as runner:
        return runner.run(main)


_with_our_kinds: list[Entry] = []
"""What is stored once our kinds are served: made once, for it takes as long as most tests."""


@asynccontextmanager
async def simulation(seed: int = 7, *, latency: float = 0.0) -> AsyncIterator[Simulation]:
    """Run the API, with our kinds. Each way of a request takes up to `latency` seconds."""
    if not _with_our_kinds:
        first = Simulation(random.Random(seed), 0.0)
        async with first._running(), first.process("set-up").client() as client:
            for definition in crd.definitions():
                await client.apply(CRDS, definition, field_manager="test")
            await asyncio.sleep(1)
            _with_our_kinds.extend(first.store.everything())
    made = Simulation(random.Random(seed), latency, _with_our_kinds)
    async with made._running():
        yield made
