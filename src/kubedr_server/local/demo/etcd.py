"""A real etcd on the loopback address, with TLS and client certificates as a control plane has it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from kubedr_server.local.demo.etcd_client import EtcdClient, EtcdError
from kubedr_server.local.demo.pki import Authority
from kubedr_server.local.demo.ports import free_ports
from kubedr_server.local.demo.process import Daemon


class Etcd:
    """One member. Its files are in `directory`: `data`, `log`, `pki`, and `credentials` for clients.

    `credentials` holds `ca.crt`, `client.crt` and `client.key`: what goes into the Secret of a policy.
    """

    def __init__(
        self,
        program: Path,
        directory: Path,
        *,
        name: str = "default",
        data_dir: Path | None = None,
        authority: Authority | None = None,
        client_port: int | None = None,
        peer_port: int | None = None,
        initial_cluster: str | None = None,
        initial_cluster_state: str = "new",
        extra_arguments: Sequence[str] = (),
    ) -> None:
        ports = free_ports(2)
        self.name = name
        self.directory = directory
        self.data_dir = data_dir or directory / "data"
        self.authority = authority or Authority(directory / "pki", name="etcd")
        self.endpoint = f"https://127.0.0.1:{client_port or ports[0]}"
        self.peer_url = f"https://127.0.0.1:{peer_port or ports[1]}"
        self.credentials_dir = directory / "credentials"
        self.ca = self.credentials_dir / "ca.crt"
        self.cert = self.credentials_dir / "client.crt"
        self.key = self.credentials_dir / "client.key"
        self._write_credentials()
        server = self.authority.server(f"{name}-server")
        ca = self.authority.certificate
        argv: list[str | Path] = [program, "--name", name, "--data-dir", self.data_dir]
        argv += ["--listen-client-urls", self.endpoint, "--advertise-client-urls", self.endpoint]
        argv += ["--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url]
        argv += ["--initial-cluster", initial_cluster or f"{name}={self.peer_url}"]
        argv += ["--initial-cluster-state", initial_cluster_state]
        argv += ["--cert-file", server.certificate, "--key-file", server.key]
        argv += ["--trusted-ca-file", ca, "--client-cert-auth"]
        argv += ["--peer-cert-file", server.certificate, "--peer-key-file", server.key]
        argv += ["--peer-trusted-ca-file", ca, "--peer-client-cert-auth"]
        argv += ["--logger", "zap", "--log-level", "warn", *extra_arguments]
        self.process = Daemon(f"etcd {name}", argv, directory / "log")

    def _write_credentials(self) -> None:
        self.credentials_dir.mkdir(parents=True, exist_ok=True)
        client = self.authority.client(f"{self.name}-client")
        self.ca.write_bytes(self.authority.certificate.read_bytes())
        self.cert.write_bytes(client.certificate.read_bytes())
        self.key.touch(mode=0o600)
        self.key.write_bytes(client.key.read_bytes())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self, *, seconds: float = 60) -> None:
        """Start it and wait until it serves linearizable reads; StartFailedError if it does not."""
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        self.process.start(self.is_ready, seconds=seconds)

    def stop(self) -> None:
        """End it; the data stay."""
        self.process.stop()

    def kill(self) -> None:
        """End it as a power cut would; the data stay."""
        self.process.stop(grace=0)

    def is_ready(self) -> bool:
        """Whether it answers a linearizable read: it is up, and has a leader."""
        try:
            with self.client(timeout=2) as client:
                client.revision()
        except (OSError, EtcdError) as error:
            return "permission denied" in str(error)  # it is up, and asks for a password
        return True

    def client(self, *, timeout: float = 10) -> EtcdClient:
        """Return a new client with the credentials; the caller closes it."""
        return EtcdClient(self.endpoint, ca=self.ca, certificate=self.cert, key=self.key, timeout=timeout)
