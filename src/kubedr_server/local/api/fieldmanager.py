"""Field ownership: who set what (managedFields), and server-side apply with its conflicts."""

import copy
import json
from dataclasses import dataclass
from typing import Any

from kubedr_server.local.api import errors
from kubedr_server.local.api.context import Call, Engine, Object, timestamp
from kubedr_server.local.api.fieldset import (
    EMPTY,
    FieldSet,
    Path,
    from_fields_v1,
    owned_by_nobody,
    show,
    to_fields_v1,
    with_parents,
)
from kubedr_server.local.api.preparing import schema_of
from kubedr_server.local.api.schemas import Schema
from kubedr_server.local.api.typed import Difference, DuplicateItemError, Typed

_STATUS = "f:status"
# Go always has these structs and lists, so that nobody comes to own the node itself.
_ALWAYS = {f"f:{name}" for name in (
    "metadata", "spec", "status", "template", "jobTemplate", "containers", "source", "strategy",
    "involvedObject", "names", "versions", "roleRef", "loadBalancer",
)}  # fmt: skip


_GENERATED = {f"f:{name}" for name in (
    "selector", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid",
    "job-name",
)}  # fmt: skip
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_KUBECTL = "kubectl"


def _last_applied(config: Object) -> str:
    """Return a configuration as kubectl keeps it in its annotation."""
    plain = copy.deepcopy(config)
    (plain["metadata"].get("annotations") or {}).pop(_LAST_APPLIED, None)
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"), sort_keys=True) + "\n"


