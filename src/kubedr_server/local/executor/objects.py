"""Small questions that every part of the executor asks of a Kubernetes object."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]
Clock = Callable[[], datetime]
"""Returns the present moment, with its offset from UTC."""


def utc_now() -> datetime:
    """Return the present moment: the clock that is used outside tests."""
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """Write a moment as metav1.Time does: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(value: str | None) -> datetime | None:
    """Read an RFC 3339 time; None stays None."""
    return datetime.fromisoformat(value) if value else None


def name_of(obj: Object) -> str:
    """Return `metadata.name`."""
    return str(obj["metadata"]["name"])


def namespace_of(obj: Object) -> str:
    """Return `metadata.namespace`."""
    return str(obj["metadata"].get("namespace", ""))


def uid_of(obj: Object) -> str:
    """Return `metadata.uid`."""
    return str(obj["metadata"]["uid"])


def is_deleted(obj: Object) -> bool:
    """Whether the object's deletion has been asked for."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def controller_of(obj: Object) -> Object | None:
    """Return the owner reference of the object's controller."""
    for reference in obj["metadata"].get("ownerReferences") or []:
        if reference.get("controller"):
            found: Object = reference
            return found
    return None


def controller_reference(owner: Object, api_version: str, kind: str) -> Object:
    """Return the owner reference that makes `owner` the controller of an object."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def condition_of(obj: Object, condition_type: str) -> Object | None:
    """Return one condition of the object's status."""
    for condition in (obj.get("status") or {}).get("conditions") or []:
        if condition["type"] == condition_type:
            found: Object = condition
            return found
    return None


def has_condition(obj: Object, condition_type: str) -> bool:
    """Whether the condition exists and is True."""
    condition = condition_of(obj, condition_type)
    return condition is not None and condition["status"] == "True"
