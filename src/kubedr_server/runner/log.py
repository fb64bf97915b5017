"""The pod's log: one line for each step, for the person who reads `kubectl logs`.

Lines go to standard error, so that standard output is free for the result where no file is named for it.
Nothing here filters secrets: a filter that replaces a password would itself give away a password that
is a common word. Secrets are kept out by never being put into a message.
"""

from collections.abc import Callable
from datetime import datetime
from typing import TextIO

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class Log:
    """Writes timed lines. `clock` returns the time in UTC."""

    def __init__(self, stream: TextIO, clock: Callable[[], datetime]) -> None:
        self._stream = stream
        self._clock = clock

    def tell(self, message: str) -> None:
        """Write what happens."""
        self._write("", message)

    def caution(self, message: str) -> None:
        """Write what someone should look at, though the run goes on."""
        self._write("warning: ", message)

    def fail(self, message: str) -> None:
        """Write why the run ends."""
        self._write("error: ", message)

    def put(self, line: str) -> None:
        """Write a line for programs exactly as it is: without a time, and with nothing replaced."""
        self._stream.write(f"{line}\n")
        self._stream.flush()

    def _write(self, level: str, message: str) -> None:
        time = self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        self._stream.write(f"{time} {level}{one_line(message)}\n")
        self._stream.flush()


def one_line(text: str) -> str:
    """Return a text that others wrote (a program, a file's name) without what could forge a line."""
    return "".join(char if char.isprintable() else " " for char in text).strip()


def size(count: float) -> str:
    """Return a number of bytes for people, such as `20.0 KiB`."""
    value = float(count)
    for unit in _UNITS[:-1]:
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} {_UNITS[-1]}"
