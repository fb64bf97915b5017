"""How an object is made so that others may have a say in it, too.

What we no longer say goes away, and what others say stays. Server-side apply does that, and costs the API
server twice what a plain creation does. So an object is made by a plain creation, and as long as nobody else
owns a field of it, it is replaced as a whole. It is applied only when somebody else owns one. What we have
created or replaced is ours by an `Update`, and no apply would ever take it away: it is moved to our `Apply`
before.
"""

from collections.abc import Mapping
from typing import Any, Final

from kubedr_server.controllers.decision import Object
from kubedr_server.controllers.settings import FIELD_MANAGER

JsonPatch = list[dict[str, Any]]

_METADATA: Final[Mapping[str, Any]] = {"annotations": {}, "labels": {}, "ownerReferences": []}
"""What we may say of an object's metadata, each with what stands for nothing."""


def is_ours_alone(live: Object) -> bool:
    """Whether nobody else owns a field; what is written by way of a subresource is not asked about."""
    entries = _entries(live)
    return bool(entries) and all(_is_ours(entry) for entry in entries)


def replacing(live: Object, wanted: Object) -> JsonPatch:
    """Return what makes an object of ours alone all that is wanted. It is a Conflict on any other version.

    A patch and not a PUT: that would take away the finalizers of an object that is being deleted.
    """
    parts = {
        f"/metadata/{name}": wanted["metadata"].get(name, nothing) for name, nothing in _METADATA.items()
    }
    parts["/spec"] = wanted["spec"]
    return [_version(live), *({"op": "add", "path": path, "value": value} for path, value in parts.items())]


def moving(live: Object) -> JsonPatch | None:
    """Return what moves our fields from `Update` to `Apply`; None if there are none to move.

    It is a Conflict on any other version of the object.
    """
    ours = [entry for entry in _entries(live) if _is_ours(entry)]
    if all(entry["operation"] == "Apply" for entry in ours):
        return None
    fields: dict[str, Any] = {}
    for entry in ours:
        _add(fields, entry.get("fieldsV1") or {})
    moved = {**ours[-1], "operation": "Apply", "fieldsV1": fields}
    others = [entry for entry in live["metadata"]["managedFields"] if entry not in ours]
    return [_version(live), {"op": "replace", "path": "/metadata/managedFields", "value": [moved, *others]}]


def _entries(live: Object) -> list[Any]:
    entries = live["metadata"].get("managedFields") or ()
    return [entry for entry in entries if not entry.get("subresource")]


def _is_ours(entry: Mapping[str, Any]) -> bool:
    return bool(entry.get("manager") == FIELD_MANAGER)


def _add(fields: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Put one set of fields (FieldsV1) into another."""
    for name, below in more.items():
        _add(fields.setdefault(name, {}), below)


def _version(live: Object) -> dict[str, Any]:
    # Not `test`: that is Invalid where it fails.
    return {
        "op": "replace",
        "path": "/metadata/resourceVersion",
        "value": live["metadata"]["resourceVersion"],
    }
