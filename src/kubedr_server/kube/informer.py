"""An informer: a cache of one resource that follows the cluster, and tells of each change.

It lists, then watches from the list's version, for as long as it runs. Its one promise: after any
fault (a watch that breaks, ends, hangs or lost its place; objects deleted meanwhile) the cache becomes
equal to the cluster again, and handlers were told of every difference, with the old object of those
that are gone.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from kubedr_server.kube import errors
from kubedr_server.kube.backoff import FullJitter
from kubedr_server.kube.cache import Cache, Cached, Indexer, Key
from kubedr_server.kube.client import Client, WatchEvent
from kubedr_server.kube.resources import Resource

logger = logging.getLogger(__name__)

_IN_A_ROW = 20
Change = Literal["ADDED", "MODIFIED", "DELETED"]
Handler = Callable[[Change, Cached | None, Cached | None], None]
"""Called with the change, the object before (None if added) and after it (None if deleted).

It runs inside the informer: it only puts keys into a work queue, and does not block."""


@dataclass(frozen=True)
class InformerSettings:
    """Times in seconds."""

    page_size: int = 100
    """How many objects a list asks for at once: they are decoded in one go, 2 to 4 KB each."""

    watch_seconds: float = 300.0
    """How long one watch lasts; up to twice that, so that watches do not all end together."""

    inactivity_seconds: float = 90.0
    """A watch without a byte for this long counts as dead. API servers send a bookmark a minute."""

    backoff_base: float = 0.5
    backoff_cap: float = 30.0


class InformerObserver(Protocol):
    """Told how an informer fares, for metrics."""

    def watch_ended(self, resource: str, reason: str) -> None:
        """Count the end of a watch: `ended`, `silent`, or the error's type."""

    def listed(self, resource: str, seconds: float) -> None:
        """Count a full list."""

    def cached(self, resource: str, objects: int) -> None:
        """Note how many objects the cache holds."""


async def _give_way(number: int) -> None:
    """Let others run from time to time: thousands of objects must not hold up the webhooks."""
    if number % _IN_A_ROW == 0:
        await asyncio.sleep(0)


class Informer:
    """Follows one resource, in one namespace or in all. `run` it as a task; read `cache` after `synced`."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        metadata_only: bool = False,
        indexers: Mapping[str, Indexer] | None = None,
        settings: InformerSettings | None = None,
        observer: InformerObserver | None = None,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.resource = resource
        self.namespace = namespace
        self.cache = Cache(indexers)
        self.synced = asyncio.Event()
        """Set once the first list is complete and handlers have been told of it."""

        self._client = client
        self._selectors: dict[str, Any] = {
            "label_selector": label_selector,
            "field_selector": field_selector,
            "metadata_only": metadata_only,
        }
        self._settings = settings or InformerSettings()
        self._observer = observer
        self._rng = rng or random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._clock = clock
        self._sleep = sleep
        self._backoff = FullJitter(self._settings.backoff_base, self._settings.backoff_cap, self._rng)
        self._handlers: list[Handler] = []
        self._heard = clock()
        self._version = ""
        """Where the next watch begins; empty if the next step is a list."""

    def add_handler(self, handler: Handler) -> None:
        """Tell `handler` of each change from now on, and of what is cached already, as ADDED."""
        self._handlers.append(handler)
        for cached in self.cache:
            self._call(handler, "ADDED", None, cached)

    def silence(self) -> float:
        """Return how many seconds ago the API server was last heard of: a measure of the cache's age."""
        return self._clock() - self._heard

    async def run(self) -> None:
        """Follow the resource until cancelled."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except errors.KubeError as error:
                await self._recover(error)

    async def _recover(self, error: errors.KubeError) -> None:
        if not isinstance(error, errors.Unreachable | errors.TooManyRequests):
            # A broken connection can go on from where it broke. All else (410, silence, an unreadable
            # event, a kind that was deleted) leaves doubt about what was missed: list again.
            self._version = ""
        delay = max(self._backoff.next(), error.retry_after or 0.0)
        # What an operator has to change is a warning; what heals by itself is not.
        level = logging.WARNING if isinstance(error, errors.Refused | errors.NotFound) else logging.INFO
        logger.log(level, "%s: %s; again in %.1f s", self.resource.plural, error, delay)
        await self._sleep(delay)

    async def _list(self) -> None:
        """Make the cache equal to a list."""
        started = self._clock()
        seen: set[Key] = set()
        version = ""
        pages = self._client.pages(
            self.resource, self.namespace, limit=self._settings.page_size, **self._selectors
        )
        async with aclosing(pages):
            async for page in pages:
                version = page.resource_version
                for number, obj in enumerate(page.items):
                    seen.add(self._put(obj))
                    await _give_way(number)
        # Only a complete list proves that something is gone.
        for cached in self.cache:
            if cached.key not in seen:
                self._remove(cached.key)
        self._version = version
        self._heard = self._clock()
        self.synced.set()
        if self._observer:
            self._observer.listed(self.resource.plural, self._clock() - started)
            self._observer.cached(self.resource.plural, len(self.cache))

    async def _watch(self) -> None:
        """Follow the changes since the list, or since the last watch, until the server ends this one."""
        started = self._clock()
        version = self._version
        watch = self._client.watch(
            self.resource,
            self.namespace,
            resource_version=version,
            timeout_seconds=self._settings.watch_seconds * self._rng.uniform(1, 2),
            inactivity_seconds=self._settings.inactivity_seconds,
            **self._selectors,
        )
        reason = "ended"
        try:
            async with aclosing(watch):
                taken = 0
                async for event in watch:
                    self._take(event)
                    taken += 1
                    await _give_way(taken)
        except errors.KubeError as error:
            reason = type(error).__name__
            raise
        finally:
            if self._observer:
                self._observer.watch_ended(self.resource.plural, reason)
            if self._clock() - started > self._settings.backoff_cap:
                self._backoff.reset()
        if self._version == version and self._clock() - started < 1.0:
            # A server or proxy that ends each watch at once must not be asked in a tight loop.
            await self._sleep(self._backoff.next())

    def _take(self, event: WatchEvent) -> None:
        metadata = event.object["metadata"]
        version = metadata["resourceVersion"]
        if event.type in {"ADDED", "MODIFIED"}:
            self._put(event.object)
        elif event.type == "DELETED":
            self._remove(Key(metadata.get("namespace") or "", metadata["name"]))
        self._version = version
        self._heard = self._clock()
        self._backoff.reset()
        if self._observer:
            self._observer.cached(self.resource.plural, len(self.cache))

    def _put(self, obj: dict[str, Any]) -> Key:
        old, new = self.cache.put(obj)
        if old is None:
            self._tell("ADDED", None, new)
        elif old.uid != new.uid:
            # Deleted and made anew while nobody watched: whoever knew the old one has to let go of it.
            self._tell("DELETED", old, None)
            self._tell("ADDED", None, new)
        elif old.resource_version != new.resource_version:
            self._tell("MODIFIED", old, new)
        return new.key

    def _remove(self, key: Key) -> None:
        old = self.cache.remove(key)
        if old is not None:
            self._tell("DELETED", old, None)

    def _tell(self, change: Change, old: Cached | None, new: Cached | None) -> None:
        for handler in self._handlers:
            self._call(handler, change, old, new)

    def _call(self, handler: Handler, change: Change, old: Cached | None, new: Cached | None) -> None:
        try:
            handler(change, old, new)
        except Exception:
            # One object that a handler cannot take must not blind all the others.
            about = new or old
            key = about.key if about else None
            logger.exception("a handler of %s failed on %s of %s", self.resource.plural, change, key)
