"""Closes a connection in a way that lets the client still read the answer.

A server that answers before it has read the whole request, and then closes, has the kernel send a reset for
whatever the client goes on sending. The reset makes the client's kernel drop an answer that was not read yet:
where we said 413 or 503, the API server would tell its user "connection reset by peer". So we go on reading,
and throw away what comes, until the client has closed or has had enough.
"""

import asyncio
from typing import Any, Final

SECONDS: Final = 5.0
"""How long we read on at most."""

SILENCE_SECONDS: Final = 1.0
"""How long a client may say nothing before we take it that it has read the answer."""

LAST_SECONDS: Final = 0.5
"""How long we read on when the server is ending."""

BYTES: Final = 32 * 1024 * 1024
"""How much we read on at most: several times what an API server sends."""


class Lingering:
    """The end of one connection."""

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        """Take the transport that is to be closed; nothing is done to it yet."""
        self._transport = transport
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._heard = 0.0
        self._bytes = 0
        self.began = False

    def begin(self, *, server_ends: bool) -> None:
        """Say that we send nothing more, as far as TLS lets us, and read on. The answer has been written."""
        self.began = True
        self._heard = self._loop.time()
        self._deadline = self._heard + (LAST_SECONDS if server_ends else SECONDS)
        if self._transport.can_write_eof():  # not over TLS
            self._transport.write_eof()
        self._look()

    def received(self, size: int) -> None:
        """Take note of bytes that were thrown away."""
        self._heard = self._loop.time()
        self._bytes += size
        if self._bytes > BYTES:
            self._transport.abort()

    def hurry(self) -> None:
        """Come to an end: the server does."""
        self._deadline = min(self._deadline, self._loop.time() + LAST_SECONDS)
        self._look()

    def stop(self) -> None:
        """Forget the connection: it has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self.stop()
        now, silent_at = self._loop.time(), self._heard + SILENCE_SECONDS
        if now < min(self._deadline, silent_at):
            self._timer = self._loop.call_at(min(self._deadline, silent_at), self._look)
            return
        self._transport.close()
        # TLS waits for the client to say goodbye, too, and for longer than we do.
        self._timer = self._loop.call_later(LAST_SECONDS, self._transport.abort)
