"""Deletion: preconditions, grace, finalizers, and what is left to the garbage collector."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from kubedr_server.local.api import errors
from kubedr_server.local.api.admission import Admission
from kubedr_server.local.api.context import Call, Engine, Object, timestamp
from kubedr_server.local.api.database import Key
from kubedr_server.local.api.protobuf import ProtobufDecoder
from kubedr_server.local.api.resources import ResourceType
from kubedr_server.local.api.storage import Entry, StaleError

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
CRD_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
_IMMORTAL_NAMESPACES = ("default", "kube-system", "kube-public")
_RETRIES = 8


@dataclass(frozen=True)
class DeleteOptions:
    """metav1.DeleteOptions, from the body or from the query."""

    propagation: str = ""
    grace: int | None = None
    uid: str = ""
    revision: str = ""
    dry_run: bool = False
    given: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, query: Mapping[str, str], body: bytes) -> "DeleteOptions":
        """Read them. Raises APIError(400)."""
        try:
            given = ProtobufDecoder().decode(body) if body.startswith(b"k8s") else json.loads(body or b"{}")
        except ValueError as error:
            raise errors.bad_request(f"error decoding DeleteOptions: {error}") from None
        if not isinstance(given, dict):
            raise errors.bad_request("error decoding DeleteOptions: not an object")
        orphan = given.get("orphanDependents", query.get("orphanDependents"))
        propagation = given.get("propagationPolicy") or query.get("propagationPolicy") or ""
        if not propagation and orphan is not None:
            propagation = "Orphan" if str(orphan).lower() == "true" else "Background"
        if propagation not in ("", "Background", "Foreground", "Orphan"):
            choices = ["Foreground", "Background", "Orphan", "nil"]
            mistake = errors.unsupported("propagationPolicy", propagation, choices)
            raise errors.options_invalid("DeleteOptions", mistake)
        grace = given.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
        preconditions = given.get("preconditions") or {}
        dry_run = given.get("dryRun") or ([query["dryRun"]] if query.get("dryRun") else [])
        return cls(
            propagation=propagation,
            grace=None if grace is None else int(grace),
            uid=str(preconditions.get("uid") or ""),
            revision=str(preconditions.get("resourceVersion") or ""),
            dry_run="All" in dry_run,
            given=given,
        )


def finish_if_done(resource: ResourceType, obj: Object) -> bool:
    """Whether an update leaves an object that only waited for its finalizers."""
    meta = obj["metadata"]
    if not meta.get("deletionTimestamp") or meta.get("finalizers"):
        return False
    if resource.qualified == "namespaces" and (obj.get("spec") or {}).get("finalizers"):
        return False
    return int(meta.get("deletionGracePeriodSeconds") or 0) == 0


class Deleter:
    """Handles DELETE of one object and of a collection."""

    def __init__(self, engine: Engine, admission: Admission) -> None:
        self._engine = engine
        self._admission = admission

    async def delete(self, call: Call, options: DeleteOptions) -> tuple[Object, bool]:
        """Delete or begin to delete; return the last or present state, and whether it is gone."""
        resource, name = call.target.resource, call.target.name
        key = Key(resource.qualified, call.target.namespace, name)
        for _ in range(_RETRIES):
            entry = self._engine.store.get(key)
            if entry is None:
                raise errors.not_found(resource, name)
            self._check(resource, entry, options)
            if resource.qualified == "namespaces" and name in _IMMORTAL_NAMESPACES:
                raise errors.is_forbidden(resource, name, "this namespace may not be deleted")
            await self._admission.validate(call, "DELETE", None, entry.copy(), dict(options.given))
            try:
                return await self._delete(call, entry, options)
            except StaleError:
                continue
        raise errors.conflict(resource, name)

    def _check(self, resource: ResourceType, entry: Entry, options: DeleteOptions) -> None:
        uid = entry.object["metadata"]["uid"]
        if options.uid and options.uid != uid:
            raise self._unmet(
                resource,
                entry,
                f"UID in the precondition ({options.uid})",
                f"UID in record ({uid})",
                "deleted and then recreated",
            )
        if options.revision and options.revision != str(entry.revision):
            raise self._unmet(
                resource,
                entry,
                f"ResourceVersion in the precondition ({options.revision})",
                f"ResourceVersion in record ({entry.revision})",
                "modified",
            )

    def _unmet(
        self, resource: ResourceType, entry: Entry, asked: str, stored: str, maybe: str
    ) -> errors.APIError:
        """Return the 409 of a precondition; here the real server names the kind, not the resource."""
        name, kind = entry.key.name, resource.kind + (f".{resource.group}" if resource.group else "")
        message = (
            f'Operation cannot be fulfilled on {kind} "{name}": the {asked} does not match the {stored}. '
            f"The object might have been {maybe}"
        )
        details = {"name": name, "group": resource.group, "kind": resource.kind}
        return errors.APIError(409, "Conflict", message, {k: v for k, v in details.items() if v})

    async def _delete(self, call: Call, entry: Entry, options: DeleteOptions) -> tuple[Object, bool]:
        resource, store = call.target.resource, self._engine.store
        obj = entry.copy()
        meta = obj["metadata"]
        self._add_propagation_finalizer(call, meta, options)
        if resource.qualified == "customresourcedefinitions.apiextensions.k8s.io":
            meta["finalizers"] = [*dict.fromkeys([*(meta.get("finalizers") or []), CRD_FINALIZER])]
        grace = self._grace(resource, obj, options)
        pending = bool(meta.get("finalizers")) or grace > 0
        if resource.qualified == "namespaces":
            pending = True
            obj.setdefault("status", {})["phase"] = "Terminating"
        if not pending:
            return (obj if options.dry_run else (await store.delete(entry, obj)).copy()), True
        before = meta.get("deletionGracePeriodSeconds")
        if meta.get("deletionTimestamp"):
            grace = min(grace, int(before or 0))
        else:
            meta["deletionTimestamp"] = timestamp(self._engine.clock() + timedelta(seconds=grace))
            if resource.has_generation:
                meta["generation"] = int(meta.get("generation", 0)) + 1
        meta["deletionGracePeriodSeconds"] = grace
        if resource.qualified == "namespaces":
            meta.pop("deletionGracePeriodSeconds")
        if options.dry_run or obj == entry.object:
            return obj, False
        return (await store.update(entry, obj)).copy(), False

    def _add_propagation_finalizer(self, call: Call, meta: Object, options: DeleteOptions) -> None:
        propagation = options.propagation
        if not propagation and call.target.resource.qualified == "jobs.batch":
            propagation = "Orphan"
            call.warn(
                "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background "
                "to remove them or set propagationPolicy=Orphan to suppress this warning"
            )
        wanted = {"Foreground": FOREGROUND, "Orphan": ORPHAN}.get(propagation)
        finalizers = [item for item in meta.get("finalizers") or [] if item not in (FOREGROUND, ORPHAN)]
        if not propagation:
            finalizers = list(meta.get("finalizers") or [])
        elif wanted:
            finalizers.append(wanted)
        if finalizers:
            meta["finalizers"] = finalizers
        else:
            meta.pop("finalizers", None)

    def _grace(self, resource: ResourceType, obj: Object, options: DeleteOptions) -> int:
        """Return how long the object may end: only a pod that was given to a node gets time."""
        if resource.qualified != "pods":
            return 0
        spec, phase = obj.get("spec") or {}, (obj.get("status") or {}).get("phase")
        if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
            return 0
        if options.grace is not None:
            return max(0, options.grace)
        return int(spec.get("terminationGracePeriodSeconds", 30))
