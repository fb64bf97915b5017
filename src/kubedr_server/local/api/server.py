"""`LocalAPI`: the embedded API as one thing that is started and stopped, in a command or in a test."""

import asyncio
import contextlib
import random
import socket
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import uvicorn

from kubedr_server.local.api import pki
from kubedr_server.local.api.admission import Admission
from kubedr_server.local.api.app import App
from kubedr_server.local.api.background import Background
from kubedr_server.local.api.builtin import BUILTIN
from kubedr_server.local.api.context import Clock, Engine, LogSource, utc_now
from kubedr_server.local.api.database import Database
from kubedr_server.local.api.deleting import Deleter
from kubedr_server.local.api.faults import Faults
from kubedr_server.local.api.reading import Reader
from kubedr_server.local.api.resources import Registry
from kubedr_server.local.api.schemas import Definitions
from kubedr_server.local.api.storage import Store
from kubedr_server.local.api.structural import Structure
from kubedr_server.local.api.webhook_call import WebhookClient
from kubedr_server.local.api.writing import Writer

_KEEP_ALIVE_SECONDS = 120
_SHUTDOWN_SECONDS = 3
_BACKLOG = 2048


def _listen(host: str, port: int) -> socket.socket:
    """Bind a port. asyncio turns off Nagle's delay only where the protocol is named, so name it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: signals belong to the command that started the API."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def] # as its base class has it
        yield


class LocalAPI:
    """An API server on loopback with its state in one directory.

    `async with LocalAPI(directory) as api:` serves until the block ends; `api.kubeconfig` is
    the file that kubectl and `kube.Client.from_kubeconfig` take. `services` tells where the
    Services that webhook configurations name are found: `namespace/name` -> `https://host:port`.
    The directory may be used again later, by one process at a time; everything in it is readable
    by its owner only.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        kubeconfig: Path | None = None,
        logs: LogSource | None = None,
        services: Mapping[str, str] | None = None,
        faults: Faults | None = None,
        clock: Clock = utc_now,
        rng: random.Random | None = None,
    ) -> None:
        self._directory = state_dir
        self._host = host
        self._port = port
        self.kubeconfig = kubeconfig or state_dir / "kubeconfig"
        self._logs = logs
        self._services = services or {}
        self._faults = faults or Faults()
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - names and uids, no secrets
        self._stack = contextlib.AsyncExitStack()
        self._app: App | None = None
        self.store: Store
        self.url = ""

    def set_log_source(self, logs: LogSource) -> None:
        """Say where pod logs are read from, once whoever runs the pods is there."""
        self._logs = logs
        if self._app is not None:
            self._app.set_log_source(logs)

    async def __aenter__(self) -> "LocalAPI":
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        credentials = await asyncio.to_thread(pki.prepare, self._directory / "pki", self._host, self._clock())
        definitions = await asyncio.to_thread(Definitions)
        self.store = Store(Database(self._directory / "api.db"))
        engine = Engine(
            store=self.store,
            registry=Registry(BUILTIN),
            definitions=definitions,
            structure=Structure(definitions),
            clock=self._clock,
            rng=self._rng,
        )
        await self.store.open()
        stack.push_async_callback(self.store.close)
        webhooks = WebhookClient(self._services)
        stack.push_async_callback(webhooks.close)
        admission = Admission(engine, webhooks)
        writer = Writer(engine, admission)
        deleter = Deleter(engine, admission)
        background = Background(engine, writer, deleter)
        await stack.enter_async_context(background)
        reader = Reader(engine, self._rng)
        self._app = App(engine, reader, writer, deleter, credentials.token, self._logs, self._faults)
        listener = _listen(self._host, self._port)
        stack.callback(listener.close)
        self.url = f"https://{self._host}:{listener.getsockname()[1]}"
        await asyncio.to_thread(pki.write_kubeconfig, self.kubeconfig, self.url, credentials)
        await self._serve(stack, listener, credentials)

    async def _serve(
        self, stack: contextlib.AsyncExitStack, listener: socket.socket, credentials: pki.Credentials
    ) -> None:
        config = uvicorn.Config(
            self._app,  # type: ignore[arg-type] # an ASGI application, which uvicorn's protocols spell differently
            ssl_certfile=credentials.certificate_file,
            ssl_keyfile=str(credentials.key_file),
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]), name="kubedr-api-server")

        async def stop() -> None:
            self.store.end_subscriptions()
            server.should_exit = True
            await task

        stack.push_async_callback(stop)
        while not server.started:
            if task.done():
                await task
            await asyncio.sleep(0.01)
