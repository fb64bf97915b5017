"""A server that speaks restic's REST protocol, with a user and a password, over files in a directory.

https://restic.readthedocs.io/en/stable/REST_backend.html; what it stores is what `rest-server` stores.
"""

import base64
import json
from pathlib import Path
from urllib.parse import urlsplit

from support.http_server import Handler, HttpServer

USER, PASSWORD = "canary-user", "canary-rest-password"
_LIST = "application/vnd.x.restic.rest.v2"


class RestServer(HttpServer):
    """Keeps its repositories in `directory`. `url` is without credentials."""

    def __init__(self, directory: Path) -> None:
        super().__init__(_Handler)
        self.directory = directory


class _Handler(Handler):
    server: RestServer

    def _handle(self) -> None:
        body = self.body()
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {token}":
            self._answer(401)
            return
        url = urlsplit(self.path)
        path = self.server.directory / url.path.strip("/")
        if self.command == "POST" and url.query == "create=true":
            path.mkdir(parents=True, exist_ok=True)
            self._answer(200)
        elif self.command == "POST":
            self._store(path, body)
        elif path.is_dir() or url.path.endswith("/"):
            names = [each for each in sorted(path.iterdir()) if each.is_file()] if path.is_dir() else []
            listed = [{"name": each.name, "size": each.stat().st_size} for each in names]
            self._answer(200, json.dumps(listed).encode(), _LIST)
        elif not path.is_file():
            self._answer(404)
        elif self.command == "DELETE":
            path.unlink()
            self._answer(200)
        else:
            self._give(path.read_bytes())

    do_GET = do_HEAD = do_POST = do_DELETE = _handle  # noqa: N815 - the base class's names

    def _store(self, path: Path, body: bytes) -> None:
        if path.exists():
            self._answer(403)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        self._answer(200)

    def _give(self, content: bytes) -> None:
        wanted = self.headers.get("Range", "")
        if not wanted:
            self._answer(200, content)
            return
        start, _, end = wanted.removeprefix("bytes=").partition("-")
        self._answer(206, content[int(start) : int(end) + 1 if end else None])

    def _answer(self, status: int, body: bytes = b"", kind: str = "application/octet-stream") -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
