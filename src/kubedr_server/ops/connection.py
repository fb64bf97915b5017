"""One HTTP connection: uvicorn's, with whole answers, small bites, a bound on headers, and a patient end.

uvicorn writes the head and the body of an answer one after the other. Over TLS these are two records and two
system calls, which cost more than to judge an object does. And it closes at once after an answer that came
before the end of the request, which can cost the client the answer. And asyncio would decrypt up to 256
KiB of a connection in one go, while the others wait.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kubedr_server.ops.lingering import Lingering

MAX_HEAD: Final = 64 * 1024
"""The request line and the headers, in bytes."""

BITE: Final = 64 * 1024
"""How much of one connection is read in one step of the event loop, in bytes."""


class _Transport:
    """A transport that sends together what is written in one step of the event loop, and may end slowly."""

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop, lingers: Callable[[], bool]) -> None:
        """`lingers` is asked at the end; if it says yes, it sees to it that the transport is closed."""
        self._transport = transport
        self._loop = loop
        self._lingers = lingers
        self._pending: list[bytes] = []
        self._closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send the data at the end of this step."""
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(data)

    def close(self) -> None:
        """Send what is left, and close."""
        self._flush()
        self._closed = True
        if not self._lingers():
            self._transport.close()

    def is_closing(self) -> bool:
        """Whether nothing more can be written."""
        return self._closed or bool(self._transport.is_closing())

    def _flush(self) -> None:
        if self._pending:
            self._transport.write(b"".join(self._pending))
            self._pending.clear()


class Connection(HttpToolsProtocol, asyncio.BufferedProtocol):
    """The server's side of a connection."""

    _bite = memoryview(bytearray(BITE))
    """Of all connections: what is read into it is taken out at once."""

    _head = 0
    _is_malformed = False
    _server_ends = False
    _lingering: Lingering

    def connection_made(self, transport: Any) -> None:
        """Begin; called by the event loop."""
        self._lingering = Lingering(transport, self.loop)
        ours: Any = _Transport(transport, self.loop, self._lingers)
        super().connection_made(ours)

    def connection_lost(self, exc: Exception | None) -> None:
        """End; called by the event loop."""
        super().connection_lost(exc)
        self._lingering.stop()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to read to; called by the event loop."""
        return self._bite

    def buffer_updated(self, nbytes: int) -> None:
        """Parse what was read; called by the event loop."""
        self.data_received(bytes(self._bite[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Parse. Closes the connection if the headers do not end."""
        if self.transport.is_closing():
            self._lingering.received(len(data))
            return
        super().data_received(data)
        if self.is_busy:
            self._head = 0
            return
        self._head += len(data)
        if self._head > MAX_HEAD:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP; called by the parser's user."""
        self._is_malformed = True
        super().send_400_response(msg)

    def shutdown(self) -> None:
        """End with the server, after the answer that is due; called by uvicorn."""
        self._server_ends = True
        if self._lingering.began:
            self._lingering.hurry()
        else:
            super().shutdown()

    @property
    def is_busy(self) -> bool:
        """Whether a request, whose headers are complete, is being answered."""
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    @property
    def waits_for_headers(self) -> bool:
        """Whether the client owes us a request, or the rest of one that it has begun."""
        return not self.is_busy and self.timeout_keep_alive_task is None and not self._lingering.began

    def _lingers(self) -> bool:
        """Begin to read on before the end, if the client may not have sent all; tells whether that is so."""
        if self._lingering.began:
            return True
        cycle: Any = self.cycle
        answered_early = cycle is not None and cycle.response_complete and cycle.more_body
        if not (self._is_malformed or answered_early or self.pipeline):
            return False
        if self.is_busy:  # with what turned out to be no HTTP: it has had its answer
            cycle.disconnected = True
            cycle.message_event.set()
        self.flow.resume_reading()
        self._lingering.begin(server_ends=self._server_ends)
        return True
