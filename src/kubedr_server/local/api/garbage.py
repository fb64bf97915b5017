"""Ownership: dependents go when their owners are gone; foreground and orphaning deletions are finished."""

from typing import Any

from kubedr_server.local.api.context import Call, Engine
from kubedr_server.local.api.database import Key
from kubedr_server.local.api.deleting import FOREGROUND, ORPHAN, DeleteOptions, Deleter
from kubedr_server.local.api.errors import APIError
from kubedr_server.local.api.paths import Target
from kubedr_server.local.api.storage import Change, Entry, StaleError


class GarbageCollector:
    """Knows who owns whom, and acts when an owner goes."""

    def __init__(self, engine: Engine, deleter: Deleter) -> None:
        self._engine = engine
        self._deleter = deleter
        self._owners: dict[str, Key] = {}
        self._dependents: dict[str, set[Key]] = {}

    async def start(self) -> None:
        """Learn the stored objects, and collect what lost its owner while nothing ran."""
        for entry in self._engine.store.everything():
            self._learn(entry)
        for keys in list(self._dependents.values()):
            for key in list(keys):
                await self._check(key)

    def _learn(self, entry: Entry) -> None:
        meta = entry.object["metadata"]
        self._owners[meta["uid"]] = entry.key
        for owner in meta.get("ownerReferences") or []:
            self._dependents.setdefault(str(owner.get("uid")), set()).add(entry.key)

    async def handle(self, change: Change) -> None:
        """Take note of a change and act on it."""
        meta = change.entry.object["metadata"]
        uid, key = meta["uid"], change.entry.key
        for owner in meta.get("ownerReferences") or []:
            if change.type == "DELETED":
                self._dependents.get(str(owner.get("uid")), set()).discard(key)
                await self._finish_foreground(self._owners.get(str(owner.get("uid"))))
        if change.type == "DELETED":
            self._owners.pop(uid, None)
            for dependent in list(self._dependents.pop(uid, ())):
                await self._check(dependent)
            return
        self._learn(change.entry)
        if meta.get("deletionTimestamp"):
            await self._finish(key)
        elif meta.get("ownerReferences"):
            await self._check(key)

    def _exists(self, dependent: Entry, owner: dict[str, Any]) -> bool:
        """Whether an owner is there; one of a kind that is not served is given the benefit of the doubt."""
        resource = self._engine.registry.find_kind(str(owner.get("apiVersion")), str(owner.get("kind")))
        if resource is None:
            return True
        namespace = dependent.key.namespace if resource.namespaced else ""
        entry = self._engine.store.get(Key(resource.qualified, namespace, str(owner.get("name"))))
        return entry is not None and entry.object["metadata"]["uid"] == owner.get("uid")

    async def _check(self, key: Key) -> None:
        """Delete an object all of whose owners are gone; drop the references to those that are."""
        entry = self._engine.store.get(key)
        if entry is None or entry.object["metadata"].get("deletionTimestamp"):
            return
        owners = entry.object["metadata"].get("ownerReferences") or []
        present = [owner for owner in owners if self._exists(entry, owner)]
        if not owners or len(present) == len(owners):
            return
        if present:
            await self._set_owners(entry, present)
        else:
            await self._delete(entry)

    async def _set_owners(self, entry: Entry, owners: list[Any]) -> None:
        obj = entry.copy()
        obj["metadata"]["ownerReferences"] = owners
        if not owners:
            del obj["metadata"]["ownerReferences"]
        try:
            await self._engine.store.update(entry, obj)
        except StaleError:
            return  # the newer state is handled as its own change

    async def _delete(self, entry: Entry) -> None:
        resource = self._engine.registry.served().get(entry.key.resource)
        if resource is None:
            return
        options = DeleteOptions(propagation="Background", uid=entry.object["metadata"]["uid"])
        call = Call(Target(resource, entry.key.namespace, entry.key.name))
        try:
            await self._deleter.delete(call, options)
        except APIError:
            return  # gone or replaced meanwhile, or a webhook refuses: it stays

    async def _finish(self, key: Key) -> None:
        entry = self._engine.store.get(key)
        if entry is None:
            return
        finalizers = entry.object["metadata"].get("finalizers") or []
        uid = entry.object["metadata"]["uid"]
        if ORPHAN in finalizers:
            for dependent in self._entries(uid):
                owners = dependent.object["metadata"].get("ownerReferences") or []
                await self._set_owners(dependent, [each for each in owners if each.get("uid") != uid])
            await self._drop_finalizer(key, ORPHAN)
        elif FOREGROUND in finalizers:
            for dependent in self._entries(uid):
                if not dependent.object["metadata"].get("deletionTimestamp"):
                    await self._delete(dependent)
            await self._finish_foreground(key)

    def _entries(self, uid: str) -> list[Entry]:
        found = (self._engine.store.get(key) for key in list(self._dependents.get(uid, ())))
        return [entry for entry in found if entry is not None]

    async def _finish_foreground(self, key: Key | None) -> None:
        entry = self._engine.store.get(key) if key is not None else None
        if entry is None or FOREGROUND not in (entry.object["metadata"].get("finalizers") or []):
            return
        uid = entry.object["metadata"]["uid"]
        blocking = [
            owner
            for dependent in self._entries(uid)
            for owner in dependent.object["metadata"].get("ownerReferences") or []
            if owner.get("uid") == uid and owner.get("blockOwnerDeletion")
        ]
        if not blocking:
            await self._drop_finalizer(entry.key, FOREGROUND)

    async def _drop_finalizer(self, key: Key, name: str) -> None:
        entry = self._engine.store.get(key)
        if entry is None:
            return
        obj = entry.copy()
        left = [item for item in obj["metadata"].get("finalizers") or [] if item != name]
        obj["metadata"]["finalizers"] = left
        try:
            if left:
                await self._engine.store.update(entry, obj)
            else:
                del obj["metadata"]["finalizers"]
                await self._engine.store.delete(entry, obj)
        except StaleError:
            await self._drop_finalizer(key, name)
