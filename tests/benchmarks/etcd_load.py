"""What a load does to etcd, and how it is done fast: several connections to the JSON gateway at once.

A load is an iterable of operations, made by a seeded generator. Those of one key stay in their order;
those of two may change places when they follow each other closely, as with a real API server.
"""

import asyncio
import base64
import json
import ssl
from collections.abc import Awaitable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from zlib import crc32

from support.etcd import EtcdServer

_CONNECTIONS = 8
_PUTS_AT_ONCE = 2000
_PUTS_PER_TRANSACTION = 100
_TRANSACTION_BYTES = 512 << 10
"""etcd takes requests of 1.5 MiB; base64 makes them a third larger."""
_HOUR = 3600


class LoadError(Exception):
    """etcd refused an operation; the message is its own."""


@dataclass(frozen=True, slots=True)
class Put:
    """Write a key. `lease` is the load's own number of a lease, 0 for none."""

    key: bytes
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a key."""

    key: bytes


@dataclass(frozen=True, slots=True)
class Grant:
    """Make a lease, under a number that the load chooses. It ends with `Revoke`: a load has its own time."""

    lease: int


@dataclass(frozen=True, slots=True)
class Revoke:
    """End a lease: its keys are deleted."""

    lease: int


@dataclass(frozen=True, slots=True)
class Compact:
    """Forget the history before the last `Compact`, as an API server does every five minutes."""


Operation = Put | Delete | Grant | Revoke | Compact


class Loader:
    """Applies operations to an etcd. An async context manager."""

    def __init__(self, server: EtcdServer) -> None:
        context = ssl.create_default_context(cafile=str(server.ca))
        context.load_cert_chain(server.cert, server.key)
        self._connections = [_Connection(server.endpoint, context) for _ in range(_CONNECTIONS)]
        self._leases: dict[int, str] = {}
        self._compact_at = 0

    async def __aenter__(self) -> Self:
        for connection in self._connections:
            await connection.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._connections:
            await connection.close()

    async def apply(self, operations: Iterable[Operation]) -> int:
        """Do all operations, each as a revision of its own; return how many there were. Raises LoadError."""
        count = 0
        waiting: list[Put | Delete] = []
        for operation in operations:
            count += 1
            if isinstance(operation, Put | Delete):
                waiting.append(operation)
                if len(waiting) < _PUTS_AT_ONCE:
                    continue
                await self._write(waiting)
            else:
                await self._write(waiting)
                await self._control(operation)
            waiting = []
        await self._write(waiting)
        return count

    async def fill(self, operations: Iterable[Operation]) -> int:
        """Do the same, but put keys a hundred a transaction: for what is old when a measurement begins."""
        count = 0
        waiting: list[list[Put]] = []
        keys: set[bytes] = set()
        for group in _transactions(operations):
            count += len(group)
            puts = [one for one in group if isinstance(one, Put)]
            if len(waiting) == len(self._connections) or not puts or not keys.isdisjoint(p.key for p in puts):
                await self._commit(waiting)
                waiting, keys = [], set()
            if puts:
                waiting.append(puts)
                keys.update(one.key for one in puts)
            else:
                await self.apply(group)
        await self._commit(waiting)
        return count

    async def _commit(self, groups: list[list[Put]]) -> None:
        """Put each group in a transaction, all at once."""
        bodies = [{"success": [{"requestPut": self._put(one)} for one in group]} for group in groups]
        pairs = zip(self._connections, bodies, strict=False)
        await asyncio.gather(*(connection.call("kv/txn", body) for connection, body in pairs))

    def _put(self, operation: Put) -> dict[str, str]:
        body = {"key": _encode(operation.key), "value": _encode(operation.value)}
        if operation.lease:
            body["lease"] = self._leases[operation.lease]
        return body

    async def _write(self, operations: Iterable[Put | Delete]) -> None:
        lanes: list[list[tuple[str, dict[str, str]]]] = [[] for _ in self._connections]
        for operation in operations:
            lane = lanes[crc32(operation.key) % len(lanes)]
            if isinstance(operation, Put):
                lane.append(("kv/put", self._put(operation)))
            else:
                lane.append(("kv/deleterange", {"key": _encode(operation.key)}))
        work: list[Awaitable[None]] = [
            connection.call_each(lane)
            for connection, lane in zip(self._connections, lanes, strict=True)
            if lane
        ]
        await asyncio.gather(*work)

    async def _control(self, operation: Grant | Revoke | Compact) -> None:
        call = self._connections[0].call
        if isinstance(operation, Grant):
            # Far longer than any measurement: what ends a lease is Revoke.
            answer = await call("lease/grant", {"TTL": 1000 * _HOUR, "ID": operation.lease})
            self._leases[operation.lease] = answer["ID"]
        elif isinstance(operation, Revoke):
            await call("lease/revoke", {"ID": self._leases.pop(operation.lease)})
        else:
            now = await call("kv/range", {"key": _encode(b"\0"), "count_only": True})
            if self._compact_at:
                await call("kv/compaction", {"revision": self._compact_at, "physical": True})
            self._compact_at = int(now["header"]["revision"])


class _Connection:
    """One kept-alive connection to the gateway, one request at a time."""

    def __init__(self, endpoint: str, context: ssl.SSLContext) -> None:
        parts = urlsplit(endpoint)
        self._host, self._port, self._context = parts.hostname, parts.port, context
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        self._streams = await asyncio.open_connection(self._host, self._port, ssl=self._context)

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            await self._streams[1].wait_closed()

    async def call_each(self, calls: Iterable[tuple[str, dict[str, str]]]) -> None:
        """Call one after the other."""
        for path, body in calls:
            await self._answer(path, body)

    async def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Call a method of the gateway, such as `kv/put`; return its answer."""
        answer: dict[str, Any] = json.loads(await self._answer(path, body))
        return answer

    async def _answer(self, path: str, body: dict[str, Any]) -> bytes:
        assert self._streams is not None
        reader, writer = self._streams
        content = json.dumps(body).encode()
        head = f"POST /v3/{path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + content)
        status, *headers = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        lengths = [int(line[15:]) for line in headers if line.lower().startswith(b"content-length:")]
        answer = await (reader.readexactly(lengths[0]) if lengths else _chunks(reader))
        if b" 200 " not in status:
            raise LoadError(f"{path}: {answer.decode(errors='replace')}")
        return answer


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    """Read an answer that is too long for a Content-Length."""
    answer = b""
    while size := int(await reader.readline(), 16):
        answer += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return answer


def _transactions(operations: Iterable[Operation]) -> Iterator[list[Operation]]:
    """Group neighbouring puts of different keys; all else stands alone."""
    group: dict[bytes, Operation] = {}
    size = 0
    for operation in operations:
        if not isinstance(operation, Put):
            yield from [list(group.values())] if group else []
            yield [operation]
            group, size = {}, 0
            continue
        size += len(operation.value)
        if size > _TRANSACTION_BYTES or len(group) == _PUTS_PER_TRANSACTION or operation.key in group:
            yield from [list(group.values())] if group else []
            group, size = {}, len(operation.value)
        group[operation.key] = operation
    if group:
        yield list(group.values())


def take(operations: Iterable[Operation], count: int) -> list[Operation]:
    """Return the first operations of a load."""
    return list(islice(operations, count))


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()
