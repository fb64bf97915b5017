"""One HTTP connection: uvicorn's, with an answer sent as one piece and a bound on the size of headers.

uvicorn writes the head and the body of an answer one after the other. Over TLS these are two records and two
system calls, which cost more than to judge an object does.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD: Final = 64 * 1024
"""The request line and the headers, in bytes."""


class _JoinedWrites:
    """A transport that sends together what is written in one step of the event loop."""

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pending: list[bytes] = []

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
        self._transport.close()

    def _flush(self) -> None:
        if self._pending:
            self._transport.write(b"".join(self._pending))
            self._pending.clear()


class Connection(HttpToolsProtocol):
    """The server's side of a connection."""

    _head = 0

    def connection_made(self, transport: Any) -> None:
        """Begin; called by the event loop."""
        super().connection_made(_JoinedWrites(transport, self.loop))  # type: ignore[arg-type] # acts as one

    def data_received(self, data: bytes) -> None:
        """Parse; called by the event loop. Closes the connection if the headers do not end."""
        super().data_received(data)
        if self.is_busy:
            self._head = 0
            return
        self._head += len(data)
        if self._head > MAX_HEAD:
            self.transport.close()

    @property
    def is_busy(self) -> bool:
        """Whether a request, whose headers are complete, is being answered."""
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    @property
    def waits_for_headers(self) -> bool:
        """Whether the client owes us a request, or the rest of one that it has begun."""
        return not self.is_busy and self.timeout_keep_alive_task is None
