"""What the demo is played on: a directory, and the servers in it, which are all ended at its end."""

import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from kubedr_server.local.demo.console import Console
from kubedr_server.local.demo.environment import clean_environment
from kubedr_server.local.demo.etcd import Etcd
from kubedr_server.local.demo.local_mode import KUBEDR, LocalMode
from kubedr_server.local.demo.process import Daemon
from kubedr_server.local.demo.s3 import S3
from kubedr_server.local.tools.programs import PROGRAMS, USUAL, locate, version_of, version_text


class Stage:
    """Starts servers in `directory`, which must be empty; a context manager that ends them.

    After `keep()` they are left running.
    """

    def __init__(self, directory: Path, tools: Path) -> None:
        self.directory = directory
        self.programs = {name: locate(name, tools) for name in USUAL}
        self.environment = clean_environment(directory / "home", tools, KUBEDR, *self.programs.values())
        self.environment["KUBECONFIG"] = str(directory / "local" / "kubeconfig")
        self.console = Console(directory, self.environment)
        self._servers: list[Daemon] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        (self.directory / "home").mkdir(parents=True)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def keep(self) -> list[int]:
        """Leave the servers running; return their process ids."""
        self._stack.pop_all()
        return [server.pid for server in self._servers if server.running]

    def versions(self) -> str:
        """Return the programs' versions, for people."""
        return ", ".join(
            f"{name} {version_text(version_of(PROGRAMS[name], path))}" for name, path in self.programs.items()
        )

    def start_etcd(self, name: str, *, like: Etcd | None = None) -> Etcd:
        """Start an etcd in `name`/; `like` another one: at its address, with its certificates."""
        etcd = Etcd(
            self.programs["etcd"],
            self.directory / name,
            authority=like.authority if like else None,
            client_port=int(like.endpoint.rsplit(":", 1)[1]) if like else None,
            peer_port=int(like.peer_url.rsplit(":", 1)[1]) if like else None,
        )
        self._ended_with_the_stage(etcd.stop)
        etcd.start()
        self._servers.append(etcd.process)
        return etcd

    def start_s3(self, name: str) -> S3:
        """Start an S3 server over https in `name`/."""
        server = S3(self.programs["weed"], self.directory / name, tls=True, env=self.environment)
        self._ended_with_the_stage(server.stop)
        server.start()
        if server.process is not None:
            self._servers.append(server.process)
        return server

    def start_local_mode(self) -> LocalMode:
        """Start local mode in `local`/."""
        local = LocalMode(
            self.directory / "local", kubectl=self.programs["kubectl"], environment=self.environment
        )
        self._ended_with_the_stage(local.stop)
        local.start()
        self._servers.append(local.process)
        return local

    def kubectl_output(self, *arguments: str) -> str:
        """Ask kubectl for something that is not shown."""
        argv = [str(self.programs["kubectl"]), *arguments]
        done = subprocess.run(
            argv, check=True, capture_output=True, text=True, env=self.environment, timeout=30
        )
        return done.stdout

    def remove(self) -> None:
        """Remove the directory and all that is in it."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _ended_with_the_stage(self, stop: Callable[[], None]) -> None:
        # Before it is started, so that a Ctrl-C in between leaves nothing running either.
        self._stack.callback(stop)
