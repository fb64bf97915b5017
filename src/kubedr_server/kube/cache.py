"""What an informer knows of a resource, small enough for tens of thousands of objects.

An object as Python dictionaries takes five to ten times the memory of its JSON. So the cache keeps
JSON bytes and the few fields that are asked for without reading an object, and decodes on demand.
Each decoding is a new copy: nobody can change the cache by accident.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

Indexer = Callable[[dict[str, Any]], Iterable[str]]
"""Returns the values under which an object is to be found."""

_NO_LABELS: Final[Mapping[str, str]] = {}


class Key(NamedTuple):
    """Which object: what a work queue holds and a reconcile gets. `namespace` is empty for cluster scope."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Cached:
    """One object: its identity and labels at hand, the rest as JSON."""

    __slots__ = ("json", "key", "labels", "resource_version", "uid")

    def __init__(self, obj: dict[str, Any]) -> None:
        """Take what is needed from `obj`, which the caller gives up: its managedFields are dropped."""
        metadata = obj["metadata"]
        metadata.pop("managedFields", None)
        self.key = Key(sys.intern(metadata.get("namespace") or ""), metadata["name"])
        self.uid: str = metadata.get("uid", "")
        self.resource_version: str = metadata.get("resourceVersion", "")
        labels: dict[str, str] = metadata.get("labels") or {}
        self.labels: Mapping[str, str] = (
            {sys.intern(name): sys.intern(value) for name, value in labels.items()} if labels else _NO_LABELS
        )
        self.json = json.dumps(obj, ensure_ascii=False, separators=(",", ":")).encode()

    @property
    def namespace(self) -> str:
        """The object's namespace; empty for cluster scope."""
        return self.key.namespace

    @property
    def name(self) -> str:
        """The object's name."""
        return self.key.name

    def decode(self) -> dict[str, Any]:
        """Return a copy of the object, without managedFields."""
        obj: dict[str, Any] = json.loads(self.json)
        return obj


class Cache:
    """The objects of one resource by key and by index. Written by its informer only."""

    def __init__(self, indexers: Mapping[str, Indexer] | None = None) -> None:
        self._objects: dict[Key, Cached] = {}
        self._indexers = dict(indexers or {})
        self._indexes: dict[str, dict[str, set[Key]]] = {name: {} for name in self._indexers}
        self._values: dict[Key, tuple[tuple[str, str], ...]] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, key: Key) -> bool:
        return key in self._objects

    def __iter__(self) -> Iterator[Cached]:
        """Go over a copy, so that the loop may await."""
        return iter(list(self._objects.values()))

    def entry(self, key: Key) -> Cached | None:
        """Return what is cached under a key, not decoded."""
        return self._objects.get(key)

    def get(self, namespace: str | None, name: str) -> dict[str, Any] | None:
        """Return a copy of an object, or None."""
        found = self._objects.get(Key(namespace or "", name))
        return found.decode() if found else None

    def keys_by(self, index: str, value: str) -> frozenset[Key]:
        """Return the keys of the objects that `index` finds under `value`."""
        return frozenset(self._indexes[index].get(value, ()))

    def by(self, index: str, value: str) -> list[dict[str, Any]]:
        """Return copies of the objects that `index` finds under `value`."""
        return [self._objects[key].decode() for key in sorted(self._indexes[index].get(value, ()))]

    def list(
        self, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """Return copies of all objects, of one namespace, with all these labels."""
        wanted = (labels or {}).items()
        return [
            cached.decode()
            for cached in self._objects.values()
            if (namespace is None or cached.namespace == namespace)
            and all(cached.labels.get(name) == value for name, value in wanted)
        ]

    def put(self, obj: dict[str, Any]) -> tuple[Cached | None, Cached]:
        """Take in an object, and return what was there before and what is there now."""
        # Indexers see the object before it is given up to `Cached`.
        values = tuple(
            (name, sys.intern(str(value)))
            for name, indexer in self._indexers.items()
            for value in indexer(obj)
        )
        new = Cached(obj)
        old = self._objects.get(new.key)
        self._unindex(new.key)
        self._objects[new.key] = new
        if values:
            self._values[new.key] = values
            for name, value in values:
                self._indexes[name].setdefault(value, set()).add(new.key)
        return old, new

    def remove(self, key: Key) -> Cached | None:
        """Take an object out, and return it if it was there."""
        self._unindex(key)
        return self._objects.pop(key, None)

    def _unindex(self, key: Key) -> None:
        for name, value in self._values.pop(key, ()):
            keys = self._indexes[name].get(value)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self._indexes[name][value]


def by_label(label: str) -> Indexer:
    """Index by the value of a label."""

    def indexer(obj: dict[str, Any]) -> Iterable[str]:
        value = (obj["metadata"].get("labels") or {}).get(label)
        return () if value is None else (value,)

    return indexer


def by_owner_uid(obj: dict[str, Any]) -> Iterable[str]:
    """Index by the uids of all owners."""
    return [owner["uid"] for owner in obj["metadata"].get("ownerReferences") or () if owner.get("uid")]
