"""Labels, annotations and owner references: how an object is found, and to whom it belongs.

A label's value has at most 63 characters and a resource's name may have 253. Where a name does not
fit, the label holds a shortened, hashed form that can still be selected by, and an annotation with
the label's key holds the whole name. `subject_name` reads either.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from kubedr_server.api.base import Resource
from kubedr_server.api.group import API_VERSION, GROUP
from kubedr_server.api.names import MAX_LABEL_VALUE, label_value
from kubedr_server.contract import Operation

APP = "kubedr"


class Label(StrEnum):
    """The keys of this project's labels."""

    OPERATION = f"{GROUP}/operation"
    """What a Job does: one of the runner's operations, such as `backup`."""

    POLICY = f"{GROUP}/policy"
    LOCATION = f"{GROUP}/location"
    RECORD = f"{GROUP}/record"
    RESTORE = f"{GROUP}/restore"


def labels(operation: Operation, subjects: Mapping[Label, str]) -> dict[str, str]:
    """Return the labels of an operation's objects. `subjects` are the resources' names, as they are."""
    return {
        "app.kubernetes.io/name": APP,
        "app.kubernetes.io/component": operation.value,
        "app.kubernetes.io/part-of": APP,
        "app.kubernetes.io/managed-by": APP,
        Label.OPERATION.value: operation.value,
        **{key.value: label_value(name) for key, name in subjects.items()},
    }


def object_metadata(
    name: str,
    owner: Resource,
    operation: Operation,
    subjects: Mapping[Label, str],
) -> dict[str, Any]:
    """Return the metadata of an object that `owner` controls, in the owner's namespace."""
    return {
        "name": name,
        "namespace": owner.metadata.namespace,
        **template_metadata(operation, subjects),
        "ownerReferences": [owner_reference(owner)],
    }


def template_metadata(operation: Operation, subjects: Mapping[Label, str]) -> dict[str, Any]:
    """Return labels, and annotations for the names that were too long for a label."""
    metadata: dict[str, Any] = {"labels": labels(operation, subjects)}
    long = {key.value: name for key, name in subjects.items() if len(name) > MAX_LABEL_VALUE}
    if long:
        metadata["annotations"] = long
    return metadata


def subject_name(metadata: Mapping[str, Any], label: Label) -> str | None:
    """Return the whole name of the resource that an object's metadata names, or None if it names none."""
    for part in ("annotations", "labels"):
        name = (metadata.get(part) or {}).get(label.value)
        if name is not None:
            return str(name)
    return None


def selector(operation: Operation | None = None, subjects: Mapping[Label, str] | None = None) -> str:
    """Return a label selector, such as `kubedr.catalogicsoftware.com/operation=backup,…`."""
    wanted = {"app.kubernetes.io/managed-by": APP}
    if operation is not None:
        wanted[Label.OPERATION.value] = operation.value
    wanted.update({key.value: label_value(name) for key, name in (subjects or {}).items()})
    return ",".join(f"{key}={value}" for key, value in wanted.items())


def owner_reference(owner: Resource) -> dict[str, Any]:
    """Return the reference of a controlling owner: deleting it deletes what it owns."""
    return {
        "apiVersion": API_VERSION,
        "kind": type(owner).__name__,
        "name": owner.metadata.name,
        "uid": owner.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
