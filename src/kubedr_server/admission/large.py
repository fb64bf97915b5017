"""Large reviews are read by a process of their own, one at a time, so that small ones do not wait for them.

A thread would not help: the JSON parsers hold the interpreter's lock, and so does the collector that walks
over what they make. The process lives for one review: nothing has to be kept alive or in step, and its
memory is given back.
"""

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
from typing import Final

from kubedr_server.admission import trim

logger = logging.getLogger(__name__)

_COMMAND: Final = (sys.executable, "-I", "-S", trim.__file__)
"""Without site packages: it starts in the time that the parsing of 300 KB takes."""


async def trimmed(body: bytes) -> bytes:
    """Return the review without what no rule reads; the body itself if that did not work.

    A body that is not JSON comes back as it is: whoever parses it next says what is wrong.
    """
    try:
        process = _start()
    except OSError as error:
        logger.warning("no process for a large review: read here", extra={"problem": str(error)})
        return body
    # A thread waits on the pipes: to watch them and the process from the loop costs more than all of it.
    talking = asyncio.ensure_future(asyncio.to_thread(_talk, process, body))
    try:
        answer = await asyncio.shield(talking)
    finally:
        if not talking.done():
            process.kill()
            await asyncio.wait({talking})
    return body if answer is None else answer


def _start() -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        _COMMAND, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    _give_way(process.pid)
    return process


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


def _talk(process: "subprocess.Popen[bytes]", body: bytes) -> bytes | None:
    """Hand the body over and return the answer; None if the process failed. Blocks."""
    with process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("subprocess gave no pipe that it was asked for")
        with contextlib.suppress(BrokenPipeError):  # it ended early: its exit code says so
            left = memoryview(body)
            while left:
                left = left[process.stdin.write(left) :]
        process.stdin.close()
        answer = process.stdout.read()
    return answer if process.returncode == 0 else None
