"""Starts the measured servers, each on a core of its own, and reads from the kernel what they use."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

START_SECONDS = 60.0
_NICE = -15
_GROUP = Path("/proc/self/autogroup")
_TICKS = os.sysconf("SC_CLK_TCK")


class StartError(Exception):
    """A server did not start; its own words are on standard error."""


class Server:
    """A process that serves."""

    def __init__(self, process: Process, said: str) -> None:
        self._process = process
        self.said = said
        """The line that it printed when it was ready: a port, or a file."""

    async def finish(self) -> str:
        """Close its standard input, and return what it says at its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        return (await asyncio.wait_for(self._process.stdout.read(), START_SECONDS)).decode()

    def cpu_seconds(self) -> float:
        """Return the CPU time that it and its descendants have used."""
        return sum(_cpu_seconds(pid) for pid in _family(self._process.pid))


@asynccontextmanager
async def serving(module: str, *arguments: str, core: int | None) -> AsyncIterator[Server]:
    """Run a module of this directory as a server until the block ends. Raises StartError."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    taskset = shutil.which("taskset")
    if core is not None and taskset:
        command = [taskset, "--cpu-list", str(core), *command]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, env=environment, process_group=0
    )
    assert process.stdout is not None
    try:
        try:
            line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
        except TimeoutError:
            line = b""
        if not line:
            raise StartError(f"{module} did not start")
        yield Server(process, line.decode().strip())
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), 15)
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


@contextlib.contextmanager
def raised_priority() -> Iterator[bool]:
    """Put this process, and what it starts, before the other programs; tells whether that was allowed."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        group_before = _renice_group(_NICE)
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)
        _renice_group(group_before)


def _renice_group(nice: int) -> int:
    """Change the priority of this session where Linux schedules by session; returns the one before."""
    if not _GROUP.exists():
        return 0
    before = int(_GROUP.read_text().split()[-1])
    _GROUP.write_text(str(nice))
    return before


def pin_self(core: int | None) -> None:
    """Keep this process on a core."""
    if core is not None:
        os.sched_setaffinity(0, {core})


class OtherPrograms:
    """How busy the machine is with what is not of this benchmark, from now on."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._before = self._cpu_seconds()

    def share(self) -> float | None:
        """Return the part of all cores that they used; None where the kernel does not tell."""
        seconds = (time.monotonic() - self._since) * (os.cpu_count() or 1)
        now = self._cpu_seconds()
        if now is None or self._before is None:
            return None
        return max(0.0, (now - self._before) / seconds)

    def _cpu_seconds(self) -> float | None:
        try:
            fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
        except OSError:
            return None
        user, nice, system, _idle, _waiting, *rest = (int(field) for field in fields[:8])
        ours = sum(_cpu_seconds(pid) for pid in _family(os.getpid()))
        return (user + nice + system + sum(rest)) / _TICKS - ours


def cores() -> tuple[int | None, int | None]:
    """Return a core for the server and one for the generator; None for both if there are not two."""
    if not hasattr(os, "sched_getaffinity") or not shutil.which("taskset"):
        return None, None
    found = sorted(os.sched_getaffinity(0))
    return (found[0], found[1]) if len(found) > 1 else (None, None)


def _family(pid: int) -> Iterable[int]:
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from _family(int(child))


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) / _TICKS
