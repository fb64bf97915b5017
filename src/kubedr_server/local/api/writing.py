"""Create, update and patch: the walk from a request's body to the stored object.

Decode and prune, set what the server owns, default, mutating webhooks, validate, validating
webhooks, field ownership, store. An update that loses a race against another one is tried again
unless its sender named a resourceVersion.
"""

import copy
from collections.abc import Callable
from typing import Any

from kubedr_server.local.api import errors, metadata
from kubedr_server.local.api.admission import Admission
from kubedr_server.local.api.context import Call, Engine, Object, timestamp
from kubedr_server.local.api.database import Key
from kubedr_server.local.api.deleting import finish_if_done
from kubedr_server.local.api.fieldmanager import FieldManager
from kubedr_server.local.api.patching import Patcher
from kubedr_server.local.api.preparing import Preparer
from kubedr_server.local.api.storage import Entry, ExistsError, StaleError
from kubedr_server.local.api.validating import Validator

_RETRIES = 8
_NAME_TRIES = 8


class Writer:
    """Handles POST, PUT and PATCH of single objects."""

    def __init__(self, engine: Engine, admission: Admission) -> None:
        self._engine = engine
        self._admission = admission
        self._prepare = Preparer(engine)
        self._validator = Validator(engine)
        self._fields = FieldManager(engine)
        self._patcher = Patcher(engine, self._fields, self._prepare)

    async def create(self, call: Call, obj: Object) -> Object:
        """Store a new object and return it."""
        target, engine = call.target, self._engine
        resource = target.resource
        self._prepare.decode(call, obj)
        self._check_names(call, obj)
        given = obj["metadata"].get("name")
        if obj["metadata"].get("resourceVersion"):
            raise errors.APIError(500, "", "resourceVersion should not be set on objects to be created")
        self._check_namespace(call, str(given or obj["metadata"].get("generateName", "")))
        metadata.begin(obj, resource, target.namespace, timestamp(engine.clock()), engine.rng)
        if resource.custom and "status" in resource.subresources:
            obj.pop("status", None)
        self._prepare.default(resource, obj, None)
        metadata.tidy(obj)
        obj = await self._admission.mutate(call, "CREATE", obj, None, self._refresh(call, None))
        self._judge(call, obj, None)
        await self._admission.validate(call, "CREATE", obj, None)
        self._fields.track_update(call, obj, None)
        for _ in range(_NAME_TRIES):
            key = Key(resource.qualified, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
            try:
                if not call.options.dry_run:
                    return (await engine.store.create(key, obj)).copy()
                if engine.store.get(key) is None:
                    return obj
            except ExistsError:
                pass
            if given:
                raise errors.already_exists(resource, key.name)
            obj["metadata"]["name"] = metadata.generate_name(obj["metadata"]["generateName"], engine.rng)
        raise errors.already_exists(resource, obj["metadata"]["name"])

    async def replace(self, call: Call, obj: Object) -> Object:
        """Store another state of an object (PUT)."""
        self._prepare.decode(call, obj)
        self._check_names(call, obj)
        if self._engine.store.get(self._key(call)) is None:
            raise errors.not_found(call.target.resource, call.target.name)
        revision = obj["metadata"].get("resourceVersion")
        resource = call.target.resource
        if not revision and not resource.unconditional_update:
            error = errors.FieldError(
                "FieldValueInvalid",
                "metadata.resourceVersion",
                "Invalid value: 0: must be specified for an update",
            )
            raise errors.is_invalid(resource, call.target.name, [error])
        return await self._modify(call, lambda _: copy.deepcopy(obj), retry=not revision)

    async def patch(self, call: Call, content_type: str, body: bytes) -> tuple[Object, bool]:
        """Change an object as a patch says; return it, and whether an apply created it."""
        patch = self._patcher.parse(call, content_type, body)
        entry = self._engine.store.get(self._key(call))
        if entry is None and patch.creates and not call.target.subresource:
            return await self._create_applied(call, patch.body), True
        return await self._modify(call, patch.apply, tracked=patch.creates), False

    async def _create_applied(self, call: Call, config: Object) -> Object:
        target, engine = call.target, self._engine
        obj = self._fields.apply_new(call, config)
        managed = obj["metadata"].pop("managedFields")
        if config["metadata"].get("uid"):
            raise errors.conflict(
                target.resource,
                target.name,
                f"uid mismatch: the provided object specified uid {config['metadata']['uid']}, "
                "and no existing object was found",
            )
        self._check_namespace(call, target.name)
        metadata.begin(obj, target.resource, target.namespace, timestamp(engine.clock()), engine.rng)
        if target.resource.custom and "status" in target.resource.subresources:
            obj.pop("status", None)
        self._prepare.default(target.resource, obj, None)
        metadata.tidy(obj)
        obj = await self._admission.mutate(call, "CREATE", obj, None, self._refresh(call, None))
        self._judge(call, obj, None)
        await self._admission.validate(call, "CREATE", obj, None)
        obj["metadata"]["managedFields"] = managed
        if call.options.dry_run:
            return obj
        try:
            return (await engine.store.create(self._key(call), obj)).copy()
        except ExistsError:
            raise errors.already_exists(target.resource, target.name) from None

    def _refresh(self, call: Call, old: Object | None) -> Callable[[Object], None]:
        def refresh(obj: Object) -> None:
            self._prepare.prune(call.target.resource, obj)
            self._prepare.default(call.target.resource, obj, old)
            metadata.tidy(obj)

        return refresh

    def _key(self, call: Call) -> Key:
        target = call.target
        return Key(target.resource.qualified, target.namespace, target.name)

    def _check_names(self, call: Call, obj: Object) -> None:
        meta, target = obj["metadata"], call.target
        if target.resource.namespaced and meta.setdefault("namespace", target.namespace) != target.namespace:
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        if target.name and meta.setdefault("name", target.name) != target.name:
            raise errors.bad_request(
                f"the name of the object ({meta['name']}) does not match the name on the URL ({target.name})"
            )

    def _check_namespace(self, call: Call, name: str) -> None:
        target = call.target
        if not target.resource.namespaced:
            return
        entry = self._engine.store.get(Key("namespaces", "", target.namespace))
        if entry is None:
            namespaces = self._engine.registry.find("", "v1", "namespaces")
            assert namespaces is not None  # noqa: S101 - built in
            raise errors.not_found(namespaces, target.namespace)
        if entry.object["metadata"].get("deletionTimestamp"):
            why = (
                f"unable to create new content in namespace {target.namespace} because it is being terminated"
            )
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {target.namespace} is being terminated",
                "field": "metadata.namespace",
            }
            raise errors.is_forbidden(target.resource, name, why, [cause])

    def _judge(self, call: Call, obj: Object, old: Object | None) -> None:
        found = self._validator.errors(call, obj, old)
        if found:
            raise errors.is_invalid(call.target.resource, obj["metadata"].get("name", ""), found)
        if call.target.resource.custom:
            for text in metadata.warnings(obj, old):
                call.warn(text)

    async def _modify(
        self, call: Call, change: Callable[[Entry], Object], *, retry: bool = True, tracked: bool = False
    ) -> Object:
        resource, name = call.target.resource, call.target.name
        for _ in range(_RETRIES if retry else 1):
            entry = self._engine.store.get(self._key(call))
            if entry is None:
                raise errors.not_found(resource, name)
            try:
                return await self._update(call, entry, change(entry), tracked=tracked)
            except StaleError:
                continue
        raise errors.conflict(resource, name)

    async def _update(self, call: Call, entry: Entry, obj: Object, *, tracked: bool) -> Object:
        resource, old = call.target.resource, entry.copy()
        old["apiVersion"] = resource.api_version
        self._check_names(call, obj)
        self._check_identity(call, entry, obj)
        obj = self._part(call, obj, old)
        metadata.carry_over(obj, old)
        obj["metadata"]["resourceVersion"] = str(entry.revision)
        self._prepare.default(resource, obj, old)
        metadata.tidy(obj)
        obj = await self._admission.mutate(call, "UPDATE", obj, old, self._refresh(call, old))
        obj = self._part(call, obj, old)
        self._count_generation(call, obj, old)
        self._judge(call, obj, old)
        await self._admission.validate(call, "UPDATE", obj, old)
        if not tracked:
            self._fields.track_update(call, obj, old)
        if _same(obj, old) or call.options.dry_run:
            return obj if call.options.dry_run else old
        if finish_if_done(resource, obj):
            return (await self._engine.store.delete(entry, obj)).copy()
        return (await self._engine.store.update(entry, obj)).copy()

    def _check_identity(self, call: Call, entry: Entry, obj: Object) -> None:
        meta, resource = obj["metadata"], call.target.resource
        uid, revision = meta.get("uid"), meta.get("resourceVersion")
        stored = entry.object["metadata"]["uid"]
        if uid and uid != stored:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {stored}"
            raise errors.conflict(resource, call.target.name, why)
        if revision and revision != str(entry.revision):
            raise errors.conflict(resource, call.target.name)

    def _part(self, call: Call, obj: Object, old: Object) -> Object:
        """Let a write change only its part: the status subresource the status, the others the rest."""
        resource = call.target.resource
        if call.target.subresource == "status":
            part = dict(old)
            part["metadata"] = dict(old["metadata"])
            kept = (
                ("managedFields",)
                if resource.custom
                else ("managedFields", "labels", "annotations", "finalizers")
            )
            for name in kept:
                part["metadata"].pop(name, None)
                if name in obj["metadata"]:
                    part["metadata"][name] = obj["metadata"][name]
            part.pop("status", None)
            if "status" in obj:
                part["status"] = obj["status"]
            return part
        if "status" in resource.subresources:
            obj.pop("status", None)
            if "status" in old:
                obj["status"] = old["status"]
        return obj

    def _count_generation(self, call: Call, obj: Object, old: Object) -> None:
        resource = call.target.resource
        if not resource.has_generation or call.target.subresource == "status":
            return
        ignored = {"metadata", "apiVersion", "kind"}
        if "status" in resource.subresources:
            ignored.add("status")

        def counted(item: Object) -> dict[str, Any]:
            return {key: value for key, value in item.items() if key not in ignored}

        if counted(obj) != counted(old):
            obj["metadata"]["generation"] = int(old["metadata"].get("generation", 0)) + 1


def _same(obj: Object, old: Object) -> bool:
    """Whether nothing but the times in managedFields differs."""

    def plain(item: Object) -> Object:
        meta = dict(item["metadata"])
        meta["managedFields"] = [
            {key: value for key, value in entry.items() if key != "time"}
            for entry in meta.get("managedFields") or []
        ]
        return item | {"metadata": meta}

    return plain(obj) == plain(old)
