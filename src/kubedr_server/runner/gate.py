"""Lets restic store while the proof is still under way, and finish only what has been proven.

restic walks a directory in the order of its names, and asks in each one for the file of
`--exclude-if-present` before it goes on. Here that file is a named pipe, on which it waits: all else is read
and stored meanwhile, and the snapshot, which restic writes last, only comes when the pipe tells so.

Nobody holds the pipe open meanwhile. When the runner is killed restic waits on, and ends with its pod: what
lets it go on comes from `open` and `refuse` only.
"""

import asyncio
import errno
import os
from pathlib import Path
from typing import Any, Final

_NAME: Final = ".kubedr-gate"
_OPEN: Final = b"open"
_SHUT: Final = b"shut"
_PAUSE_SECONDS: Final = 0.02


class Gate:
    """A named pipe in a directory, before whose files a `restic backup` with `OPTIONS` waits."""

    OPTIONS: Final = (f"--exclude={_NAME}", f"--exclude-if-present={_NAME}:{_SHUT.decode()}")

    def __init__(self, directory: Path) -> None:
        self._path = directory / _NAME
        os.mkfifo(self._path, 0o600)

    def remove(self) -> None:
        """Remove the pipe."""
        self._path.unlink()

    async def open(self, waiting: "asyncio.Future[Any]") -> bool:
        """Let restic go on; returns whether it waited, or had ended (`waiting` is done) before."""
        return await self._write(_OPEN, waiting)

    async def refuse(self, waiting: "asyncio.Future[Any]") -> None:
        """Let a restic that was told to end go on to its end: what is behind the gate is left out."""
        await self._write(_SHUT, waiting)

    async def _write(self, word: bytes, waiting: "asyncio.Future[Any]") -> bool:
        while not waiting.done():
            try:
                pipe = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            try:
                os.write(pipe, word)
            finally:
                os.close(pipe)
            return True
        return False
