"""Lets restic start before there is anything to store, and store only what has been proven.

A third of a short backup is restic's start: it makes the key of the password, on purpose slowly, and reads
the repository's index. It is done while the proof is still under way. restic then reads its file of exclude
patterns, and only after that the directory: that file is a named pipe here, on which it waits.

Nobody holds the pipe open meanwhile. When the runner is killed restic waits on, and ends with its pod: an end
of the file, which would let it go on, comes from `open` and `refuse` only.
"""

import asyncio
import errno
import os
from pathlib import Path
from typing import Any, Final

_EVERYTHING: Final = b"*\n"
_PAUSE_SECONDS: Final = 0.02


class Gate:
    """A named pipe, to be given to one program as `--exclude-file`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path, 0o600)

    async def open(self, waiting: "asyncio.Future[Any]") -> None:
        """Let the program go on, with no patterns; returns when it does, or when `waiting` is done."""
        await self._write(b"", waiting)

    async def refuse(self, waiting: "asyncio.Future[Any]") -> None:
        """Let a program that was told to end go on to its end: every file is excluded."""
        await self._write(_EVERYTHING, waiting)

    async def _write(self, patterns: bytes, waiting: "asyncio.Future[Any]") -> None:
        while not waiting.done():
            try:
                pipe = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            try:
                os.write(pipe, patterns)
            finally:
                os.close(pipe)
            return
