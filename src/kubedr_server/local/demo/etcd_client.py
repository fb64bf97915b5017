"""Reads and writes an etcd through its JSON gateway, so that no gRPC package is needed."""

import base64
import http.client
import json
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

_OPERATIONS_PER_TRANSACTION = 100
"""etcd allows 128 unless told otherwise."""
_KEYS_PER_PAGE = 500


class EtcdError(Exception):
    """etcd refused a request; the message is its own."""


@dataclass(frozen=True)
class KeyValue:
    """One key as etcd stores it."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int = 0


class EtcdClient:
    """One kept-alive connection to one member. Not for several threads at once."""

    def __init__(
        self,
        endpoint: str,
        *,
        ca: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        timeout: float = 10,
    ) -> None:
        parts = urlsplit(endpoint)
        if parts.hostname is None:
            raise ValueError(f"not an etcd endpoint: {endpoint!r}")
        self._token = ""
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=ca)
            if certificate is not None:
                context.load_cert_chain(certificate, key)
            self._connection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=timeout, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def call(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call a method of the gateway, such as `kv/range`; EtcdError if refused, OSError if etcd is away."""
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = self._token
        try:
            self._connection.request("POST", f"/v3/{path}", json.dumps(body or {}), headers)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            if isinstance(error, OSError):
                raise
            raise ConnectionError(f"etcd's answer to {path} broke off: {error}") from error
        try:
            answer = json.loads(content)
        except ValueError as error:
            raise EtcdError(f"{path}: HTTP {response.status}, not JSON: {content[:200]!r}") from error
        if response.status != http.HTTPStatus.OK or not isinstance(answer, dict):
            raise EtcdError(
                f"{path}: {answer.get('message', answer) if isinstance(answer, dict) else answer}"
            )
        return answer

    def log_in(self, user: str, password: str) -> None:
        """Authenticate all further calls; for an etcd with `auth enable`."""
        self._token = str(self.call("auth/authenticate", {"name": user, "password": password})["token"])

    def put(self, key: bytes | str, value: bytes | str) -> int:
        """Write one key; return the revision."""
        return _revision(self.call("kv/put", {"key": _encode(key), "value": _encode(value)}))

    def put_all(self, items: Iterable[tuple[bytes | str, bytes | str]], *, lease: int = 0) -> int:
        """Write many keys, a hundred a transaction; return the last revision (0 if there were none)."""
        revision = 0
        remaining = iter(items)
        while batch := list(islice(remaining, _OPERATIONS_PER_TRANSACTION)):
            puts = [
                {"requestPut": {"key": _encode(key), "value": _encode(value), "lease": lease}}
                for key, value in batch
            ]
            revision = _revision(self.call("kv/txn", {"success": puts}))
        return revision

    def grant_lease(self, seconds: int) -> int:
        """Make a lease: keys written with it go when its time is over. Return its id."""
        return int(self.call("lease/grant", {"TTL": seconds})["ID"])

    def get(self, key: bytes | str) -> bytes | None:
        """Read one key's value; None if there is no such key."""
        found = self.call("kv/range", {"key": _encode(key)}).get("kvs", [])
        return _decode(found[0].get("value", "")) if found else None

    def delete(self, key: bytes | str) -> int:
        """Delete one key; return how many there were."""
        return int(self.call("kv/deleterange", {"key": _encode(key)}).get("deleted", 0))

    def all(self, prefix: bytes = b"", *, revision: int = 0) -> Iterator[KeyValue]:
        """Read every key below a prefix, in order, all of one revision (the newest if 0)."""
        start, end = prefix or b"\0", _after(prefix)
        while True:
            answer = self.call(
                "kv/range",
                {
                    "key": _encode(start),
                    "range_end": _encode(end),
                    "limit": _KEYS_PER_PAGE,
                    "revision": revision,
                },
            )
            revision = revision or _revision(answer)
            found = [_key_value(item) for item in answer.get("kvs", [])]
            yield from found
            if not answer.get("more"):
                return
            start = found[-1].key + b"\0"

    def revision(self) -> int:
        """Return etcd's revision, by a linearizable read."""
        return _revision(self.call("kv/range", {"key": _encode(b"\0"), "count_only": True}))

    def compact(self, revision: int) -> None:
        """Forget the history before a revision, and wait until the space is given back inside the file."""
        self.call("kv/compaction", {"revision": revision, "physical": True})


def _revision(answer: dict[str, Any]) -> int:
    return int(answer["header"]["revision"])


def _key_value(item: dict[str, Any]) -> KeyValue:
    return KeyValue(
        key=_decode(item["key"]),
        value=_decode(item.get("value", "")),
        create_revision=int(item["create_revision"]),
        mod_revision=int(item["mod_revision"]),
        version=int(item["version"]),
        lease=int(item.get("lease", 0)),
    )


def _after(prefix: bytes) -> bytes:
    """Return the first key after all that begin with a prefix; for etcd, a zero byte means "to the end"."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else b"\0"


def _encode(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text)
