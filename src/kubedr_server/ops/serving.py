"""Runs an ASGI application with uvicorn inside our own event loop, next to everything else.

uvicorn by itself wants to own the process: signals, loop, exit code. Here it is one task of several
that begin and end in an order. It also closes connections that are opened and then say nothing, which uvicorn
leaves open for ever.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final
from weakref import WeakKeyDictionary

import uvicorn

from kubedr_server.ops.connection import Connection

logger = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS: Final = 120
"""Longer than the 90 s for which the API server keeps an idle connection: it closes, not we."""

SILENCE_SECONDS: Final = 10.0
"""How long a client may take from opening a connection, or beginning a request, to the end of its headers."""

_SWEEP_SECONDS: Final = 2.0

Application = Callable[[Any, Any, Any], Awaitable[None]]


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves the signals to us and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Listener:
    """A bound socket that an application is served on."""

    def __init__(
        self,
        application: Application,
        bound: socket.socket,
        *,
        context: ssl.SSLContext | None = None,
        drain_seconds: int = 20,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        """Take a socket of `bind`; it is closed when serving ends."""
        self._socket = bound
        self._silence = silence_seconds
        config = uvicorn.Config(
            application,
            http=Connection,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=drain_seconds,
            backlog=2048,
            ssl_context_factory=(lambda _config, _default: context) if context else None,
        )
        self._server = _Server(config)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve until the block ends; then finish what is in flight, and return."""
        served = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="uvicorn")
        listening = asyncio.create_task(self._server.listening.wait())
        sweeper = asyncio.create_task(self._sweep(), name="sweep-connections")
        try:
            await asyncio.wait({served, listening}, return_when=asyncio.FIRST_COMPLETED)
            yield
        finally:
            self._server.should_exit = True
            for task in (listening, sweeper):
                task.cancel()
            await asyncio.gather(listening, sweeper, return_exceptions=True)
            await asyncio.shield(served)

    async def _sweep(self) -> None:
        """Close connections whose client keeps silent before a request, or in the middle of its headers."""
        since: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = time.monotonic()
            for connection in list(self._server.server_state.connections):
                if not isinstance(connection, Connection):
                    continue
                if not connection.waits_for_headers:
                    since.pop(connection, None)
                elif now - since.setdefault(connection, now) >= self._silence:
                    connection.transport.close()


def bind(host: str, port: int) -> socket.socket:
    """Return a listening-ready TCP socket; port 0 takes any free one. Raises OSError, naming the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is given because asyncio looks at it before it sets TCP_NODELAY: without, the second
    # write of each answer would wait 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    listener.setblocking(False)
    return listener


def port_of(bound: socket.socket) -> int:
    """Return the port of a bound socket."""
    port: int = bound.getsockname()[1]
    return port
