"""The chart as helm installs it, on an API server of its own, and the server as its Deployment would run it.

There is no kubelet that would start the Deployment's pods. So the test starts the server from this checkout,
with the arguments of the Deployment as the API server holds it; on a real kube-apiserver with a token of
the chart's ServiceAccount, so that RBAC allows it what it allows a pod and no more.
"""

import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from kubedr_server.local.demo.process import Daemon
from support.apiserver import ApiServer
from support.clusters import IMAGE, tools_directory
from support.kubectl import Kubectl
from support.ports import free_ports
from support.tools import REPOSITORY_ROOT, program

CHART = REPOSITORY_ROOT / "charts" / "kubedr"
NAMESPACE = "kubedr-system"
RELEASE = "kubedr"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{RELEASE}-server"
CONFIGURATION = f"{NAMESPACE}-{RELEASE}"
SETTINGS = {
    "tls.mode": "self-signed",
    "logging.level": "debug",
    "runner.image.repository": IMAGE.partition(":")[0],
    "runner.image.tag": IMAGE.partition(":")[2],
}

_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "users": [ACCOUNT]}],
}


@dataclass(frozen=True)
class Asked:
    """One request of the server, as the API server's audit log has it."""

    permission: tuple[str, str, str]
    """Group, resource with its subresource, verb."""

    namespace: str
    code: int


