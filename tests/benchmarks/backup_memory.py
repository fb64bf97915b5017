"""How much memory a process and all its descendants hold at once, as the kernel counts it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_EVERY_SECONDS = 0.02
_COMMANDS = ("backup", "ls", "snapshot")


@dataclass
class Memory:
    """The most that was held, in bytes. Pages of mapped files come on top: the kernel drops them at need."""

    held: int = 0
    """Of all processes together, at one time."""

    with_files: int = 0
    """The same with the pages of mapped files that were in memory: `VmRSS`."""

    by_program: dict[str, int] = field(default_factory=dict)
    """The most that one process of this name held."""

    def most(self, other: "Memory") -> "Memory":
        """Return the greater of each."""
        programs = {
            name: max(self.by_program.get(name, 0), other.by_program.get(name, 0))
            for name in self.by_program | other.by_program
        }
        return Memory(max(self.held, other.held), max(self.with_files, other.with_files), programs)


@contextmanager
def watch(pid: int) -> Iterator[Memory]:
    """Look at a process and its descendants until the block ends."""
    memory, over = Memory(), threading.Event()

    def look() -> None:
        while not over.wait(_EVERY_SECONDS):
            _look(pid, memory)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        over.set()
        thread.join()


def _look(pid: int, memory: Memory) -> None:
    held = with_files = 0
    for each in _family(pid):
        status = _status(each)
        own = status.get("RssAnon", 0)
        held += own
        with_files += status.get("VmRSS", 0)
        if name := _name(each):
            memory.by_program[name] = max(own, memory.by_program.get(name, 0))
    memory.held = max(memory.held, held)
    memory.with_files = max(memory.with_files, with_files)


def _family(pid: int) -> Iterator[int]:
    yield pid
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return
    for task in tasks:
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            yield from _family(int(child))


def _status(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines if line.endswith(" kB"))
    return {name: int(value.split()[0]) * 1024 for name, value in pairs}


def _name(pid: int) -> str:
    """Return a program and its sub-command; nothing of a process that has ended or is only just starting."""
    try:
        program, *arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return ""
    name = Path(program).name
    command = next((word for word in arguments if word in _COMMANDS), "")
    return f"{name} {command}".strip()
