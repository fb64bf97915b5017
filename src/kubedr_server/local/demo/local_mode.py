"""KubeDR's local mode in the background, as `kubedr local start` runs it."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from kubedr_server.local.demo.process import Daemon

KUBEDR = Path(sys.executable).with_name("kubedr")
"""The command line of the environment that this runs in."""


class LocalMode:
    """One local mode with its state in `directory`; `kubeconfig` is there as soon as it was started."""

    def __init__(
        self,
        directory: Path,
        *,
        kubectl: Path,
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.kubeconfig = directory / "kubeconfig"
        self._kubectl = kubectl
        self._environment = dict(os.environ if environment is None else environment)
        argv: list[str | Path] = [KUBEDR, "local", "start", "--dir", str(directory), *arguments]
        self.process = Daemon("kubedr local start", argv, directory / "log", env=self._environment)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self, *, seconds: float = 60) -> None:
        """Start it and wait until its webhooks are registered and its controllers run."""
        self.process.start(self.is_ready, seconds=seconds)

    def stop(self) -> None:
        """End it; its state stays."""
        self.process.stop()

    def is_ready(self) -> bool:
        """Whether its API says so."""
        if not self.kubeconfig.exists():
            return False
        argv = [str(self._kubectl), "--kubeconfig", str(self.kubeconfig), "get", "--raw", "/readyz"]
        done = subprocess.run(
            argv, check=False, capture_output=True, env=self._environment, stdin=subprocess.DEVNULL
        )
        return done.returncode == 0
