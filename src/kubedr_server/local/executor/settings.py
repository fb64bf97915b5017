"""What the executor is told: where it keeps things, and which image's containers it runs."""

from dataclasses import dataclass, field
from pathlib import Path

PROGRAM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class ExecutorSettings:
    """The settings of an executor. Times are in seconds."""

    state_dir: Path
    """Everything is kept below it. One executor at a time."""

    image: str
    """The image whose containers run as local processes; pods of any other image wait for ever."""

    tools_dir: Path | None = None
    """A directory with restic, etcdctl and etcdutl, looked at before the system's own."""

    program_path: str = PROGRAM_PATH
    """Where programs are looked for after that."""

    node_name: str = "kubedr-local"
    node_labels: dict[str, str] = field(default_factory=dict)
    """Labels beside those that every control-plane node has."""

    first_retry: float = 0.5
    """A pod that cannot start is tried again after this, then after twice as long, and so on."""

    longest_retry: float = 10.0
    shutdown_grace: float = 10.0
    """How long processes have to end when local mode is stopped."""

    leftover_grace: float = 5.0
    """How long processes have to end that an earlier, killed local mode left behind."""

    @property
    def pods_dir(self) -> Path:
        """Where each pod has its own directory, by uid, while it runs."""
        return self.state_dir / "pods"

    @property
    def logs_dir(self) -> Path:
        """Where the logs are."""
        return self.state_dir / "logs"

    @property
    def volumes_dir(self) -> Path:
        """Where claims' directories are."""
        return self.state_dir / "volumes"

    @property
    def search_path(self) -> str:
        """The PATH of the processes."""
        return f"{self.tools_dir}:{self.program_path}" if self.tools_dir else self.program_path
