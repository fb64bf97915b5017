"""Runs a container's program as a local process that is never lost sight of.

The program starts behind a gate: a shell that waits for a line on its input. Its pid is written
down and synced to disk first, and only then the line is sent; a gate whose opener died reads the end
of its input and exits. So no program ever ran that a later incarnation cannot find. A pid alone
is not enough to find it by, as pids are reused: the process's start time tells them apart.
"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RECORD = "process.json"
"""The file, in a pod's directory, in which its process is written down."""

_GATE = 'read -r go && unset PWD OLDPWD SHLVL && exec "$@"'
_DRAIN_SECONDS = 2.0
_KILL_SECONDS = 10.0
_POLL_SECONDS = 0.05
_CHUNK = 16 * 1024

Output = Callable[[str, bytes], None]
"""Takes bytes of `stdout` or `stderr` in any portions; empty bytes end a stream."""


@dataclass(frozen=True)
class ProcessId:
    """A process that cannot be taken for another: its pid and when it was started, in clock ticks."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> "ProcessId | None":
        """Identify a running process; None if there is none (a zombie is none)."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
            boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]), boot)

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return ProcessId.of(self.pid) == self


def write_record(path: Path, process: ProcessId) -> None:
    """Write down a process so that it survives a crash of this one and of the machine. Blocks."""
    temporary = path.with_suffix(".new")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump({"pid": process.pid, "started": process.started, "boot": process.boot}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_record(path: Path) -> ProcessId | None:
    """Read what was written down; None if nothing was."""
    try:
        found = json.loads(path.read_text("utf-8"))
        return ProcessId(int(found["pid"]), int(found["started"]), str(found["boot"]))
    except FileNotFoundError:
        return None


async def end_recorded(process: ProcessId, grace: float) -> bool:
    """End a process of an earlier incarnation, and its group. Return whether it was still running."""
    if not process.alive():
        return False
    signal_group(process.pid, signal.SIGTERM)
    if not await _gone(process, grace):
        signal_group(process.pid, signal.SIGKILL)
        await _gone(process, _KILL_SECONDS)
    return True


async def _gone(process: ProcessId, seconds: float) -> bool:
    """Wait for the end of a process that is not a child, so that nobody tells of it."""
    for _ in range(max(1, round(seconds / _POLL_SECONDS))):
        if not process.alive():
            return True
        await asyncio.sleep(_POLL_SECONDS)
    return not process.alive()


def signal_group(leader: int, number: signal.Signals) -> None:
    """Signal all processes of a group; nothing happens if there is none left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, number)


class Process:
    """A container's running program, the leader of a process group of its own."""

    def __init__(self, process: asyncio.subprocess.Process, pumps: "list[asyncio.Task[None]]") -> None:
        self._process = process
        self._pumps = pumps

    async def wait(self) -> int:
        """Wait for its end, and for the end of its output. Return the exit code, 128 + n after a signal."""
        code = await self._process.wait()
        # As with a container: when the main process ends, everything in it ends.
        signal_group(self._process.pid, signal.SIGKILL)
        # What left the group may hold the output open for ever.
        _, late = await asyncio.wait(self._pumps, timeout=_DRAIN_SECONDS)
        for pump in late:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        return code if code >= 0 else 128 - code

    async def end(self, grace: float) -> None:
        """Ask it to end, and kill it after `grace` seconds. `wait` still returns its exit code."""
        if self._process.returncode is not None:
            return
        signal_group(self._process.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                await self._process.wait()
        except TimeoutError:
            signal_group(self._process.pid, signal.SIGKILL)
            await self._process.wait()


async def start(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    directory: Path,
    record: Path,
    output: Output,
) -> Process:
    """Start a program in `directory`, once it is written down in `record`. Raises OSError."""
    # Pipes of our own: with asyncio's, the end of a process is not told while anyone holds its output.
    with contextlib.ExitStack() as stack:
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        for end in (out_end, err_end):
            stack.callback(os.close, end)
        pumps = [
            asyncio.create_task(_pump(out, "stdout", output)),
            asyncio.create_task(_pump(err, "stderr", output)),
        ]
        try:
            process = await _open(arguments, environment, directory, record, out_end, err_end)
        except BaseException:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            raise
    return Process(process, pumps)


async def _open(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    directory: Path,
    record: Path,
    stdout: int,
    stderr: int,
) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        _GATE,
        "sh",
        *arguments,
        env=dict(environment),
        cwd=directory,
        start_new_session=True,
        stdin=asyncio.subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
    )
    try:
        identity = ProcessId.of(process.pid)
        if identity is not None:  # else it has ended already: then it never passed the gate
            await asyncio.to_thread(write_record, record, identity)
        await _let_go(process)
    except BaseException:
        signal_group(process.pid, signal.SIGKILL)
        await asyncio.shield(process.wait())
        raise
    return process


async def _let_go(process: asyncio.subprocess.Process) -> None:
    if process.stdin is None:
        raise OSError("the program was started without a pipe")
    with contextlib.suppress(ConnectionError):
        process.stdin.write(b"go\n")
        await process.stdin.drain()
        process.stdin.close()


async def _pump(descriptor: int, stream: str, output: Output) -> None:
    """Pass on what comes out of a pipe, until all who hold its other end are gone."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    with os.fdopen(descriptor, "rb", buffering=0) as pipe:
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        try:
            while data := await reader.read(_CHUNK):
                output(stream, data)
        finally:
            output(stream, b"")
            transport.close()
