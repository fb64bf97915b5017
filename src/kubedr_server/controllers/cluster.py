"""What the controllers know of the cluster: one informer for each resource, shared by all of them.

A cache may be behind what this process itself has written. `fresh` notices that, and then
asks the API server, so that nothing is decided on a state that we have already left.

What this process itself has written also comes back as a change. `on_changes` leaves that out where it says
nothing new, which is half of all work when many objects are made at once.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from kubedr_server.api.conditions import ConditionType
from kubedr_server.contract import Env
from kubedr_server.controllers import jobs
from kubedr_server.kube import errors
from kubedr_server.kube.cache import Cached, Indexer, Key, by_owner_uid
from kubedr_server.kube.client import Client
from kubedr_server.kube.informer import Change, Handler, Informer, InformerObserver
from kubedr_server.kube.resources import (
    BACKUP_LOCATIONS,
    CRONJOBS,
    JOBS,
    METADATA_BACKUP_POLICIES,
    METADATA_BACKUP_RECORDS,
    METADATA_RESTORES,
    PODS,
    SECRETS,
    Resource,
)
from kubedr_server.manifests.labels import selector

OWNER: Final = "owner"
DESTINATION: Final = "destination"
SECRET: Final = "secret"
POLICY: Final = "policy"
RECORD: Final = "record"
UNFINISHED: Final = "unfinished"
"""Restores that have not ended, by namespace."""

DELETING: Final = "deleting"
"""Records that are being deleted, by their location's name."""

REPOSITORY: Final = "repository"
"""Jobs that have not ended, by the repository that they work with."""

GONE: Final = "gone"
"""Records whose snapshot is gone, by their location."""


def scoped(namespace: str, name: str) -> str:
    """Return a name with its namespace, as the value of an index."""
    return f"{namespace}/{name}"


def _spec_index(*fields: str) -> Indexer:
    """Index by the names that fields of the spec hold."""

    def indexer(obj: dict[str, Any]) -> Iterable[str]:
        spec, namespace = obj.get("spec") or {}, obj["metadata"].get("namespace", "")
        return [scoped(namespace, spec[name]) for name in fields if spec.get(name)]

    return indexer


def _unfinished(obj: dict[str, Any]) -> Iterable[str]:
    return () if (obj.get("status") or {}).get("restoreStatus") else (obj["metadata"].get("namespace", ""),)


def _deleting(obj: dict[str, Any]) -> Iterable[str]:
    return (obj["metadata"].get("namespace", ""),) if obj["metadata"].get("deletionTimestamp") else ()


def _repository(job: dict[str, Any]) -> Iterable[str]:
    name = jobs.setting(job, Env.REPOSITORY) if jobs.ended(job) is None else None
    return (name,) if name else ()


def is_gone(record: Mapping[str, Any]) -> bool:
    """Whether a record says that its snapshot is gone."""
    return any(
        known.get("type") == ConditionType.SNAPSHOT_AVAILABLE.value and known.get("status") == "False"
        for known in (record.get("status") or {}).get("conditions") or ()
    )


def _gone(record: dict[str, Any]) -> Iterable[str]:
    return _spec_index("backuploc")(record) if is_gone(record) else ()


_INDEXERS: Final[Mapping[Resource, Mapping[str, Indexer]]] = {
    BACKUP_LOCATIONS: {SECRET: _spec_index("credentials", "caSecret")},
    METADATA_BACKUP_POLICIES: {DESTINATION: _spec_index("destination")},
    METADATA_BACKUP_RECORDS: {POLICY: _spec_index("policy"), DELETING: _deleting, GONE: _gone},
    METADATA_RESTORES: {RECORD: _spec_index("mbrName"), UNFINISHED: _unfinished},
    JOBS: {OWNER: by_owner_uid, REPOSITORY: _repository},
    PODS: {OWNER: by_owner_uid},
    CRONJOBS: {},
    SECRETS: {},
}
_OURS: Final = frozenset({JOBS, PODS, CRONJOBS})
"""Resources of which only the objects with our label are followed."""

_OF_ONE_WRITER: Final = frozenset({METADATA_BACKUP_POLICIES, CRONJOBS})
"""Resources whose changes call for the policies' reconciler only. What it writes of them follows from all
that it has seen: it has nothing to learn from seeing that again."""


def _is_all_seen(answer: Mapping[str, Any]) -> bool:
    """Whether a status was written that is of the spec in the same version.

    Else somebody has changed the spec just before. A watch tells of that version, too; a relist does not.
    """
    observed = (answer.get("status") or {}).get("observedGeneration")
    return observed is None or observed == answer["metadata"].get("generation")


