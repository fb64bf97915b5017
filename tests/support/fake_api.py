"""A small API server over real HTTP that can be told to misbehave.

It keeps objects of any resource in memory, with resourceVersions, optimistic locking, paged lists,
watches and bookmarks. It validates nothing. What a test asks of it beyond that are faults: see
`fail`, `hang_up`, `hang`, `forget_history`, `mute`, `cut_watches`.
"""

import asyncio
import json
import uuid
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from kubernetes_asyncio.client import Configuration

from kubedr_server.kube.connection import Connection
from kubedr_server.kube.transport import ClientSettings
from kubedr_server.local.api.patching import merge

Object = dict[str, Any]

FAST = ClientSettings(qps=0, request_timeout=60.0, connect_timeout=60.0)
"""For a client of a server that only this test uses, on a machine that may be busy."""


@dataclass
class Fault:
    """Answers that are given instead of the right ones, `times` in a row. `status` 0 hangs up, -1 hangs."""

    method: str
    part_of_path: str
    status: int
    reason: str
    message: str
    headers: dict[str, str]
    times: int
    carried_out: bool = False
    """The request is carried out before the fault: its answer is lost."""


@dataclass
class Seen:
    """One request that came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Place:
    """What a path names."""

    group_version: str
    plural: str
    namespace: str
    name: str
    subresource: str

    @classmethod
    def of(cls, path: str) -> "Place":
        parts = path.strip("/").split("/")
        head = 2 if parts[0] == "api" else 3
        group_version, rest = "/".join(parts[1:head]), parts[head:]
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2 and rest[2] != "status":
            namespace, rest = rest[1], rest[2:]
        rest += [""] * (3 - len(rest))
        return cls(group_version, rest[0], namespace, rest[1], rest[2])


@dataclass
class FakeApi:
    """Use as an async context manager. `requests` are all that came in."""

    version: int = 100
    requests: list[Seen] = field(default_factory=list)
    token: str | None = None
    """The bearer token that is asked for, if any is."""

    gone_in_stream: bool = True
    """A watch from a forgotten version gets 410 in the stream (else as its HTTP status)."""

    ends_watches: bool = False
    """Every watch ends regularly as soon as it began."""

    logs: dict[str, str] = field(default_factory=dict)
    """What pods have printed, by their names."""

    def __post_init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self._history: list[tuple[int, str, tuple[str, str, str], Object]] = []
        self._oldest = 0
        self._lists: dict[str, tuple[int, list[Object]]] = {}
        self._faults: list[Fault] = []
        self._changed = asyncio.Condition()
        self._muted = False
        self._transports: set[asyncio.Transport] = set()
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cut_watches()
        if self._runner is not None:
            await self._runner.cleanup()

    def connection(self, token: str | None = None) -> Connection:
        """Return how to reach it."""
        configuration = Configuration(host=self.url)
        if token:
            configuration.api_key["BearerToken"] = f"Bearer {token}"
        return Connection(configuration)

    def count(self, method: str, part_of_path: str = "", *, watch: bool | None = None) -> int:
        """Return how many such requests came in."""
        return sum(
            seen.method == method
            and part_of_path in seen.path
            and (watch is None or (seen.query.get("watch") == "true") is watch)
            for seen in self.requests
        )

    # Changes that are made to the cluster by somebody else.

    async def put(self, plural: str, obj: Object) -> Object:
        """Create or replace an object."""
        metadata = obj["metadata"]
        return await self._store((plural, metadata.get("namespace", ""), metadata["name"]), obj)

    async def drop(self, plural: str, namespace: str, name: str) -> None:
        """Delete an object."""
        await self._remove((plural, namespace, name))

    # Faults.

    def fail(
        self,
        method: str,
        part_of_path: str,
        status: int,
        reason: str = "",
        *,
        message: str = "as the test wants it",
        headers: dict[str, str] | None = None,
        times: int = 1,
        carried_out: bool = False,
    ) -> None:
        """Answer the next requests with an error; method WATCH is for watches, NEXT for further pages."""
        self._faults.append(
            Fault(method, part_of_path, status, reason, message, headers or {}, times, carried_out)
        )

    def hang_up(self, method: str, part_of_path: str, *, times: int = 1, carried_out: bool = False) -> None:
        """Close the connection instead of answering the next requests."""
        self.fail(method, part_of_path, 0, times=times, carried_out=carried_out)

    def hang(self, method: str, part_of_path: str) -> None:
        """Take such requests from now on and never answer."""
        self.fail(method, part_of_path, -1, times=1_000_000)

    async def forget_history(self) -> None:
        """Compact: what was changed up to now cannot be watched any more."""
        self.version += 1
        self._oldest = self.version

    def mute(self, muted: bool = True) -> None:
        """Keep watches open and send nothing on them, as behind a half-open connection."""
        self._muted = muted

    def cut_watches(self) -> None:
        """Break the connections of all watches."""
        for transport in tuple(self._transports):
            transport.abort()

    async def watched(self) -> None:
        """Wait until there is a watch."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._transports))

    async def bookmark(self) -> None:
        """Send a bookmark to every watch."""
        self.version += 1
        bookmark = {"kind": "Bookmark", "metadata": {"resourceVersion": str(self.version)}}
        self._history.append((self.version, "BOOKMARK", ("", "", ""), bookmark))
        async with self._changed:
            self._changed.notify_all()

    # What follows is the server.

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        seen = Seen(request.method, request.path, dict(request.query), dict(request.headers), body)
        self.requests.append(seen)
        watching = seen.query.get("watch") == "true"
        method = "WATCH" if watching else "NEXT" if "continue" in seen.query else seen.method
        fault = self._fault(method, seen.path)
        if fault is not None:
            if fault.carried_out:
                await self._answer(request, seen)
            if fault.status < 0:
                await asyncio.Event().wait()
            if fault.status == 0:
                assert request.transport is not None
                request.transport.close()
                return web.Response()
            return _status(fault.status, fault.reason, fault.message, fault.headers)
        if self.token is not None and seen.headers.get("Authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized", "Unauthorized")
        return await self._answer(request, seen)

    def _fault(self, method: str, path: str) -> Fault | None:
        for fault in self._faults:
            if fault.method == method and fault.part_of_path in path:
                fault.times -= 1
                if fault.times <= 0:
                    self._faults.remove(fault)
                return fault
        return None

    async def _answer(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        place = Place.of(seen.path)
        key = (place.plural, place.namespace, place.name)
        if place.subresource == "log":
            return web.Response(text=self.logs.get(place.name, "a line of the log\n"))
        if seen.query.get("watch") == "true":
            return await self._watch(request, place, seen.query)
        if seen.method == "GET" and not place.name:
            return self._list(place, seen.query)
        if seen.method == "POST":
            return await self._create(place, json.loads(seen.body))
        old = self.objects.get(key)
        if seen.method == "PATCH" and seen.headers["Content-Type"] == "application/apply-patch+yaml":
            new = merge(old or {}, json.loads(seen.body))
            return web.json_response(await self._store(key, new), status=200 if old else 201)
        if old is None:
            return _status(404, "NotFound", f'{place.plural} "{place.name}" not found')
        if seen.method == "GET":
            return web.json_response(old)
        if seen.method == "DELETE":
            wanted = json.loads(seen.body or b"{}").get("preconditions") or {}
            if wanted.get("uid", old["metadata"]["uid"]) != old["metadata"]["uid"]:
                return _status(409, "Conflict", "the UID in the precondition differs")
            await self._remove(key)
            return web.json_response({"kind": "Status", "status": "Success"})
        new = json.loads(seen.body)
        if new.get("metadata", {}).get("resourceVersion", "") not in {"", old["metadata"]["resourceVersion"]}:
            return _status(409, "Conflict", "the object has been modified")
        if seen.method == "PATCH":
            new = merge(old, new)
        if place.subresource:
            new = {**old, place.subresource: new.get(place.subresource)}
        return web.json_response(await self._store(key, new))

    async def _create(self, place: Place, obj: Object) -> web.Response:
        key = (place.plural, place.namespace, obj["metadata"]["name"])
        if key in self.objects:
            return _status(409, "AlreadyExists", f'{place.plural} "{key[2]}" already exists')
        obj["metadata"].setdefault("namespace", place.namespace)
        return web.json_response(await self._store(key, obj), status=201)

    def _list(self, place: Place, query: dict[str, str]) -> web.Response:
        start = 0
        version, items = (
            self.version,
            [obj for key, obj in self.objects.items() if _within(key, place, query, obj)],
        )
        if token := query.get("continue"):
            name, _, offset = token.partition(":")
            if name not in self._lists:
                return _status(410, "Expired", "The provided continue parameter is too old")
            (version, items), start = self._lists[name], int(offset)
        limit = int(query.get("limit", 0)) or len(items)
        metadata = {"resourceVersion": str(version)}
        if start + limit < len(items):
            name = uuid.uuid4().hex
            self._lists[name] = (version, items)
            metadata["continue"] = f"{name}:{start + limit}"
        page = [
            {field: value for field, value in obj.items() if field not in {"apiVersion", "kind"}}
            for obj in items[start : start + limit]
        ]
        return web.json_response({"kind": "List", "metadata": metadata, "items": page})

    async def _watch(self, request: web.Request, place: Place, query: dict[str, str]) -> web.StreamResponse:
        sent = int(query["resourceVersion"])
        gone = {
            "kind": "Status",
            "code": 410,
            "reason": "Expired",
            "message": f"too old resource version: {sent}",
        }
        if sent < self._oldest and not self.gone_in_stream:
            return web.json_response(gone, status=410)
        response = web.StreamResponse()
        response.content_type = "application/json"
        await response.prepare(request)
        transport = request.transport
        assert transport is not None
        self._transports.add(transport)
        async with self._changed:
            self._changed.notify_all()
        try:
            if self.ends_watches:
                return response
            if sent < self._oldest:
                await response.write(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
                return response
            async with asyncio.timeout(float(query.get("timeoutSeconds", 300))):
                while True:
                    for version, change, key, obj in self._history:
                        if version <= sent or self._muted:
                            continue
                        sent = version
                        if change != "BOOKMARK" and not _within(key, place, query, obj):
                            continue
                        await response.write(json.dumps({"type": change, "object": obj}).encode() + b"\n")
                    async with self._changed:
                        await self._changed.wait()
        except (TimeoutError, ConnectionError):
            pass
        finally:
            self._transports.discard(transport)
        return response

    async def _store(self, key: tuple[str, str, str], obj: Object) -> Object:
        self.version += 1
        old = self.objects.get(key)
        obj = json.loads(json.dumps(obj))
        uid = old["metadata"]["uid"] if old else obj["metadata"].get("uid") or str(uuid.uuid4())
        obj["metadata"] |= {"uid": uid, "resourceVersion": str(self.version)}
        await self._change("MODIFIED" if old else "ADDED", key, obj)
        return obj

    async def _remove(self, key: tuple[str, str, str]) -> None:
        self.version += 1
        obj = self.objects[key]
        last = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
        await self._change("DELETED", key, last)

    async def _change(self, change: str, key: tuple[str, str, str], obj: Object) -> None:
        if change == "DELETED":
            del self.objects[key]
        else:
            self.objects[key] = obj
        self._history.append((self.version, change, key, obj))
        async with self._changed:
            self._changed.notify_all()


def _within(key: tuple[str, str, str], place: Place, query: dict[str, str], obj: Object) -> bool:
    plural, namespace, _ = key
    labels = obj["metadata"].get("labels") or {}
    wanted = [part.split("=") for part in query.get("labelSelector", "").split(",") if part]
    return (
        plural == place.plural
        and place.namespace in {"", namespace}
        and all(labels.get(name) == value for name, value in wanted)
    )


def _status(code: int, reason: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
    return web.json_response(body, status=code, headers=headers)
