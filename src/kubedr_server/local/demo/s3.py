"""A real S3 server on the loopback address: SeaweedFS in one process (`weed mini`)."""

import http.client
import json
import secrets
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from kubedr_server.local.demo.pki import Authority
from kubedr_server.local.demo.ports import free_ports
from kubedr_server.local.demo.process import Daemon, StartFailedError

_GRPC_OFFSET = 10_000
"""weed listens also on each of its HTTP ports plus this."""
_SOCKETS = Path("/tmp")  # noqa: S108 - the server's choice
_ATTEMPTS = 3
_ALL_ACTIONS = ("Admin", "Read", "Write", "List", "Tagging")


@dataclass(frozen=True)
class Identity:
    """A user of the S3 server, and what it may do: weed's words, such as `Read:bucket`."""

    name: str
    access_key: str
    secret_key: str = field(repr=False)
    actions: Sequence[str] = _ALL_ACTIONS

    @classmethod
    def new(cls, name: str, actions: Sequence[str] = _ALL_ACTIONS) -> "Identity":
        """Make one with random keys."""
        return cls(name, secrets.token_hex(10).upper(), secrets.token_urlsafe(30), actions)


class S3:
    """One server, over http or (with `tls`) over https with a certificate of an authority of its own."""

    def __init__(
        self,
        program: Path,
        directory: Path,
        *,
        tls: bool = False,
        identities: Sequence[Identity] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._program = program
        self._directory = directory
        self._env = env
        self.identities = tuple(identities) or (Identity.new("admin"),)
        self.access_key = self.identities[0].access_key
        self.secret_key = self.identities[0].secret_key
        self.data_dir = directory / "data"
        self._authority = Authority(directory / "pki", name="storage") if tls else None
        self.ca_file = self._authority.certificate if self._authority else None
        self._ports: list[int] = []
        self.process: Daemon | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens; RuntimeError before it was started."""
        if not self._ports:
            raise RuntimeError("the S3 server was not started")
        return (
            f"https://127.0.0.1:{self._ports[5]}" if self._authority else f"http://127.0.0.1:{self._ports[3]}"
        )

    def start(self) -> None:
        """Start it and wait until it answers; after `stop`, at the same address with the same data."""
        if self._ports:
            self._start_once()
            return
        for attempt in range(1, _ATTEMPTS + 1):
            self._ports = free_ports(6, companion=_GRPC_OFFSET)
            try:
                self._start_once()
            except StartFailedError:
                # Another program may have taken one of the ports in between.
                if attempt == _ATTEMPTS:
                    raise
            else:
                return

    def _start_once(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        config = self._directory / "identities.json"
        config.touch(mode=0o600)
        config.write_text(json.dumps({"identities": [_weed_identity(user) for user in self.identities]}))
        master, volume, filer, s3, admin, https = self._ports
        argv: list[str | Path] = [self._program, "mini", f"-dir={self.data_dir}", "-ip=127.0.0.1"]
        argv += ["-ip.bind=127.0.0.1", "-master.telemetry=false", "-webdav=false", "-admin.ui=false"]
        argv += ["-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={config}"]
        argv += [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"]
        argv += [f"-s3.port={s3}", f"-admin.port={admin}"]
        if self._authority is not None:
            pair = self._authority.server("s3")
            argv += [
                f"-s3.port.https={https}",
                f"-s3.cert.file={pair.certificate}",
                f"-s3.key.file={pair.key}",
            ]
        self.process = Daemon("the S3 server (weed)", argv, self._directory / "log", env=self._env)
        self.process.start(self._is_ready)

    def stop(self) -> None:
        """End it. The data stay: weed keeps them through a kill, and takes very long to end by itself."""
        if self.process is None:
            return
        self.process.stop(grace=0)
        # It puts one socket for each of its ports here, wherever its data are, and a kill leaves them.
        for port in self._ports:
            for number in (port, port + _GRPC_OFFSET):
                for socket in _SOCKETS.glob(f"seaweedfs-*-{number}.sock"):
                    socket.unlink(missing_ok=True)

    def _is_ready(self) -> bool:
        """Whether it refuses an unsigned request: S3 answers, and its identities are loaded."""
        port = int(self.url.rsplit(":", 1)[1])
        connection: http.client.HTTPConnection
        if self.ca_file is not None:
            context = ssl.create_default_context(cafile=self.ca_file)
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=2, context=context)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == http.HTTPStatus.FORBIDDEN
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _weed_identity(identity: Identity) -> dict[str, object]:
    return {
        "name": identity.name,
        "credentials": [{"accessKey": identity.access_key, "secretKey": identity.secret_key}],
        "actions": list(identity.actions),
    }
