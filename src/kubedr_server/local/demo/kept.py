"""Remembers the processes that `make demo KEEP=1` leaves running, so that another command can end them."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

_GRACE_SECONDS = 10.0


def remember(file: Path, pids: list[int]) -> None:
    """Write down the processes: each by its id and its start, because ids are used again."""
    file.write_text(json.dumps({str(pid): _started(pid) for pid in pids}))


def running(file: Path) -> list[int]:
    """Return those of the processes that still run."""
    try:
        known = json.loads(file.read_text())
    except FileNotFoundError:
        return []
    return [int(pid) for pid, started in known.items() if started and _started(int(pid)) == started]


def end(file: Path) -> int:
    """End those processes and what they started; return how many there were."""
    pids = running(file)
    for pid in pids:
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    while running(file) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in running(file):
        _signal(pid, signal.SIGKILL)
    return len(pids)


def _signal(pid: int, number: signal.Signals) -> None:
    # Each leads a process group of its own (see `Daemon`).
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def _started(pid: int) -> str:
    """Return when a process started, in the kernel's ticks since boot; empty if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]
