"""A real kube-apiserver on an etcd of its own, found by the envtest convention.

$KUBEBUILDER_ASSETS, or else /usr/local/kubebuilder/bin, is a directory with the programs `etcd` and
`kube-apiserver`. There is no controller manager, no scheduler and no kubelet.
"""

import os
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from support.ports import free_ports

DEFAULT_ASSETS = Path("/usr/local/kubebuilder/bin")
ADMIN_TOKEN = "admin-of-the-tests"
NOBODY_TOKEN = "nobody-of-the-tests"


def assets() -> Path | None:
    """Return the directory with kube-apiserver and etcd, or None if this machine has none."""
    folder = Path(os.environ.get("KUBEBUILDER_ASSETS") or DEFAULT_ASSETS)
    found = all(os.access(folder / name, os.X_OK) for name in ("etcd", "kube-apiserver"))
    return folder if found else None


class ApiServer:
    """kube-apiserver and its etcd, as a context manager. `kubeconfig` is an administrator's."""

    def __init__(self, folder: Path, programs: Path, arguments: Sequence[str] = ()) -> None:
        """`arguments` are further ones of kube-apiserver."""
        self._folder = folder
        self._arguments = tuple(arguments)
        self._programs = programs
        self._processes: list[subprocess.Popen[bytes]] = []
        self._etcd_port, self._peer_port, port = free_ports(3)
        self.url = f"https://127.0.0.1:{port}"
        self.etcd_url = f"http://127.0.0.1:{self._etcd_port}"
        self.peer_url = f"http://127.0.0.1:{self._peer_port}"
        self._port = port
        self.ca_file = folder / "ca.crt"
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig_of_nobody = folder / "nobody.kubeconfig"
        """Of a user who is known and may do nothing."""

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            if not self.ca_file.exists():  # a server that starts again keeps its files
                self._write_files()
            self._start_etcd()
            self._start_api_server()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End both processes."""
        for process in reversed(self._processes):
            process.kill()  # nothing in them is kept, and a graceful end takes many seconds
            process.wait()
        self._processes.clear()

    def _write_files(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        certificate = authority.issue_cert("127.0.0.1", "localhost")
        certificate.cert_chain_pems[0].write_to_path(self._folder / "server.crt")
        certificate.private_key_pem.write_to_path(self._folder / "server.key")
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        (self._folder / "service-account.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        (self._folder / "tokens.csv").write_text(
            f'{ADMIN_TOKEN},admin,1,"system:masters"\n{NOBODY_TOKEN},nobody,2\n', "utf-8"
        )
        for path, token in ((self.kubeconfig, ADMIN_TOKEN), (self.kubeconfig_of_nobody, NOBODY_TOKEN)):
            path.write_text(yaml.safe_dump(self._kubeconfig(token)), "utf-8")
            path.chmod(0o600)

    def _kubeconfig(self, token: str) -> dict[str, object]:
        cluster = {"server": self.url, "certificate-authority": str(self.ca_file)}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }

    def _start_etcd(self) -> None:
        peer = f"http://127.0.0.1:{self._peer_port}"
        client = f"http://127.0.0.1:{self._etcd_port}"
        self._start(
            "etcd",
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
        )
        self._wait(f"{client}/health", 60.0)

    def _start_api_server(self) -> None:
        key = self._folder / "service-account.key"
        self._start(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self._port}",
            f"--cert-dir={self._folder / 'certs'}",
            f"--tls-cert-file={self._folder / 'server.crt'}",
            f"--tls-private-key-file={self._folder / 'server.key'}",
            f"--token-auth-file={self._folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--endpoint-reconciler-type=none",
            "--allow-privileged=true",
            # Without a controller manager nobody makes the service accounts that it asks for.
            "--disable-admission-plugins=ServiceAccount",
            *self._arguments,
        )
        self._wait(f"{self.url}/readyz", 60.0)

    def _start(self, name: str, *arguments: str) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [str(self._programs / name), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
            )
        self._processes.append(process)

    def _wait(self, url: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        process = self._processes[-1]
        context = ssl.create_default_context(cafile=str(self.ca_file))
        request = urllib.request.Request(  # noqa: S310 - a URL of this class's own
            url, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}
        )
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        while process.poll() is None and time.monotonic() < deadline:
            try:
                with opener.open(request, timeout=5.0):
                    return
            except OSError:  # HTTPError included: not ready
                time.sleep(0.1)
        raise RuntimeError(f"{process.args!r} does not answer at {url}; see the logs in {self._folder}")
