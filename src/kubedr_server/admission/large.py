"""Large reviews are read by a process of their own, one at a time, so that small ones do not wait for them.

A thread would not help: the JSON parsers hold the interpreter's lock, and so does the collector that walks
over what they make. The process is started at the first large review and kept: to start one holds up
everything for a millisecond or two.
"""

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from kubedr_server.admission import trim

logger = logging.getLogger(__name__)

_COMMAND: Final = (sys.executable, "-I", "-S", trim.__file__)
"""Without site packages: it starts in the time that the parsing of 300 KB takes."""


class Reader:
    """The process that reads large reviews. Close it at the end: use it as an async context manager."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        async with self._turn:
            if self._process is not None:
                await asyncio.to_thread(_end, self._process)
                self._process = None

    async def trimmed(self, parts: Sequence[bytes]) -> bytes:
        """Return a review, given in parts, without what no rule reads; all of it if that did not work.

        A body that is not JSON comes back as it is: whoever parses it next says what is wrong.
        """
        async with self._turn:
            try:
                process = self._running()
            except OSError as error:
                logger.warning("no process for a large review: read here", extra={"problem": str(error)})
                return b"".join(parts)
            # A thread waits on the pipes: to watch them from the loop costs more than all of it.
            talking = asyncio.ensure_future(asyncio.to_thread(_talk, process, parts))
            try:
                answer = await asyncio.shield(talking)
            finally:
                if not talking.done():
                    process.kill()
                    await asyncio.wait({talking})
        return answer or b"".join(parts)

    def _running(self) -> "subprocess.Popen[bytes]":
        """Return the process; starts it if it does not run, or no more."""
        if self._process is not None and self._process.poll() is not None:
            _end(self._process)  # closes its pipes: there is nothing to wait for
            self._process = None
        if self._process is None:
            self._process = subprocess.Popen(
                _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            _give_way(self._process.pid)
        return self._process


def _give_way(pid: int) -> None:
    """Let the small reviews go first, from the process's first instruction on.

    The lowest niceness alone is not enough: a process of the usual policy may end its slice of some
    milliseconds before one that wakes up gets its turn. One that is idle by policy gives way at once.
    """
    with contextlib.suppress(OSError):  # it has ended, or a sandbox does not allow it
        os.setpriority(os.PRIO_PROCESS, pid, 19)
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))


def _talk(process: "subprocess.Popen[bytes]", parts: Sequence[bytes]) -> bytes:
    """Hand a review over and return the answer; empty if there is none. Blocks."""
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("subprocess gave no pipe that it was asked for")
    answer = b""
    with contextlib.suppress(BrokenPipeError):  # it has ended
        process.stdin.write(b"%d\n" % sum(map(len, parts)))
        process.stdin.writelines(parts)
        process.stdin.flush()
        answer = process.stdout.readline()
    if not answer.endswith(b"\n"):
        _end(process)
        return b""
    return answer[:-1]


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Have the process end, and wait for that. Blocks."""
    with contextlib.suppress(BrokenPipeError), process:  # closes the pipes; a part may not have been written
        process.kill()
