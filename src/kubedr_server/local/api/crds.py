"""From CustomResourceDefinitions to served resources: names accepted, established, and cleaned up after."""

import copy
import re
from collections.abc import Mapping
from typing import Any

from kubedr_server.local.api.cel_rules import has_rules
from kubedr_server.local.api.context import Call, Engine, Object, timestamp
from kubedr_server.local.api.database import Key
from kubedr_server.local.api.deleting import CRD_FINALIZER, DeleteOptions, Deleter
from kubedr_server.local.api.errors import APIError
from kubedr_server.local.api.paths import Target
from kubedr_server.local.api.resources import ResourceType
from kubedr_server.local.api.schemas import Definitions, Schema
from kubedr_server.local.api.storage import Entry, StaleError

CRDS = "customresourcedefinitions.apiextensions.k8s.io"
_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")


def version_rank(name: str) -> tuple[int, ...]:
    """Order versions as discovery does: v2, v1, v1beta1, v1alpha1, then the others."""
    found = _VERSION.fullmatch(name)
    if found is None:
        return (1, 0, 0, 0)
    major, stage, minor = found.groups()
    return (0, {None: 0, "beta": 1, "alpha": 2}[stage], -int(major), -int(minor or 0))


_SOME_KIND = "io.k8s.api.batch.v1.Job"


def _complete(schema: Schema, definitions: Definitions) -> Schema:
    """Add to a custom resource's schema what every object has, described as for built-in kinds."""
    complete = copy.deepcopy(schema)
    common = definitions.get(_SOME_KIND)["properties"]
    own = complete.setdefault("properties", {})
    own |= {name: common[name] for name in ("apiVersion", "kind", "metadata")}
    return complete


def resource_types(crd: Mapping[str, Any], definitions: Definitions) -> tuple[ResourceType, ...]:
    """Return the resource types of a CRD's served versions, preferred first."""
    spec = crd["spec"]
    names = spec["names"]
    versions = sorted(spec["versions"], key=lambda version: version_rank(version["name"]))
    return tuple(
        ResourceType(
            group=spec["group"],
            version=version["name"],
            plural=names["plural"],
            kind=names["kind"],
            namespaced=spec["scope"] == "Namespaced",
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            subresources=("status",) if "status" in (version.get("subresources") or {}) else (),
            singular=names.get("singular", ""),
            list_kind=names.get("listKind", ""),
            schema=_complete(version["schema"]["openAPIV3Schema"], definitions),
            columns=tuple(version.get("additionalPrinterColumns") or ()),
            selectable=tuple(field["jsonPath"] for field in version.get("selectableFields") or ()),
            unconditional_update=False,
            has_generation=True,
            has_rules=has_rules(version["schema"]["openAPIV3Schema"]),
        )
        for version in versions
        if version.get("served")
    )


class CRDController:
    """Keeps the registry and the CRDs' status in step with the stored CRDs."""

    def __init__(self, engine: Engine, deleter: Deleter) -> None:
        self._engine = engine
        self._deleter = deleter

    async def start(self) -> None:
        """Serve what was stored before the first request."""
        for entry in self._engine.store.list(CRDS):
            await self.sync(entry.key)

    async def sync(self, key: Key) -> None:
        """Bring one CRD into effect, or end it."""
        registry = self._engine.registry
        entry = self._engine.store.get(key)
        if entry is None:
            registry.set_custom(key.name, ())
            return
        crd = entry.object
        if not self._conflict(crd):
            registry.set_custom(key.name, resource_types(crd, self._engine.definitions))
        await self._write_status(entry)
        if crd["metadata"].get("deletionTimestamp"):
            await self._clean_up(key)

    def _conflict(self, crd: Mapping[str, Any]) -> str:
        """Return which name of a CRD another one of its group has already."""
        spec, own = crd["spec"], crd["metadata"]["name"]
        for entry in self._engine.store.list(CRDS):
            other = entry.object
            accepted = (other.get("status") or {}).get("acceptedNames") or {}
            if entry.key.name == own or other["spec"]["group"] != spec["group"]:
                continue
            for field in ("plural", "kind"):
                if accepted.get(field) == spec["names"].get(field):
                    return f'"{accepted[field]}" is already in use'
        return ""

    async def _write_status(self, entry: Entry) -> None:
        crd = entry.copy()
        status: Object = crd.setdefault("status", {})
        conflict = self._conflict(crd)
        names = {k: v for k, v in crd["spec"]["names"].items() if k != "categories" or v}
        now = timestamp(self._engine.clock())
        if conflict:
            wanted = [("NamesAccepted", "False", "KindConflict", conflict),
                      ("Established", "False", "NotAccepted", "not all names are accepted")]  # fmt: skip
        else:
            status["acceptedNames"] = names
            wanted = [("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
                      ("Established", "True", "InitialNamesAccepted",
                       "the initial names have been accepted")]  # fmt: skip
        stored = next(version["name"] for version in crd["spec"]["versions"] if version.get("storage"))
        if stored not in status.setdefault("storedVersions", []):
            status["storedVersions"].append(stored)
        before = {condition["type"]: condition for condition in status.get("conditions") or []}
        for type_, value, reason, message in wanted:
            if before.get(type_, {}).get("status") != value:
                before[type_] = {"lastTransitionTime": now, "message": message, "reason": reason,
                                 "status": value, "type": type_}  # fmt: skip
        status["conditions"] = list(before.values())
        if crd != entry.object:
            try:
                await self._engine.store.update(entry, crd)
            except StaleError:
                return  # the newer state brings its own call

    async def _clean_up(self, key: Key) -> None:
        """Delete the objects of a CRD that is being deleted, then let it go."""
        store = self._engine.store
        entry = store.get(key)
        types = resource_types(entry.object, self._engine.definitions) if entry else ()
        if entry is None or CRD_FINALIZER not in (entry.object["metadata"].get("finalizers") or []):
            return
        left = store.list(types[0].qualified) if types else []
        for item in left:
            if not item.object["metadata"].get("deletionTimestamp"):
                target = Target(types[0], item.key.namespace, item.key.name)
                try:
                    await self._deleter.delete(Call(target), DeleteOptions(propagation="Background"))
                except APIError:
                    continue
        if types and store.list(types[0].qualified):
            return  # something waits for its finalizers; its deletion brings another call
        crd = entry.copy()
        finalizers = [item for item in crd["metadata"]["finalizers"] if item != CRD_FINALIZER]
        crd["metadata"]["finalizers"] = finalizers
        try:
            if finalizers:
                await store.update(entry, crd)
            else:
                await store.delete(entry, crd)
        except StaleError:
            await self._clean_up(key)
