"""What runs beside the requests: first namespaces, CRDs, owners, the end of namespaces, old events."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from types import TracebackType

from kubedr_server.local.api.context import Call, Engine
from kubedr_server.local.api.crds import CRDS, CRDController
from kubedr_server.local.api.database import Key
from kubedr_server.local.api.deleting import DeleteOptions, Deleter
from kubedr_server.local.api.errors import APIError
from kubedr_server.local.api.garbage import GarbageCollector
from kubedr_server.local.api.paths import Target
from kubedr_server.local.api.storage import Change, StaleError, Subscription
from kubedr_server.local.api.writing import Writer

_log = logging.getLogger(__name__)

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
EVENT_TTL = timedelta(hours=1)
SWEEP_SECONDS = 60.0


class Background:
    """Starts and ends the tasks that keep the stored objects in order."""

    def __init__(self, engine: Engine, writer: Writer, deleter: Deleter) -> None:
        self._engine = engine
        self._writer = writer
        self._deleter = deleter
        self._crds = CRDController(engine, deleter)
        self._garbage = GarbageCollector(engine, deleter)
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> "Background":
        await self._create_namespaces()
        await self._crds.start()
        async with contextlib.AsyncExitStack() as stack:
            for name, handle in (("crds", self._on_crd), ("garbage", self._garbage.handle),
                                 ("namespaces", self._on_namespaced)):  # fmt: skip
                changes = await stack.enter_async_context(self._engine.store.subscribe(None))
                self._spawn(stack, name, self._follow(changes, handle))
            self._spawn(stack, "events", self._expire_events())
            await self._garbage.start()
            for entry in self._engine.store.list("namespaces"):
                await self._end_namespace(entry.key.name)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def _spawn(self, stack: contextlib.AsyncExitStack, name: str, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        task = asyncio.create_task(run(), name=f"kubedr-api-{name}")

        async def stop() -> None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        stack.push_async_callback(stop)

    async def _follow(self, changes: Subscription, handle: Callable[[Change], Awaitable[None]]) -> None:
        while (change := await changes.next()) is not None:
            try:
                await handle(change)
            except Exception:  # noqa: BLE001 - one object's trouble must not end the care for all others
                _log.exception("after a change of %s", change.entry.key)

    async def _create_namespaces(self) -> None:
        resource = self._engine.registry.find("", "v1", "namespaces")
        if resource is None:
            raise LookupError("namespaces are not registered")
        for name in NAMESPACES:
            if self._engine.store.get(Key("namespaces", "", name)) is None:
                namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
                await self._writer.create(Call(Target(resource)), namespace)

    async def _on_crd(self, change: Change) -> None:
        key = change.entry.key
        if key.resource == CRDS:
            await self._crds.sync(key)
        elif change.type == "DELETED":
            definition = Key(CRDS, "", key.resource)
            entry = self._engine.store.get(definition)
            if entry is not None and entry.object["metadata"].get("deletionTimestamp"):
                await self._crds.sync(definition)

    async def _on_namespaced(self, change: Change) -> None:
        key = change.entry.key
        if key.resource == "namespaces":
            await self._end_namespace(key.name)
        elif key.namespace and change.type == "DELETED":
            await self._end_namespace(key.namespace)

    async def _end_namespace(self, name: str) -> None:
        """Delete what is in a namespace that is being deleted, then let it go."""
        store, registry = self._engine.store, self._engine.registry
        key = Key("namespaces", "", name)
        entry = store.get(key)
        if entry is None or not entry.object["metadata"].get("deletionTimestamp"):
            return
        resources = {q: r for q, r in registry.served().items() if r.namespaced}
        for qualified, resource in resources.items():
            for item in store.list(qualified, name):
                if not item.object["metadata"].get("deletionTimestamp"):
                    target = Target(resource, name, item.key.name)
                    with contextlib.suppress(APIError):
                        await self._deleter.delete(Call(target), DeleteOptions(propagation="Background"))
        if any(store.list(qualified, name) for qualified in resources):
            return  # what waits for its finalizers brings another call when it goes
        entry = store.get(key)
        if entry is None:
            return
        obj = entry.copy()
        obj["spec"] = {}
        try:
            if obj["metadata"].get("finalizers"):
                if obj != entry.object:
                    await store.update(entry, obj)
            else:
                await store.delete(entry, obj)
        except StaleError:
            await self._end_namespace(name)

    async def _expire_events(self) -> None:
        while True:
            limit = self._engine.clock() - EVENT_TTL
            for entry in self._engine.store.list("events"):
                if _last_seen(entry.object) < limit:
                    with contextlib.suppress(StaleError):
                        await self._engine.store.delete(entry, entry.copy())
            await asyncio.sleep(SWEEP_SECONDS)


def _last_seen(event: dict[str, object]) -> datetime:
    meta, series = event["metadata"], event.get("series")
    times = [event.get("lastTimestamp"), event.get("eventTime")]
    times += [series.get("lastObservedTime")] if isinstance(series, dict) else []
    times += [meta.get("creationTimestamp")] if isinstance(meta, dict) else []
    return max(datetime.fromisoformat(str(moment)) for moment in times if moment)
