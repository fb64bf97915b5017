"""Objects of the four kinds, and AdmissionReviews of them."""

import base64
import copy
import json
from typing import Any

from kubedr_server.api.group import API_VERSION, GROUP, VERSION
from kubedr_server.api.kinds import KINDS

Object = dict[str, Any]

DIGITS = "0123456789abcdef" * 4

SPECS: dict[str, Object] = {
    "BackupLocation": {
        "url": "https://s3.example.com",
        "bucketName": "cluster-backups",
        "credentials": "s3-credentials",
    },
    "MetadataBackupPolicy": {"destination": "offsite", "schedule": "*/10 * * * *"},
    "MetadataBackupRecord": {"policy": "nightly", "snapshotId": "9a9808ce"},
    "MetadataRestore": {"mbrName": "mbr-9a9808ce", "pvcName": "restored"},
}
NAMES = {
    "BackupLocation": "offsite",
    "MetadataBackupPolicy": "nightly",
    "MetadataBackupRecord": "mbr-9a9808ce",
    "MetadataRestore": "bring-back",
}


def resource(kind: str, name: str | None = None, **spec: Any) -> Object:
    """Return a right object of the kind, with these fields of its spec changed; `...` removes one."""
    wanted = {**copy.deepcopy(SPECS[kind]), **spec}
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": NAMES[kind] if name is None else name, "namespace": "kubedr-system"},
        "spec": {key: value for key, value in wanted.items() if value is not ...},
    }


def location(name: str | None = None, **spec: Any) -> Object:
    """Return a BackupLocation."""
    return resource("BackupLocation", name, **spec)


def policy(name: str | None = None, **spec: Any) -> Object:
    """Return a MetadataBackupPolicy."""
    return resource("MetadataBackupPolicy", name, **spec)


def record(name: str | None = None, **spec: Any) -> Object:
    """Return a MetadataBackupRecord."""
    return resource("MetadataBackupRecord", name, **spec)


def restore(name: str | None = None, **spec: Any) -> Object:
    """Return a MetadataRestore."""
    return resource("MetadataRestore", name, **spec)


def review_of(
    new: Object | None, old: Object | None = None, operation: str = "", uid: str = "uid-1", **more: Any
) -> Object:
    """Return the AdmissionReview that the API server would send; `more` replaces fields of the request."""
    obj = new or old or {}
    operation = operation or ("DELETE" if new is None else "UPDATE" if old else "CREATE")
    kind = obj["kind"]
    plural = next(one.plural for one in KINDS if one.name == kind)
    gvk = {"group": GROUP, "version": VERSION, "kind": kind}
    gvr = {"group": GROUP, "version": VERSION, "resource": plural}
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": uid,
            "kind": gvk,
            "resource": gvr,
            "requestKind": gvk,
            "requestResource": gvr,
            "name": obj.get("metadata", {}).get("name", ""),
            "namespace": "kubedr-system",
            "operation": operation,
            "userInfo": {"username": "admin", "groups": ["system:authenticated"]},
            "object": new,
            "oldObject": old,
            "dryRun": False,
            "options": None,
            **more,
        },
    }


def patch_of(answer: Object) -> list[Object]:
    """Return the JSON patch of an answer; empty if there is none."""
    response = answer["response"]
    if "patch" not in response:
        assert "patchType" not in response
        return []
    assert response["patchType"] == "JSONPatch"
    operations: list[Object] = json.loads(base64.b64decode(response["patch"]))
    return operations
