"""The loop that the executor's controllers share: informers put keys into a queue, one worker takes them.

Informers only say where to look. What a reconcile decides upon it reads from the API itself, so that
it never acts twice on a cache that lags behind its own writes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from kubedr_server.kube.cache import Cached, Key
from kubedr_server.kube.client import Client
from kubedr_server.kube.errors import KubeError, Outdated, Transient
from kubedr_server.kube.informer import Change, Informer
from kubedr_server.kube.resources import Resource
from kubedr_server.kube.workqueue import WorkQueue

logger = logging.getLogger(__name__)

Reconcile = Callable[[Key], Awaitable[timedelta | None]]
"""Makes one object so, and returns after how long to look again without a change."""

Keys = Callable[[Cached], list[Key]]
"""Returns which objects are to be looked at when this one changes."""

MAX_RETRY_SECONDS = 30.0


class Loop:
    """One controller: `follow` the resources it depends on, then `run`."""

    def __init__(self, name: str, reconcile: Reconcile) -> None:
        self._name = name
        self._reconcile = reconcile
        self._queue: WorkQueue[Key] = WorkQueue(base_delay=0.1, max_delay=MAX_RETRY_SECONDS)

    def follow(self, informer: Informer, keys: Keys) -> None:
        """Look at `keys(object)` whenever an object of the informer changes."""

        def changed(_: Change, before: Cached | None, after: Cached | None) -> None:
            for cached in (before, after):
                if cached is not None:
                    for key in keys(cached):
                        self._queue.add(key)

        informer.add_handler(changed)

    def requeue(self, key: Key, delay: float) -> None:
        """Look at an object again after `delay` seconds."""
        self._queue.add_after(key, delay)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                await self._work(await self._queue.get())
        finally:
            self._queue.shutdown()

    async def _work(self, key: Key) -> None:
        try:
            again = await self._reconcile(key)
        except (Outdated, Transient) as error:
            logger.debug("%s %s: %s; trying again", self._name, key, error)
            self._queue.add_rate_limited(key)
        except KubeError as error:
            logger.warning("%s %s: %s; trying again", self._name, key, error)
            self._queue.add_rate_limited(key)
        except Exception:
            # One object that cannot be handled must not stop the others.
            logger.exception("%s %s failed; trying again", self._name, key)
            self._queue.add_rate_limited(key)
        else:
            self._queue.forget(key)
            if again is not None:
                self._queue.add_after(key, max(again.total_seconds(), 0.01))
        finally:
            self._queue.done(key)


def own_key(cached: Cached) -> list[Key]:
    """Look at the object that changed."""
    return [cached.key]


def controller_key(kind: str) -> Keys:
    """Look at the object's controller, if it is of this kind."""

    def keys(cached: Cached) -> list[Key]:
        for reference in cached.decode()["metadata"].get("ownerReferences") or []:
            if reference.get("controller") and reference["kind"] == kind:
                return [Key(cached.namespace, reference["name"])]
        return []

    return keys


class Informers:
    """One informer for each resource, however many controllers follow it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._informers: dict[Resource, Informer] = {}

    def of(self, resource: Resource) -> Informer:
        """Return the informer of a resource; it runs once `run` is called."""
        if resource not in self._informers:
            self._informers[resource] = Informer(self._client, resource)
        return self._informers[resource]

    async def run(self) -> None:
        """Run all informers until cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in self._informers.values():
                group.create_task(informer.run(), name=f"inform {informer.resource.plural}")