@dataclass
class Release:
    """An API server with the chart installed by helm."""

    kind: str
    """`embedded` or `kube-apiserver`."""

    kubeconfig: Path
    directory: Path
    webhook_port: int
    metrics_port: int
    audit_log: Path | None = None

    @property
    def kubectl(self) -> Kubectl:
        """An administrator's kubectl in the release's namespace."""
        return Kubectl(self.kubeconfig, NAMESPACE)

    def helm(self, *arguments: str) -> str:
        """Run helm; return what it prints. AssertionError with its words if it fails."""
        argv = [str(program("helm")), "--kubeconfig", str(self.kubeconfig), "--namespace", NAMESPACE]
        done = subprocess.run(
            [*argv, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=90,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(self.directory)},
        )
        assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stderr or done.stdout}"
        return done.stdout

    def install(self) -> None:
        """Install the chart, and the way from the webhooks' Service to the server's port."""
        self.helm("install", RELEASE, str(CHART), "--create-namespace", *settings(SETTINGS))
        self.connect()

    def connect(self) -> None:
        """Lead the webhooks' Service to loopback. The embedded API was told where it leads."""
        if self.kind == "embedded":
            return
        service = {"spec": {"type": "ExternalName", "externalName": "localhost"}}
        self.kubectl("patch", "service", f"{RELEASE}-webhook", "-p", json.dumps(service))
        self._call_at(self.webhook_port)

    def disconnect(self) -> None:
        """Make the webhook configurations what helm has made them."""
        if self.kind != "embedded":
            self._call_at(443)

    def _call_at(self, port: int) -> None:
        change = [{"op": "replace", "path": "/webhooks/0/clientConfig/service/port", "value": port}]
        for kind in ("mutatingwebhookconfiguration", "validatingwebhookconfiguration"):
            self.kubectl("patch", kind, CONFIGURATION, "--type=json", "-p", json.dumps(change))

    def arguments(self) -> list[str]:
        """Return the server's arguments, as the API server holds them."""
        container = self.kubectl.get("deployment", f"{RELEASE}-server")["spec"]["template"]["spec"][
            "containers"
        ][0]
        return list(container["args"])

    @property
    def log(self) -> Path:
        """What the server has written."""
        return self.directory / "server.log"

    @contextlib.contextmanager
    def serving(self) -> Iterator[Daemon]:
        """Run the server as the Deployment would, with other ports."""
        argv = [sys.executable, "-m", "kubedr_server", *self.arguments()]
        argv += ["--kubeconfig", str(self._credentials()), "--bind", "127.0.0.1", "--drain-seconds", "0"]
        argv += ["--port", str(self.webhook_port), "--metrics-port", str(self.metrics_port)]
        url = f"http://127.0.0.1:{self.metrics_port}/readyz"
        with _daemon("kubedr serve", argv, self.log, lambda: _answers(url)) as daemon:
            yield daemon

    def _credentials(self) -> Path:
        """Return a kubeconfig of the chart's ServiceAccount; the embedded API knows only an administrator."""
        if self.kind == "embedded":
            return self.kubeconfig
        token = self.kubectl("create", "token", f"{RELEASE}-server", "--duration=1h").strip()
        config = yaml.safe_load(self.kubeconfig.read_text("utf-8"))
        config["users"][0]["user"] = {"token": token}
        path = self.directory / "server.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config), "utf-8")
        return path

    def sample(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with _opener().open(url, timeout=5) as response:
            families = text_string_to_metric_families(response.read().decode())
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def asked(self) -> list[Asked]:
        """Return what the server has asked of the API server; nothing where that keeps no log of it."""
        if self.audit_log is None:
            return []
        entries = [json.loads(line) for line in self.audit_log.read_text("utf-8").splitlines()]
        return [_asked(entry) for entry in entries if "objectRef" in entry]

    def granted(self) -> set[tuple[str, str, str]]:
        """Return what the release's roles allow."""
        roles = [*self.kubectl.list("roles"), *self.kubectl.list("clusterroles", f"{_INSTANCE}={RELEASE}")]
        return {
            (group, resource, verb)
            for role in roles
            for rule in role["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }


_INSTANCE = "app.kubernetes.io/instance"


def settings(values: Mapping[str, str]) -> list[str]:
    """Return helm's arguments that set values."""
    return [part for name, value in values.items() for part in ("--set", f"{name}={value}")]


@contextlib.contextmanager
def embedded_api(directory: Path) -> Iterator[Release]:
    """Run local mode's API and its executor, without anything of KubeDR in it."""
    webhooks, metrics = free_ports(2)
    address = f"https://127.0.0.1:{webhooks}"
    program_text = (
        "import asyncio, pathlib, sys\n"
        "from kubedr_server.local.api.server import LocalAPI\n"
        "async def main():\n"
        "    services = {sys.argv[2]: sys.argv[3]}\n"
        "    async with LocalAPI(pathlib.Path(sys.argv[1]), services=services):\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    state, service = directory / "api", f"{NAMESPACE}/{RELEASE}-webhook"
    argv = [sys.executable, "-c", program_text, str(state), service, address]
    kubeconfig = state / "kubeconfig"

    def ready() -> bool:
        return kubeconfig.exists() and Kubectl(kubeconfig).answer("get", "--raw", "/readyz").exit_code == 0

    with _daemon("the embedded API", argv, directory / "api.log", ready), _executor(directory, kubeconfig):
        yield Release("embedded", kubeconfig, directory, webhooks, metrics)


@contextlib.contextmanager
def real_api(directory: Path, programs: Path) -> Iterator[Release]:
    """Run a kube-apiserver that notes what the chart's ServiceAccount asks, and the executor."""
    webhooks, metrics = free_ports(2)
    directory.mkdir(parents=True, exist_ok=True)
    policy, log = directory / "audit-policy.yaml", directory / "audit.log"
    policy.write_text(yaml.safe_dump(_AUDIT_POLICY), "utf-8")
    arguments = [
        f"--audit-policy-file={policy}",
        f"--audit-log-path={log}",
        "--audit-log-mode=blocking",
        # Asks for the permission to block an owner's deletion, as some distributions do.
        "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
    ]
    with (
        ApiServer(directory / "api", programs, arguments) as api,
        _executor(directory, api.kubeconfig),
    ):
        yield Release("kube-apiserver", api.kubeconfig, directory, webhooks, metrics, log)


def _executor(directory: Path, kubeconfig: Path) -> contextlib.AbstractContextManager[Daemon]:
    argv = [sys.executable, "-m", "kubedr_server", "local", "executor", "--kubeconfig", str(kubeconfig)]
    argv += ["--dir", str(directory / "executor"), "--image", IMAGE]
    argv += ["--tools-dir", str(tools_directory(directory))]
    return _daemon("kubedr local executor", argv, directory / "executor.log", lambda: True)


@contextlib.contextmanager
def _daemon(name: str, argv: list[str], log: Path, ready: Callable[[], bool]) -> Iterator[Daemon]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("KUBEDR_")}
    daemon = Daemon(name, argv, log, env=environment)
    daemon.start(ready, seconds=60)
    try:
        yield daemon
    finally:
        daemon.stop()


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _answers(url: str) -> bool:
    try:
        with _opener().open(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _asked(entry: dict[str, Any]) -> Asked:
    what = entry["objectRef"]
    resource = "/".join(part for part in (what["resource"], what.get("subresource")) if part)
    permission = (what.get("apiGroup", ""), resource, entry["verb"])
    return Asked(permission, what.get("namespace", ""), entry.get("responseStatus", {}).get("code", 0))