@dataclass(frozen=True)
class Manager:
    """Who owns fields: a name, and by which kind of write in which version."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""


@dataclass(frozen=True)
class Owned:
    """What a manager owns, and since when."""

    fields: FieldSet
    time: str


Managers = dict[Manager, Owned]


def decode(entries: list[Any] | None) -> Managers:
    """Read `metadata.managedFields`."""
    managers: Managers = {}
    for entry in entries or []:
        if not isinstance(entry, dict) or not entry.get("manager"):
            continue
        manager = Manager(
            str(entry["manager"]),
            str(entry.get("operation", "Update")),
            str(entry.get("apiVersion", "")),
            str(entry.get("subresource", "")),
        )
        managers[manager] = Owned(from_fields_v1(entry.get("fieldsV1") or {}), str(entry.get("time", "")))
    return managers


def encode(managers: Managers) -> list[Object]:
    """Write `metadata.managedFields`, applied ones first, then by age."""
    entries = []
    for manager, owned in managers.items():
        if not owned.fields:
            continue
        entry: Object = {
            "apiVersion": manager.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": to_fields_v1(owned.fields),
            "manager": manager.name,
            "operation": manager.operation,
        }
        if manager.subresource:
            entry["subresource"] = manager.subresource
        if owned.time:
            entry["time"] = owned.time
        entries.append(entry)
    return sorted(
        entries, key=lambda e: (e["operation"], e.get("time", ""), e["manager"], e.get("subresource", ""))
    )


def _without_generated(fields: FieldSet) -> FieldSet:
    """Leave out what the server itself adds to a new Job: nobody owns its selector and labels."""
    generated = {path for path in fields if path[-1] in _GENERATED}
    rest = fields - generated
    parents = with_parents(generated) & rest
    kept = {parent for parent in parents if any(p[: len(parent)] == parent for p in rest - parents)}
    return frozenset(rest - (parents - kept))


def _conflict(found: dict[Manager, list[Path]]) -> errors.APIError:
    def describe(manager: Manager) -> str:
        text = errors.quote(manager.name)
        if manager.subresource:
            text += f" with subresource {errors.quote(manager.subresource)}"
        if manager.operation == "Update":
            text += f" using {manager.api_version}"
        return text

    named = {describe(manager): paths for manager, paths in found.items()}
    pairs = [(name, show(path)) for name, paths in named.items() for path in sorted(paths)]
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {name}", "field": path}
        for name, path in pairs
    ]
    if len(pairs) == 1:
        message = f"Apply failed with 1 conflict: conflict with {pairs[0][0]}: {pairs[0][1]}"
    else:
        lines: list[str] = []
        for name in sorted(named):
            lines.append(f"conflicts with {name}:")
            lines += [f"- {show(path)}" for path in sorted(named[name])]
        message = f"Apply failed with {len(pairs)} conflicts: " + "\n".join(lines)
    return errors.APIError(409, "Conflict", message, {"causes": causes})


class FieldManager:
    """Tracks every write, and performs applies."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._typed = Typed(engine.definitions)

    def _now(self) -> str:
        return timestamp(self._engine.clock())

    def _manager(self, call: Call, operation: str) -> Manager:
        target = call.target
        return Manager(call.options.field_manager, operation, target.resource.api_version, target.subresource)

    def _concerns(self, call: Call, path: Path) -> bool:
        """Whether a write can own a field: its endpoint must be able to change it."""
        if owned_by_nobody(path):
            return False
        if call.target.subresource == "status":
            return path[0] == _STATUS or (path[0] == "f:metadata" and not call.target.resource.custom)
        if "status" in call.target.resource.subresources and path[0] == _STATUS:
            return False
        return call.target.resource.custom or path[-1] not in _ALWAYS

    def track_update(self, call: Call, obj: Object, old: Object | None) -> None:
        """Record in `obj` who set what by a create, update or patch."""
        given = obj["metadata"].pop("managedFields", None)
        before = dict(old["metadata"]) if old else {}
        stored = before.get("managedFields")
        managers = decode(given if given and not call.target.subresource else stored)
        plain_old = (
            old | {"metadata": {k: v for k, v in before.items() if k != "managedFields"}} if old else {}
        )
        difference = self._typed.difference(plain_old, obj, schema_of(call.target.resource))
        changed = frozenset(path for path in difference.changed if self._concerns(call, path))
        if call.target.resource.qualified == "jobs.batch" and old is None:
            changed = _without_generated(changed)
        touched = changed | difference.removed
        me = self._manager(call, "Update")
        updated = {
            manager: Owned(owned.fields - touched, owned.time) if manager != me else owned
            for manager, owned in managers.items()
        }
        mine = updated.get(me, Owned(EMPTY, ""))
        fields = (mine.fields | changed) - difference.removed
        if fields != mine.fields or changed:
            updated[me] = Owned(frozenset(fields), self._now())
        entries = encode(updated)
        if entries:
            obj["metadata"]["managedFields"] = entries

    def check_applied(self, call: Call, config: Object) -> None:
        """Refuse a configuration that does not fit the schema. Raises APIError(500), as the real server."""
        found = self._typed.mistakes(config, schema_of(call.target.resource))
        if found:
            text = found[0] if len(found) == 1 else "errors:\n" + "\n".join(f"  {each}" for each in found)
            raise self._untypable(call, config, text)

    def apply_new(self, call: Call, config: Object) -> Object:
        """Return the object that an apply to nothing makes."""
        return self.apply(
            call, config, {"apiVersion": config["apiVersion"], "kind": config["kind"], "metadata": {}}
        )

    def apply(self, call: Call, config: Object, live: Object) -> Object:
        """Merge an applied configuration into an object. Raises APIError(409) for another's fields."""
        config = copy.deepcopy(config)
        if config["metadata"].pop("managedFields", None):
            raise errors.bad_request("metadata.managedFields must be nil")
        schema = schema_of(call.target.resource)
        live = copy.deepcopy(live)
        managers = decode(live["metadata"].pop("managedFields", None))
        me = self._manager(call, "Apply")
        try:
            named = self._typed.fields(config, schema)
        except DuplicateItemError as error:
            raise self._duplicate(call, config, error) from None
        mine = frozenset(path for path in named if self._applies(call, path))
        last = managers.get(me, Owned(EMPTY, ""))
        owned_now = with_parents(mine)
        for manager, owned in managers.items():
            if manager != me:
                owned_now |= with_parents(owned.fields)
        merged = self._typed.merge(live, config, schema)
        merged["metadata"] = dict(merged["metadata"])
        gone = {p for p in with_parents(last.fields) - owned_now if not owned_by_nobody(p)}
        result: Object = copy.deepcopy(merged)
        self._typed.remove(result, gone, schema)
        # What this endpoint cannot change, the writer sets back: nobody is robbed of it.
        difference = self._typed.difference(live, result, schema)
        difference.changed = {path for path in difference.changed if self._applies(call, path)}
        allowed = self._last_applied_fields(me, live, schema)
        updated = self._resolve(call, me, managers, difference, allowed)
        changed = mine != last.fields or difference.changed or difference.removed
        updated[me] = Owned(mine, self._now() if changed else last.time)
        if allowed and _LAST_APPLIED in (result["metadata"].get("annotations") or {}):
            result["metadata"]["annotations"][_LAST_APPLIED] = _last_applied(config)
        result["metadata"]["managedFields"] = encode(updated)
        return result

    def _last_applied_fields(self, me: Manager, live: Object, schema: Schema) -> FieldSet:
        """Return what kubectl's client-side apply has set: its server-side apply may take that over."""
        annotations = live["metadata"].get("annotations") or {}
        if me.name != _KUBECTL or _LAST_APPLIED not in annotations:
            return EMPTY
        try:
            return self._typed.fields(json.loads(annotations[_LAST_APPLIED]), schema)
        except (ValueError, DuplicateItemError):
            return EMPTY

    def _applies(self, call: Call, path: Path) -> bool:
        if owned_by_nobody(path):
            return False
        if call.target.subresource == "status":
            return path[0] == _STATUS
        return not ("status" in call.target.resource.subresources and path[0] == _STATUS)

    def _resolve(
        self, call: Call, me: Manager, managers: Managers, difference: Difference, allowed: FieldSet
    ) -> Managers:
        """Take the changed fields from the others, or refuse to."""
        conflicts: dict[Manager, list[Path]] = {}
        updated: Managers = {}
        for manager, owned in managers.items():
            if manager == me:
                continue
            lost = owned.fields & difference.changed
            if lost - allowed:
                conflicts[manager] = list(lost - allowed)
            updated[manager] = Owned(owned.fields - lost - difference.removed, owned.time)
        if conflicts and not call.options.force:
            raise _conflict(conflicts)
        return updated

    def _duplicate(self, call: Call, config: Object, error: DuplicateItemError) -> errors.APIError:
        why = f"{show(error.path)}: duplicate entries for key {show((error.element,))}"
        return self._untypable(call, config, why)

    def _untypable(self, call: Call, config: Object, why: str) -> errors.APIError:
        target = call.target
        group = f"{target.resource.api_version}, Kind={target.resource.kind}"
        meta = config["metadata"]
        name = f"{meta.get('namespace', '')}/{meta.get('name', '')}"
        return errors.APIError(500, "", f"failed to create typed patch object ({name}; {group}): {why}")
