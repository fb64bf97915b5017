"""The directory of a local mode: what is where in it, and who runs on it.

A lock that the kernel lets go of with the process says whether one runs; the file beside it tells
which one it is. So a crash, even of the machine, leaves nothing to clean up.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from kubedr_server.local.executor.process import ProcessId


class AlreadyRunningError(Exception):
    """Another local mode runs on this directory; `pid` is its process, 0 if it has not told it yet."""

    def __init__(self, directory: Path, pid: int) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(
            f"local mode is running already on {directory}, as {who}: "
            f"stop it with 'kubedr local stop --state-dir {directory}', or give another --state-dir"
        )
        self.pid = pid


@dataclass(frozen=True)
class Running:
    """What a local mode tells of itself."""

    process: ProcessId
    api_url: str
    metrics_url: str = ""
    image: str = ""
    ready: bool = False


@dataclass(frozen=True)
class StateDirectory:
    """The parts of the directory."""

    path: Path

    @property
    def api(self) -> Path:
        """The embedded API's own: database and keys."""
        return self.path / "api"

    @property
    def kubeconfig(self) -> Path:
        """How to reach the API. It is there once everything is ready, and stays valid over restarts."""
        return self.path / "kubeconfig"

    @property
    def logs(self) -> Path:
        """The pods' logs."""
        return self.path / "logs"

    @property
    def volumes(self) -> Path:
        """The claims' directories."""
        return self.path / "volumes"

    @property
    def _running(self) -> Path:
        return self.path / "running.json"

    def create(self) -> None:
        """Make the directory, for its owner only. Raises OSError."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.chmod(0o700)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Be the only one on this directory. Raises AlreadyRunningError."""
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                running = self.running()
                raise AlreadyRunningError(self.path, running.process.pid if running else 0) from None
            yield
            self._running.unlink(missing_ok=True)
        finally:
            os.close(descriptor)

    def tell(self, running: Running) -> None:
        """Write down what runs here."""
        temporary = self._running.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(running)), "utf-8")
        temporary.replace(self._running)

    def running(self) -> Running | None:
        """Return what runs here; None if nothing does, whatever was written down."""
        told = self.last_told()
        return told if told is not None and told.process.alive() else None

    def last_told(self) -> Running | None:
        """Return what was written down last, be it still true or not."""
        try:
            found = json.loads(self._running.read_text("utf-8"))
        except FileNotFoundError:
            return None
        return Running(process=ProcessId(**found.pop("process")), **found)
