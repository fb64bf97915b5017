"""Real etcd servers for tests."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from kubedr_server.local.demo.etcd import Etcd
from kubedr_server.local.demo.etcd_client import EtcdClient, EtcdError, KeyValue
from kubedr_server.local.demo.pki import Authority
from kubedr_server.local.demo.ports import free_ports
from support.tools import program

__all__ = ["EtcdClient", "EtcdError", "EtcdServer", "KeyValue", "etcd_cluster"]


class EtcdServer(Etcd):
    """One member with TLS and client certificates, as `Etcd` has it, with what tests do to it.

    `.endpoint`; `.ca`, `.cert`, `.key` (paths); `.credentials_dir` with `ca.crt`, `client.crt` and
    `client.key`; `.authority` issues further certificates.
    """

    def __init__(
        self,
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
        super().__init__(
            program("etcd"),
            directory,
            name=name,
            data_dir=data_dir,
            authority=authority,
            client_port=client_port,
            peer_port=peer_port,
            initial_cluster=initial_cluster,
            initial_cluster_state=initial_cluster_state,
            extra_arguments=extra_arguments,
        )

    def put(self, key: bytes | str, value: bytes | str) -> int:
        """Write one key; return the revision."""
        with self.client() as client:
            return client.put(key, value)

    def get(self, key: bytes | str) -> bytes | None:
        """Read one key's value."""
        with self.client() as client:
            return client.get(key)

    def all(self, prefix: bytes = b"") -> list[KeyValue]:
        """Read every key below a prefix."""
        with self.client() as client:
            return list(client.all(prefix))

    def revision(self) -> int:
        """Return the revision, by a linearizable read."""
        with self.client() as client:
            return client.revision()

    def etcdctl(self, *arguments: str) -> str:
        """Run etcdctl on this member; return what it prints (CalledProcessError if it fails)."""
        tls = ["--cacert", str(self.ca), "--cert", str(self.cert), "--key", str(self.key)]
        argv = [str(program("etcdctl")), "--endpoints", self.endpoint, *tls, *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout

    def enable_auth(self, password: str) -> None:
        """Turn etcd's users and passwords on: from now on, a client certificate alone is not enough."""
        with self.client() as client:
            client.call("auth/user/add", {"name": "root", "password": password})
            client.call("auth/user/grant", {"user": "root", "role": "root"})
            client.call("auth/enable")


@contextmanager
def etcd_cluster(
    directory: Path, members: int = 3, extra_arguments: Sequence[str] = ()
) -> Iterator[list[EtcdServer]]:
    """Run a cluster of several members that share one certificate authority."""
    authority = Authority(directory / "pki", name="etcd")
    ports = free_ports(2 * members)
    names = [f"member-{number}" for number in range(members)]
    peers = ",".join(f"{name}=https://127.0.0.1:{ports[2 * i + 1]}" for i, name in enumerate(names))
    servers = [
        EtcdServer(
            directory / name,
            name=name,
            authority=authority,
            client_port=ports[2 * i],
            peer_port=ports[2 * i + 1],
            initial_cluster=peers,
            extra_arguments=extra_arguments,
        )
        for i, name in enumerate(names)
    ]
    with ExitStack() as stack:
        for server in servers:
            # A member answers only when a majority is up: start them all before waiting for one.
            stack.callback(server.stop)
            server.process.start(lambda: True)
        for server in servers:
            server.process.wait_until(server.is_ready, seconds=60)
        yield servers
