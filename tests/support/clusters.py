"""The API server that cluster tests run on, with KubeDR at work in it.

By default that is KubeDR's local mode. By the envtest convention (KUBEBUILDER_ASSETS, or
/usr/local/kubebuilder/bin) it is a real kube-apiserver: then the server runs beside it from this checkout, as
`kubedr serve`, and local mode's executor runs its Jobs: there is no controller manager and no kubelet.
"""

import contextlib
import itertools
import os
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kubedr_server.local.demo.local_mode import LocalMode
from kubedr_server.local.demo.process import Daemon
from support.apiserver import ApiServer, assets
from support.kubectl import Kubectl
from support.ports import free_port
from support.tools import REPOSITORY_ROOT, program

IMAGE = "kubedr.test/backup:dev"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Cluster:
    """A running cluster: how to reach it, and what it is."""

    kubeconfig: Path
    kind: str
    """`local` or `kube-apiserver`."""

    def kubectl(self, namespace: str = "default") -> Kubectl:
        """Return kubectl in a namespace."""
        return Kubectl(self.kubeconfig, namespace)

    def new_namespace(self, prefix: str) -> Kubectl:
        """Return kubectl in a new namespace, which goes with the whole cluster."""
        name = f"{prefix}-{next(_numbers)}"
        kubectl = self.kubectl(name)
        kubectl("create", "namespace", name)
        return kubectl


@contextlib.contextmanager
def running_cluster(directory: Path) -> Iterator[Cluster]:
    """Run whichever cluster this machine is set up for."""
    programs = assets()
    started = local_cluster(directory) if programs is None else real_cluster(directory, programs)
    with started as cluster:
        yield cluster


@contextlib.contextmanager
def local_cluster(directory: Path, *, only: Path | None = None) -> Iterator[Cluster]:
    """Run local mode. With `only`, its pods find no programs but those in that directory."""
    tools = only or tools_directory(directory)
    environment = {**os.environ, "PATH": str(only)} if only else None
    arguments = ["--tools-dir", str(tools)]
    local = LocalMode(
        directory / "local", kubectl=program("kubectl"), environment=environment, arguments=arguments
    )
    with local:
        yield Cluster(local.kubeconfig, "local")


@contextlib.contextmanager
def real_cluster(directory: Path, programs: Path) -> Iterator[Cluster]:
    """Run a real kube-apiserver, the server as a program of its own, and the executor."""
    with ApiServer(directory / "api", programs) as api, contextlib.ExitStack() as stack:
        cluster = Cluster(api.kubeconfig, "kube-apiserver")
        kubectl = cluster.kubectl()
        kubectl("apply", "--server-side", "-f", str(REPOSITORY_ROOT / "crds"))
        kubectl("create", "namespace", "kubedr-system")
        for crd in ("backuplocations", "metadatabackuppolicies", "metadatabackuprecords", "metadatarestores"):
            kubectl("wait", "--for=condition=Established", f"crd/{crd}.kubedr.catalogicsoftware.com")
        _start_executor(stack, directory, api.kubeconfig)
        _start_server(stack, directory, api.kubeconfig)
        yield cluster


def tools_directory(directory: Path) -> Path:
    """Make a directory with links to the programs of a backup pod, wherever the tests found them."""
    folder = directory / "tools"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("restic", "etcdctl", "etcdutl"):
        (folder / name).symlink_to(program(name))
    return folder


def _start_server(stack: contextlib.ExitStack, directory: Path, kubeconfig: Path) -> None:
    metrics = free_port()
    argv = [sys.executable, "-m", "kubedr_server", "serve", "--kubeconfig", str(kubeconfig)]
    argv += ["--self-signed", "--register-url", "https://127.0.0.1", "--bind", "127.0.0.1", "--port", "0"]
    argv += ["--metrics-port", str(metrics), "--runner-image", IMAGE, "--no-leader-elect"]
    argv += ["--drain-seconds", "0", "--log-format", "text"]
    _start(stack, "kubedr serve", argv, directory / "server.log", f"http://127.0.0.1:{metrics}/readyz")


def _start_executor(stack: contextlib.ExitStack, directory: Path, kubeconfig: Path) -> None:
    argv = [sys.executable, "-m", "kubedr_server", "local", "executor", "--kubeconfig", str(kubeconfig)]
    argv += ["--dir", str(directory / "executor"), "--image", IMAGE]
    argv += ["--tools-dir", str(tools_directory(directory))]
    _start(stack, "kubedr local executor", argv, directory / "executor.log", None)


def _start(stack: contextlib.ExitStack, name: str, argv: list[str], log: Path, ready: str | None) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("KUBEDR_")}
    daemon = Daemon(name, argv, log, env=environment)
    stack.callback(daemon.stop)
    daemon.start(lambda: ready is None or _answers(ready), seconds=60)


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False
