"""ObjectMeta: what the server sets itself, keeps from the stored object, and checks."""

import random
import re
import uuid
from collections.abc import Mapping
from typing import Any

from kubedr_server.local.api.errors import FieldError, invalid, quote, required, too_long
from kubedr_server.local.api.resources import ResourceType

Object = dict[str, Any]

SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""What generateName ends in: no vowels, nothing that looks alike."""
_SUFFIX_LENGTH = 5
_MAX_GENERATED = 63
_SYSTEM_FIELDS = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"

DNS_LABEL_MESSAGE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
    "and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    f"'{_LABEL}')"
)
DNS_SUBDOMAIN_MESSAGE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    f"'{_SUBDOMAIN}')"
)
_QUALIFIED_MESSAGE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    f"'{_QUALIFIED}')"
)
_VALUE_MESSAGE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
    f"for validation is '({_QUALIFIED})?')"
)
_LABEL_NAMES = {"namespaces", "services"}
_RBAC = ".rbac.authorization.k8s.io"
_PATH_NAMES = {kind + _RBAC for kind in ("roles", "rolebindings", "clusterroles", "clusterrolebindings")}
_OWNER_FIELDS = {
    "apiVersion": "version must not be empty",
    "kind": "must not be empty",
    "name": "must not be empty",
    "uid": "must not be empty",
}
_STANDARD_FINALIZERS = ("foregroundDeletion", "orphan")
MAX_ANNOTATIONS = 256 * 1024


def is_dns_label(text: str) -> bool:
    """Whether a text is an RFC 1123 label."""
    return len(text) <= 63 and re.fullmatch(_LABEL, text) is not None


def is_dns_subdomain(text: str) -> bool:
    """Whether a text is an RFC 1123 subdomain."""
    return len(text) <= 253 and re.fullmatch(_SUBDOMAIN, text) is not None


def generate_name(base: str, rng: random.Random) -> str:
    """Return `base` with five random characters behind."""
    suffix = "".join(rng.choice(SUFFIX_ALPHABET) for _ in range(_SUFFIX_LENGTH))
    return base[: _MAX_GENERATED - _SUFFIX_LENGTH] + suffix


def begin(obj: Object, resource: ResourceType, namespace: str, now: str, rng: random.Random) -> None:
    """Set what a new object gets from the server."""
    meta = obj["metadata"]
    if not meta.get("name") and meta.get("generateName"):
        meta["name"] = generate_name(meta["generateName"], rng)
    for name in (*_SYSTEM_FIELDS, "resourceVersion", "selfLink"):
        meta.pop(name, None)
    if resource.namespaced:
        meta["namespace"] = namespace
    else:
        meta.pop("namespace", None)
    meta["uid"] = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    meta["creationTimestamp"] = now
    if resource.has_generation:
        meta["generation"] = 1


def carry_over(obj: Object, old: Mapping[str, Any]) -> None:
    """Keep in an update what only the server may set."""
    meta, before = obj["metadata"], old["metadata"]
    for name in (*_SYSTEM_FIELDS, "namespace", "generateName"):
        if name in before:
            meta[name] = before[name]
        else:
            meta.pop(name, None)
    meta.pop("selfLink", None)


def tidy(obj: Object) -> None:
    """Drop from the metadata what Go leaves out when it is empty."""
    meta = obj["metadata"]
    for name in ("labels", "annotations", "finalizers", "ownerReferences", "managedFields", "generateName"):
        if name in meta and not meta[name]:
            del meta[name]
    if meta.get("creationTimestamp", "") is None:
        del meta["creationTimestamp"]


def _name_errors(resource: ResourceType, name: str) -> list[FieldError]:
    field = "metadata.name"
    if resource.qualified in _PATH_NAMES:
        bad = name in (".", "..") or "/" in name or "%" in name
        return [invalid(field, name, "may not contain '/' or '%', or be '.' or '..'")] if bad else []
    if resource.qualified in _LABEL_NAMES:
        if len(name) > 63:
            return [invalid(field, name, "must be no more than 63 bytes")]
        return [] if is_dns_label(name) else [invalid(field, name, DNS_LABEL_MESSAGE)]
    if len(name) > 253:
        return [invalid(field, name, "must be no more than 253 bytes")]
    return [] if is_dns_subdomain(name) else [invalid(field, name, DNS_SUBDOMAIN_MESSAGE)]


def qualified_name_errors(name: str, field: str) -> list[FieldError]:
    """Check `prefix/name`, as label keys, annotation keys and finalizers are."""
    prefix, slash, last = name.rpartition("/")
    wrong: list[str] = []
    if slash and not prefix:
        wrong.append("prefix part must be non-empty")
    elif slash and not is_dns_subdomain(prefix):
        wrong.append(f"prefix part {DNS_SUBDOMAIN_MESSAGE}")
    if not last:
        wrong.append("name part must be non-empty")
    elif len(last) > 63:
        wrong.append("name part must be no more than 63 bytes")
    if re.fullmatch(_QUALIFIED, last) is None:
        wrong.append(_QUALIFIED_MESSAGE)
    return [invalid(field, name, why) for why in wrong]


def label_errors(labels: Mapping[str, Any], field: str) -> list[FieldError]:
    """Check a map of labels."""
    errors: list[FieldError] = []
    for key in sorted(labels):
        value = str(labels[key])
        errors += qualified_name_errors(key, field)
        if len(value) > 63:
            errors.append(invalid(field, value, "must be no more than 63 bytes"))
        elif value and re.fullmatch(_QUALIFIED, value) is None:
            errors.append(invalid(field, value, _VALUE_MESSAGE))
    return errors


def validate(
    obj: Mapping[str, Any], resource: ResourceType, old: Mapping[str, Any] | None
) -> list[FieldError]:
    """Check the metadata of an object that is about to be stored."""
    meta = obj["metadata"]
    name = meta.get("name", "")
    errors: list[FieldError] = []
    if not name:
        errors.append(required("metadata.name", "name or generateName is required"))
    elif old is None:
        errors += _name_errors(resource, name)
    errors += label_errors(meta.get("labels") or {}, "metadata.labels")
    annotations = meta.get("annotations") or {}
    for key in sorted(annotations):
        errors += qualified_name_errors(key.lower(), "metadata.annotations")
    size = sum(len(key.encode()) + len(str(value).encode()) for key, value in annotations.items())
    if size > MAX_ANNOTATIONS:
        errors.append(too_long("metadata.annotations", MAX_ANNOTATIONS))
    for index, finalizer in enumerate(meta.get("finalizers") or []):
        errors += qualified_name_errors(finalizer, f"metadata.finalizers[{index}]")
    errors += _owner_errors(meta.get("ownerReferences") or [])
    if old is not None and old["metadata"].get("deletionTimestamp"):
        before = old["metadata"].get("finalizers") or []
        added = sorted(set(meta.get("finalizers") or []) - set(before))
        if added:
            listed = ", ".join(f'"{item}"' for item in added)
            errors.append(
                FieldError(
                    "FieldValueForbidden",
                    "metadata.finalizers",
                    "Forbidden: no new finalizers can be added if the object is being deleted, "
                    f"found new finalizers []string{{{listed}}}",
                )
            )
    return errors


def warnings(obj: Mapping[str, Any], old: Mapping[str, Any] | None) -> list[str]:
    """Return what the server advises against in a custom resource's metadata: finalizers that may clash."""
    before = old["metadata"].get("finalizers") or [] if old is not None else []
    return [
        f"metadata.finalizers: {quote(name)}: prefer a domain-qualified finalizer name "
        f"{'including a path (/) ' if '.' in name else ''}"
        "to avoid accidental conflicts with other finalizer writers"
        for name in obj["metadata"].get("finalizers") or []
        if name not in before and name not in _STANDARD_FINALIZERS and "/" not in name
    ]


def _owner_errors(owners: list[Mapping[str, Any]]) -> list[FieldError]:
    errors = [
        invalid(f"metadata.ownerReferences.{field}", owner.get(field, ""), why)
        for owner in owners
        for field, why in _OWNER_FIELDS.items()
        if not owner.get(field)
    ]
    controllers = [owner for owner in owners if owner.get("controller")]
    if len(controllers) > 1:
        errors.append(
            invalid(
                "metadata.ownerReferences",
                list(owners),
                'Only one reference can have Controller set to true. Found "true" in references for '
                f"{controllers[0].get('kind')}/{controllers[0].get('name')} and "
                f"{controllers[1].get('kind')}/{controllers[1].get('name')}",
            )
        )
    return errors
