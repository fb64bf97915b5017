"""The store: every object in memory, every change in SQLite before it is seen, every watcher told at once.

Changes are checked one after another in the event loop and given their revision there; the
database commits them in groups; only then they are visible, answered and watched. A reader thus
never sees what a crash could take back.
"""

import asyncio
import bisect
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kubedr_server.local.api.database import Database, EventType, Key, Row

Object = dict[str, Any]

LOG_LENGTH = 20_000
"""So many changes are kept for watches that resume; older resourceVersions are answered with 410."""

QUEUE_LENGTH = 20_000
"""A watcher that is so many events behind is cut off; it lists anew."""


class ExistsError(Exception):
    """The name is taken."""


class StaleError(Exception):
    """The object has changed since it was read, or is gone; `current` is what is there now."""

    def __init__(self, current: "Entry | None") -> None:
        super().__init__("the object has changed")
        self.current = current


class CompactedError(Exception):
    """The revision is older than the log."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"the log begins at {oldest}")
        self.oldest = oldest


class StorageError(Exception):
    """SQLite could not commit; nothing was changed."""


@dataclass(frozen=True)
class Entry:
    """An object at one revision. `body` is its JSON; `object` is shared and never changed."""

    key: Key
    revision: int
    body: bytes

    @cached_property
    def object(self) -> Object:
        """Return the object, to be read only."""
        return self.copy()

    def copy(self) -> Object:
        """Return the object, to be changed."""
        decoded: Object = json.loads(self.body)
        return decoded


@dataclass(frozen=True)
class Change:
    """What a watcher is told: the object now, and as it was before."""

    revision: int
    type: EventType
    entry: Entry
    previous: Entry | None


def encode(obj: Object) -> bytes:
    """Return the JSON form that is stored and sent."""
    return json.dumps(obj, ensure_ascii=False, separators=(",", ":")).encode()


class Subscription:
    """The changes after a revision, as they are committed."""

    def __init__(self, resource: str | None, namespace: str | None) -> None:
        self._resource = resource
        self._namespace = namespace
        self._queue: asyncio.Queue[Change | None] = asyncio.Queue()
        self._ended = False

    def offer(self, change: Change) -> None:
        """Queue a change if it is of the resource; end the subscription if nobody reads."""
        key = change.entry.key
        if self._ended or (self._resource is not None and key.resource != self._resource):
            return
        if self._namespace and key.namespace != self._namespace:
            return
        if self._queue.qsize() >= QUEUE_LENGTH:
            self.end()
            return
        self._queue.put_nowait(change)

    def end(self) -> None:
        """End the subscription after what is queued."""
        if not self._ended:
            self._ended = True
            self._queue.put_nowait(None)

    async def next(self) -> Change | None:
        """Return the next change; None when the subscription has ended."""
        return await self._queue.get()


@dataclass
class _Pending:
    row: Row
    entry: Entry
    previous: Entry | None
    done: asyncio.Future[Entry]


class Store:
    """All objects. Reading is immediate; each writing call returns when the change is on disk."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._objects: dict[str, dict[tuple[str, str], Entry]] = {}
        self._overlay: dict[Key, tuple[int, Entry | None]] = {}
        self._pending: list[_Pending] = []
        self._wake = asyncio.Event()
        self._log: deque[Change] = deque(maxlen=LOG_LENGTH)
        self.oldest = 0
        """The revision at which the log begins."""
        self._next = 0
        self._subscriptions: set[Subscription] = set()
        self._writer: asyncio.Task[None] | None = None
        self._closing = False
        self.revision = 0
        """The newest committed revision."""

    async def open(self) -> None:
        """Load what the database holds and start the writer."""
        await self._database.open()
        objects, rows, newest = await self._database.load()
        for key, revision, body in objects:
            self._table(key.resource)[(key.namespace, key.name)] = Entry(key, revision, body)
        for row in rows[-LOG_LENGTH:]:
            previous = Entry(row.key, row.revision - 1, row.previous) if row.previous is not None else None
            self._log.append(Change(row.revision, row.type, Entry(row.key, row.revision, row.body), previous))
        self.revision = self._next = max(newest, 1)
        self.oldest = self._log[0].revision if self._log else self.revision
        self._writer = asyncio.create_task(self._write(), name="kubedr-api-store")

    def end_subscriptions(self) -> None:
        """End all watches, as a server does that shuts down."""
        for subscription in list(self._subscriptions):
            subscription.end()

    async def close(self) -> None:
        """Commit what was taken, end all subscriptions, close the database."""
        self.end_subscriptions()
        if self._writer is not None:
            self._closing = True
            self._wake.set()
            await self._writer
        await self._database.close()

    def _table(self, resource: str) -> dict[tuple[str, str], Entry]:
        return self._objects.setdefault(resource, {})

    def get(self, key: Key) -> Entry | None:
        """Return an object as it was last committed."""
        return self._table(key.resource).get((key.namespace, key.name))

    def list(self, resource: str, namespace: str = "") -> list[Entry]:
        """Return all objects of a resource, ordered by namespace and name."""
        table = self._table(resource)
        keys = sorted(key for key in table if not namespace or key[0] == namespace)
        return [table[key] for key in keys]

    def everything(self) -> Iterable[Entry]:
        """Return all objects of all resources."""
        for table in list(self._objects.values()):
            yield from list(table.values())

    def _latest(self, key: Key) -> Entry | None:
        return self._overlay[key][1] if key in self._overlay else self.get(key)

    async def create(self, key: Key, obj: Object) -> Entry:
        """Add an object; `obj` is given its resourceVersion. Raises ExistsError."""
        if self._latest(key) is not None:
            raise ExistsError
        return await self._submit("ADDED", key, obj, None)

    async def update(self, seen: Entry, obj: Object) -> Entry:
        """Replace what was seen. Raises StaleError if it is no longer the newest."""
        return await self._submit("MODIFIED", seen.key, obj, self._check(seen))

    async def delete(self, seen: Entry, obj: Object) -> Entry:
        """Remove what was seen; `obj` is its last state, for watchers. Raises StaleError."""
        return await self._submit("DELETED", seen.key, obj, self._check(seen))

    def _check(self, seen: Entry) -> Entry:
        current = self._latest(seen.key)
        if current is None or current.revision != seen.revision:
            raise StaleError(current)
        return current

    async def _submit(self, type_: EventType, key: Key, obj: Object, previous: Entry | None) -> Entry:
        self._next += 1
        obj["metadata"]["resourceVersion"] = str(self._next)
        entry = Entry(key, self._next, encode(obj))
        row = Row(self._next, type_, key, entry.body, previous.body if previous else None)
        done: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
        self._overlay[key] = (self._next, None if type_ == "DELETED" else entry)
        self._pending.append(_Pending(row, entry, previous, done))
        self._wake.set()
        return await asyncio.shield(done)

    async def _write(self) -> None:
        while not self._closing or self._pending:
            await self._wake.wait()
            self._wake.clear()
            batch, self._pending = self._pending, []
            if not batch:
                continue
            first_kept = batch[-1].row.revision - LOG_LENGTH + 1
            try:
                await self._database.commit((item.row for item in batch), first_kept)
            except Exception as error:  # noqa: BLE001 - told to each writer that waits
                # What was queued meanwhile may build on what has just failed.
                for item in batch + self._pending:
                    if not item.done.cancelled():
                        item.done.set_exception(StorageError(f"the change could not be stored: {error}"))
                self._pending.clear()
                self._overlay.clear()
                continue
            for item in batch:
                self._apply(item)

    def _apply(self, item: _Pending) -> None:
        key, entry = item.row.key, item.entry
        table = self._table(key.resource)
        if item.row.type == "DELETED":
            table.pop((key.namespace, key.name), None)
        else:
            table[(key.namespace, key.name)] = entry
        if self._overlay[key][0] == entry.revision:  # else a later write of the same key waits
            del self._overlay[key]
        self.revision = item.row.revision
        change = Change(self.revision, item.row.type, entry, item.previous)
        if len(self._log) == LOG_LENGTH:
            self.oldest = self._log[0].revision + 1
        self._log.append(change)
        for subscription in self._subscriptions:
            subscription.offer(change)
        if not item.done.cancelled():
            item.done.set_result(entry)

    @contextlib.asynccontextmanager
    async def subscribe(
        self, resource: str | None, namespace: str | None = None, *, since: int | None = None
    ) -> AsyncIterator[Subscription]:
        """Follow the changes after `since` (or from now). Raises CompactedError if that is too old."""
        # A revision of the future is one of another state directory: it means nothing here.
        if since is not None and not self.oldest - 1 <= since <= self.revision:
            raise CompactedError(self.oldest)
        subscription = Subscription(resource, namespace)
        if since is not None and since < self.revision:
            start = bisect.bisect_right(self._log, since, key=lambda change: change.revision)
            for index in range(start, len(self._log)):
                subscription.offer(self._log[index])
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def compact(self) -> None:
        """Forget the log, as an API server's database does from time to time: old watches get 410."""
        self._log.clear()
        self.oldest = self.revision + 1
