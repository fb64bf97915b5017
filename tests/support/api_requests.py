"""Plain requests to an API server, for tests of what goes over the wire."""

import base64
import http.client
import json
import ssl
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import yaml

from kubedr_server.local.api.server import LocalAPI

Object = dict[str, Any]
JSON = "application/json"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True)
class Reply:
    """An answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self) -> Any:
        """Return the decoded body."""
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """Return a Status's message."""
        return str(self.json["message"])

    @property
    def warnings(self) -> list[str]:
        """Return the texts of the Warning headers."""
        found = [value for name, value in self.headers if name.lower() == "warning"]
        return [value.removeprefix('299 - "')[:-1].replace('\\"', '"') for value in found]


class Requests:
    """Sends requests over one kept connection."""

    def __init__(self, url: str, context: ssl.SSLContext, headers: Mapping[str, str]) -> None:
        self.url = url
        self._context = context
        self._headers = dict(headers)
        self._connection: http.client.HTTPSConnection | None = None
        self._used = 0.0

    @classmethod
    @contextmanager
    def of(cls, kubeconfig: Path) -> Iterator["Requests"]:
        """Read a kubeconfig."""
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        with tempfile.TemporaryDirectory() as folder:

            def file(source: Mapping[str, Any], name: str) -> str:
                if f"{name}-data" not in source:
                    return str(source[name])
                path = Path(folder) / name
                path.write_bytes(base64.b64decode(source[f"{name}-data"]))
                return str(path)

            context = ssl.create_default_context(cafile=file(cluster, "certificate-authority"))
            if "client-certificate" in user or "client-certificate-data" in user:
                context.load_cert_chain(file(user, "client-certificate"), file(user, "client-key"))
        headers = {"authorization": f"Bearer {user['token']}"} if "token" in user else {}
        requests = cls(cluster["server"], context, headers)
        try:
            yield requests
        finally:
            requests.close()

    def connect(self) -> http.client.HTTPSConnection:
        """Open another connection; it is the caller's to close."""
        where = urlsplit(self.url)
        assert where.hostname is not None
        return http.client.HTTPSConnection(where.hostname, where.port, context=self._context, timeout=30)

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        kind: str = JSON,
        accept: str = JSON,
        token: str | None = None,
        **query: str,
    ) -> Reply:
        """Send one request."""
        if time.monotonic() - self._used > 30:
            self.close()  # the server may be about to hang up: it has been idle for long
        if self._connection is None:
            self._connection = self.connect()
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        target = f"{path}?{urlencode(query)}" if query else path
        sent = {"accept": accept, "content-type": kind} | self._headers
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        try:
            self._connection.request(method, target, content, sent)
            response = self._connection.getresponse()
            reply = Reply(response.status, response.getheaders(), response.read())
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        self._used = time.monotonic()
        return reply

    def until(self, status: int, method: str, path: str, body: Any = None, seconds: float = 60.0) -> Reply:
        """Send a request again and again until it is answered with a status."""
        deadline = time.monotonic() + seconds
        while (reply := self(method, path, body)).status != status:
            assert time.monotonic() < deadline, f"{method} {path}: {reply.status} {reply.body!r}"
            time.sleep(0.02)
        return reply

    def close(self) -> None:
        """Close the kept connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def watch(self, path: str, **query: str) -> Iterator[Iterator[Object]]:
        """Watch; yields the events as they come."""
        connection = self.connect()
        try:
            connection.request("GET", f"{path}?{urlencode({'watch': '1', **query})}", headers=self._headers)
            response = connection.getresponse()
            assert response.status == 200, response.read()
            yield (json.loads(line) for line in response)
        finally:
            connection.close()

    def new_namespace(self, name: str) -> str:
        """Make a namespace."""
        reply = self("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        assert reply.status == 201, reply.body
        return name


@dataclass(frozen=True)
class Server:
    """A running API server; `embedded` is the embedded one itself, if it is that."""

    kubeconfig: Path
    requests: Requests
    embedded: LocalAPI | None
