"""An HTTP proxy between a program and its storage: a well-behaved one, or one that misbehaves on purpose.

It stands in for the storage (its address in place of the storage's), or it is a forward proxy (absolute
addresses, CONNECT), which reaches its one storage under any host name.
"""

import contextlib
import http.client
import select
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import urlsplit

from support.http_server import Handler, HttpServer

_HOP_BY_HOP = {"connection", "proxy-connection", "keep-alive", "transfer-encoding", "content-length"}


class Fault(Enum):
    """What can go wrong with one request."""

    RESET = auto()
    """The connection is reset before the storage sees the request."""

    LOST = auto()
    """The storage does as it is told, and the connection is reset before it can say so."""

    DAMAGED_ANSWER = auto()
    """A bit of the answer's body is flipped."""

    DAMAGED_REQUEST = auto()
    """A bit of the request's body is flipped."""


@dataclass(frozen=True)
class Refusal:
    """An S3 error in place of the storage's answer."""

    status: int
    code: str
    message: str = ""

    def body(self) -> bytes:
        """Return the answer's XML."""
        return f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>".encode()


SLOW_DOWN = Refusal(503, "SlowDown", "Please reduce your request rate.")


@dataclass(frozen=True)
class Request:
    """A request as the proxy sees it. `path` is without the query."""

    method: str
    path: str

    @property
    def kind(self) -> str:
        """The method and the part of a restic repository, such as `PUT data`."""
        parts = self.path.strip("/").split("/")
        known = ("data", "index", "snapshots", "locks", "keys", "config")
        return f"{self.method} {next((part for part in parts if part in known), 'bucket')}"


Choose = Callable[[Request], "Fault | Refusal | None"]


class HttpProxy(HttpServer):
    """Stands before the storage whose URL is `upstream`.

    `choose` says for each request what goes wrong with it; `requests` are those that came, and `tunnels`
    the hosts that CONNECT asked for.
    """

    def __init__(self, upstream: str, choose: Choose | None = None) -> None:
        super().__init__(_Handler)
        self.address = urlsplit(upstream).netloc
        self.choose: Choose = choose or (lambda _: None)
        self.requests: list[Request] = []
        self.hosts: set[str] = set()
        self.tunnels: list[str] = []

    def dial(self) -> socket.socket:
        """Return a connection to the storage."""
        host, _, port = self.address.partition(":")
        return socket.create_connection((host, int(port)), timeout=30)


class _Handler(Handler):
    server: HttpProxy

    def _forward(self) -> None:
        proxy, body = self.server, self.body()
        target = urlsplit(self.path)
        if target.netloc:
            proxy.hosts.add(target.netloc)
        request = Request(self.command, target.path)
        proxy.requests.append(request)
        fault = proxy.choose(request)
        if isinstance(fault, Refusal):
            self._answer(fault.status, "refused", {"Content-Type": "application/xml"}, fault.body())
            return
        if fault is Fault.RESET:
            self._reset()
            return
        if fault is Fault.DAMAGED_REQUEST:
            body = _flipped(body)
        status, reason, headers, answer = self._ask(
            target.path + (f"?{target.query}" if target.query else ""), body
        )
        if fault is Fault.LOST:
            self._reset()
            return
        if fault is Fault.DAMAGED_ANSWER:
            answer = _flipped(answer)
        self._answer(status, reason, headers, answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward  # noqa: N815 - the base class's names

    def do_CONNECT(self) -> None:  # noqa: N802 - the base class's name
        """Let the client talk to the storage by itself."""
        self.server.tunnels.append(self.path)
        self.send_response_only(200, "Connection established")
        self.end_headers()
        self.close_connection = True
        with self.server.dial() as upstream, contextlib.suppress(OSError):
            ends = {self.connection: upstream, upstream: self.connection}
            while True:
                readable, _, _ = select.select(list(ends), [], [], 30)
                for end in readable:
                    data = end.recv(65536)
                    if not data:
                        return
                    ends[end].sendall(data)
                if not readable:
                    return

    def _ask(self, path: str, body: bytes) -> tuple[int, str, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.server.address, timeout=30)
        try:
            connection.putrequest(self.command, path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    connection.putheader(name, value)
            if body or self.command in ("PUT", "POST"):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            response = connection.getresponse()
            answer = response.read()
            headers = dict(response.getheaders())
            return response.status, response.reason, headers, answer
        finally:
            connection.close()

    def _answer(self, status: int, reason: str, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status, reason)
        length = str(len(body))
        for name, value in headers.items():
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RD)


def _flipped(body: bytes) -> bytes:
    changed = bytearray(body)
    if changed:
        changed[len(changed) // 2] ^= 1
    return bytes(changed)
