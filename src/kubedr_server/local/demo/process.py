"""A program that runs in the background and is surely ended."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_LOG_LINES = 8


class StartFailedError(Exception):
    """A server did not come up; the message holds the end of its log."""


class Daemon:
    """One background program in a process group of its own, its output in a file.

    Its own group, so that a Ctrl-C at the terminal reaches only the foreground, which then stops
    its servers in order; and so that what the program itself started is ended with it.
    """

    def __init__(
        self, name: str, argv: Sequence[str | Path], log: Path, *, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.argv = [str(argument) for argument in argv]
        self.log = log
        self._env = dict(env) if env is not None else None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process's id; RuntimeError before it was started."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.pid

    def start(self, is_ready: Callable[[], bool], *, seconds: float = 60) -> None:
        """Start it and wait until it answers; StartFailedError, and nothing left running, if it does not."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,
            )
        try:
            self.wait_until(is_ready, seconds=seconds)
        except BaseException:
            self.stop(grace=0)
            raise

    def wait_until(self, is_ready: Callable[[], bool], *, seconds: float) -> None:
        """Wait until it answers; StartFailedError if it ends, or takes longer."""
        deadline = time.monotonic() + seconds
        while not is_ready():
            if not self.running:
                raise StartFailedError(f"{self.name} ended at once:\n{self.last_lines()}")
            if time.monotonic() > deadline:
                raise StartFailedError(f"{self.name} did not answer in {seconds:g} s:\n{self.last_lines()}")
            time.sleep(0.05)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def stop(self, *, grace: float = 10) -> None:
        """Ask it to end and, after `grace` seconds, kill it. Does nothing if it is not running."""
        if self._process is None:
            return
        if self.running and grace:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace)
        # Also when the program itself is gone: what it had started may not be.
        self.signal(signal.SIGKILL)
        self._process.wait()

    def last_lines(self) -> str:
        """Return the end of the log, for a message."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-_LOG_LINES:]) or "(it wrote nothing)"
