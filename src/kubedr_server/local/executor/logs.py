"""Containers' logs: one file each, in the format of a node's /var/log/pods, and `kubectl logs` of them.

A line of the file is `<time> <stdout|stderr> <F|P> <text>`; P marks a part of a line that goes on.
"""

import asyncio
import logging
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Protocol

from kubedr_server.local.executor.objects import Clock, Object, name_of, namespace_of, uid_of

logger = logging.getLogger(__name__)

MAX_LINE = 16 * 1024
_POLL_SECONDS = 0.1
_PIECE = 256 * 1024


class _File(Protocol):
    def write(self, data: bytes, /) -> object: ...

    def close(self) -> None: ...


class LogWriter:
    """Writes a container's log, one line at a time as they come."""

    def __init__(self, file: _File, clock: Clock) -> None:
        """Write to an unbuffered file."""
        self._file = file
        self._clock = clock
        self._rest: dict[str, bytes] = {}
        self._lossy = False

    def __call__(self, stream: str, data: bytes) -> None:
        """Take bytes of a stream; empty bytes end it, and what is left of its last line is written."""
        rest = self._rest.pop(stream, b"") + data
        written: list[bytes] = []
        while (end := rest.find(b"\n", 0, MAX_LINE + 1)) >= 0 or len(rest) > MAX_LINE:
            if end >= 0:
                line, rest = rest[:end], rest[end + 1 :]
                written.append(self._line(stream, b"F", line))
            else:
                line, rest = rest[:MAX_LINE], rest[MAX_LINE:]
                written.append(self._line(stream, b"P", line))
        if rest and data:
            self._rest[stream] = rest
        elif rest:
            written.append(self._line(stream, b"P", rest))
        if written:
            self._write(b"".join(written))

    def _write(self, data: bytes) -> None:
        """Append, or do without: on a full disk the program must still be able to end well."""
        try:
            self._file.write(data)
        except OSError as error:
            if not self._lossy:
                logger.warning("a pod's log loses lines: %s", error)
            self._lossy = True

    def _line(self, stream: str, tag: bytes, text: bytes) -> bytes:
        now = self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return b"%s %s %s %s\n" % (now.encode(), stream.encode(), tag, text)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass(frozen=True)
class _Line:
    time: bytes
    text: bytes
    """With its line feed, where it has one."""

    @classmethod
    def read(cls, raw: bytes) -> "_Line":
        time, _, rest = raw.partition(b" ")
        _, _, rest = rest.partition(b" ")
        tag, _, text = rest.partition(b" ")
        return cls(time, text if tag == b"P" else text + b"\n")

    def at_or_after(self, moment: datetime) -> bool:
        return datetime.fromisoformat(self.time.decode("ascii")) >= moment

    def shown(self, timestamps: bool) -> bytes:
        return self.time + b" " + self.text if timestamps else self.text


class PodLogs:
    """The logs of all pods, below one directory. It fits the embedded API's `LogSource`."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root
        self._clock = clock
        self._open: set[Path] = set()

    def create(self, pod: Object, container: str) -> LogWriter:
        """Begin a container's log, or go on with it. Blocks a little."""
        path = self.path(pod, container)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._open.add(path)
        return LogWriter(os.fdopen(descriptor, "ab", buffering=0), self._clock)

    def end(self, pod: Object, container: str) -> None:
        """Say that nothing more will come, so that those who follow the log stop."""
        self._open.discard(self.path(pod, container))

    def path(self, pod: Object, container: str) -> Path:
        """Return the file of a container's log."""
        return self._directory(namespace_of(pod), name_of(pod), uid_of(pod)) / f"{container}.log"

    def forget(self, namespace: str, name: str) -> None:
        """Remove the logs of all pods of a name: none exists any more. Blocks."""
        for directory in self._root.glob(f"{namespace}_{name}_*"):
            shutil.rmtree(directory, ignore_errors=True)

    def keep_only(self, uids: set[str]) -> None:
        """Remove the logs of all pods but these. Blocks."""
        for directory in self._root.glob("*_*_*"):
            if directory.name.rpartition("_")[2] not in uids:
                shutil.rmtree(directory, ignore_errors=True)

    def tail(self, pod: Object, container: str, lines: int, limit_bytes: int) -> str:
        """Return the last lines of a log, at most `limit_bytes` of them. Blocks a little."""
        try:
            with self.path(pod, container).open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 4 * limit_bytes))
                raw = file.read().splitlines()
        except FileNotFoundError:
            return ""
        text = b"".join(_Line.read(line).text for line in raw[-lines:])
        return text[-limit_bytes:].decode(errors="replace")

    async def read(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        follow: bool = False,
        tail_lines: int | None = None,
        limit_bytes: int | None = None,
        since_seconds: int | None = None,
        timestamps: bool = False,
        previous: bool = False,
    ) -> AsyncIterator[bytes]:
        """Yield a log in pieces; with `follow` until the container ends. Raises LookupError(sentence)."""
        if previous:
            raise LookupError(f'previous terminated container "{container}" in pod "{pod}" not found')
        path = await asyncio.to_thread(self._find, namespace, pod, container)
        if path is None:
            raise LookupError(
                f'container "{container}" in pod "{pod}" is waiting to start: ContainerCreating'
            )
        since = None if since_seconds is None else self._clock() - timedelta(seconds=since_seconds)
        left = limit_bytes
        with path.open("rb") as file:
            if tail_lines is not None:
                file.seek(await asyncio.to_thread(_tail_offset, file, tail_lines))
            async for raw in self._lines(file, path, follow):
                line = _Line.read(raw)
                if since is not None and not line.at_or_after(since):
                    continue
                piece = line.shown(timestamps)
                if left is not None:
                    piece, left = piece[:left], left - len(piece)
                yield piece
                if left is not None and left <= 0:
                    return

    async def _lines(self, file: BinaryIO, path: Path, follow: bool) -> AsyncIterator[bytes]:
        rest = b""
        while True:
            over = path not in self._open  # looked at before reading: what came earlier is in the file
            while data := await asyncio.to_thread(file.read, _PIECE):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    yield line
            if over or not follow:
                return
            await asyncio.sleep(_POLL_SECONDS)

    def _directory(self, namespace: str, name: str, uid: str) -> Path:
        # Kubernetes names have no underscores, so the parts can be told apart.
        return self._root / f"{namespace}_{name}_{uid}"

    def _find(self, namespace: str, pod: str, container: str) -> Path | None:
        found = [
            path
            for directory in self._root.glob(f"{namespace}_{pod}_*")
            if (path := directory / f"{container}.log").is_file()
        ]
        return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def _tail_offset(file: BinaryIO, lines: int) -> int:
    """Return where the last `lines` lines begin."""
    end = os.fstat(file.fileno()).st_size
    position, count = end, 0
    while position > 0 and lines > 0:
        start = max(0, position - _PIECE)
        file.seek(start)
        data = file.read(position - start)
        at = len(data)
        while (at := data.rfind(b"\n", 0, at)) >= 0:
            if start + at != end - 1:
                count += 1
                if count == lines:
                    return start + at + 1
        position = start
    return position