class Cluster:
    """The informers, and reads that are never older than our own writes."""

    def __init__(
        self,
        client: Client,
        namespace: str | None,
        *,
        rng: random.Random,
        observer: InformerObserver | None = None,
    ) -> None:
        self.client = client
        self.informers: dict[Resource, Informer] = {
            resource: Informer(
                client,
                resource,
                namespace,
                label_selector=selector() if resource in _OURS else None,
                metadata_only=resource is SECRETS,
                indexers=indexers,
                observer=observer,
                rng=rng,
            )
            for resource, indexers in _INDEXERS.items()
        }
        self._written: dict[tuple[Resource, Key], str] = {}
        """The versions that we wrote and the caches do not have yet."""

        self._echoes: dict[tuple[Resource, Key], str] = {}
        """The versions that we wrote and that have not come back as a change yet."""

        self._held: dict[tuple[Resource, Key], list[Callable[[], None]]] = {}
        """What was heard of objects while a write to them is on its way."""

        for resource, informer in self.informers.items():
            informer.add_handler(self._catch_up(resource))

    def on_changes(self, resource: Resource, handler: Handler) -> None:
        """Tell `handler` of each change of a resource, but for what comes of a `writing`."""

        def handle(change: Change, old: Cached | None, new: Cached | None) -> None:
            if new is not None:
                name = (resource, new.key)
                if name in self._held:
                    self._held[name].append(partial(handle, change, old, new))
                    return
                if self._echoes.get(name) == new.resource_version:
                    del self._echoes[name]
                    return
            elif old is not None:
                self._echoes.pop((resource, old.key), None)
            handler(change, old, new)

        self.informers[resource].add_handler(handle)

    @contextmanager
    def writing(self, resource: Resource, key: Key) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        """Yield what takes the answer to a write, as `wrote` does.

        The change that comes of it is not told of where that says nothing new. It may come before the
        answer, so what is heard of the object meanwhile waits for the answer, and is told if it was
        something else.
        """
        if resource not in _OF_ONE_WRITER:
            yield partial(self.wrote, resource)
            return

        def answered(obj: Mapping[str, Any]) -> None:
            self.wrote(resource, obj)
            if _is_all_seen(obj):
                self._echoes[resource, key] = obj["metadata"].get("resourceVersion", "")

        held = self._held.setdefault((resource, key), [])
        try:
            yield answered
        finally:
            self._held.pop((resource, key), None)
            for tell in held:
                tell()

    def by(self, resource: Resource, index: str, value: str) -> list[dict[str, Any]]:
        """Return copies of the cached objects that an index finds."""
        return self.informers[resource].cache.by(index, value)

    def keys_by(self, resource: Resource, index: str, value: str) -> frozenset[Key]:
        """Return the keys of the cached objects that an index finds."""
        return self.informers[resource].cache.keys_by(index, value)

    def cached(self, resource: Resource, key: Key) -> dict[str, Any] | None:
        """Return a copy of a cached object, or None."""
        return self.informers[resource].cache.get(key.namespace, key.name)

    async def fresh(self, resource: Resource, key: Key) -> dict[str, Any] | None:
        """Return an object, at least as new as what this process last wrote of it; None if there is none."""
        written = self._written.get((resource, key))
        known = self.informers[resource].cache.entry(key)
        if written is None or (known is not None and known.resource_version == written):
            self._written.pop((resource, key), None)
            return known.decode() if known else None
        found = await self.live(resource, key)
        if found is None:
            self._written.pop((resource, key), None)
        else:
            self.wrote(resource, found)
        return found

    async def live(self, resource: Resource, key: Key) -> dict[str, Any] | None:
        """Return an object from the API server, or None if there is none."""
        try:
            return await self.client.get(resource, key.namespace or None, key.name)
        except errors.NotFound:
            return None

    def wrote(self, resource: Resource, obj: Mapping[str, Any]) -> None:
        """Note the answer to a write: until the cache has this version or a newer one, it is behind."""
        metadata = obj["metadata"]
        version, key = metadata.get("resourceVersion"), Key(metadata.get("namespace") or "", metadata["name"])
        if not version or resource not in self.informers:
            return
        # The watch may have been faster than the answer.
        known = self.informers[resource].cache.entry(key)
        if known is None or known.resource_version != version:
            self._written[resource, key] = version

    def _catch_up(self, resource: Resource) -> Handler:
        """Return what lets go of a write once the cache has it, or the object is gone."""

        def handle(_change: Change, old: Cached | None, new: Cached | None) -> None:
            cached = new or old
            if cached is None:
                return
            written = self._written.get((resource, cached.key))
            if written is not None and (new is None or new.resource_version == written):
                del self._written[resource, cached.key]

        return handle
