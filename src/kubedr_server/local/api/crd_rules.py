"""Judging CustomResourceDefinitions: names, versions, and whether the schemas are structural."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kubedr_server.local.api.cel_rules import compile_rule
from kubedr_server.local.api.errors import FieldError, invalid, required, unsupported
from kubedr_server.local.api.metadata import DNS_SUBDOMAIN_MESSAGE, is_dns_label, is_dns_subdomain
from kubedr_server.local.api.schemas import Schema

_TYPES = ("array", "boolean", "integer", "number", "object", "string")


def crd_errors(crd: Mapping[str, Any], old: Mapping[str, Any] | None) -> list[FieldError]:
    """Return what is wrong with a CustomResourceDefinition."""
    return list(_walk(crd, old))


def _walk(crd: Mapping[str, Any], old: Mapping[str, Any] | None) -> Iterator[FieldError]:
    spec = crd.get("spec") or {}
    group, names, versions = str(spec.get("group", "")), spec.get("names") or {}, spec.get("versions") or []
    plural = str(names.get("plural", ""))
    name = crd["metadata"].get("name", "")
    if name != f"{plural}.{group}":
        yield invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')
    if not group:
        yield required("spec.group")
    elif not is_dns_subdomain(group):
        yield invalid("spec.group", group, DNS_SUBDOMAIN_MESSAGE)
    elif "." not in group:
        yield invalid("spec.group", group, "should be a domain with at least one dot")
    if not spec.get("scope"):
        yield required("spec.scope")
    elif spec["scope"] not in ("Cluster", "Namespaced"):
        yield unsupported("spec.scope", spec["scope"], ["Cluster", "Namespaced"])
    yield from _name_errors(names)
    if not versions:
        yield invalid("spec.versions", [], "must have exactly one version marked as storage version")
    elif sum(bool(version.get("storage")) for version in versions) != 1:
        yield invalid("spec.versions", versions, "must have exactly one version marked as storage version")
    for index, version in enumerate(versions):
        yield from _version_errors(version, f"spec.versions[{index}]", alone=len(versions) == 1)
    if old is not None:
        before = old.get("spec") or {}
        if before.get("scope") != spec.get("scope"):
            yield invalid("spec.scope", spec.get("scope"), "field is immutable")
        if (before.get("names") or {}).get("kind") != names.get("kind"):
            yield invalid("spec.names.kind", names.get("kind"), "field is immutable")


def _name_errors(names: Mapping[str, Any]) -> Iterator[FieldError]:
    for field in ("plural", "singular", "kind", "listKind"):
        value = str(names.get(field, ""))
        if not value:
            yield required(f"spec.names.{field}")
        elif not is_dns_label(value.lower()):
            why = "must be a DNS-1035 label, in any case for kinds"
            yield invalid(f"spec.names.{field}", value, why)
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        yield invalid("spec.names.listKind", names["listKind"], "kind and listKind may not be the same")


def _version_errors(version: Mapping[str, Any], path: str, *, alone: bool) -> Iterator[FieldError]:
    name = str(version.get("name", ""))
    if not is_dns_label(name):
        yield invalid(f"{path}.name", name, "must be a DNS-1035 label")
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if schema is None:
        yield required(f"{path}.schema.openAPIV3Schema")
        return
    # The real server folds a single version's schema into the old top-level field.
    where = "spec.validation.openAPIV3Schema" if alone else f"{path}.schema.openAPIV3Schema"
    if schema.get("type") != "object":
        yield invalid(f"{where}.type", schema.get("type", ""), "must be object at the root")
    yield from _schema_errors(schema, where, root=True)


def _schema_errors(schema: Schema, path: str, *, root: bool = False) -> Iterator[FieldError]:
    kind = schema.get("type")
    free = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if kind is None and not free and not root:
        yield required(f"{path}.type", "must not be empty for specified object fields")
    elif kind is not None and kind not in _TYPES:
        yield unsupported(f"{path}.type", kind, _TYPES)
    if kind == "array" and "items" not in schema:
        yield required(f"{path}.items", "must be specified")
    if schema.get("properties") and schema.get("additionalProperties"):
        yield FieldError(
            "FieldValueForbidden",
            f"{path}.additionalProperties",
            "Forbidden: additionalProperties and properties are mutual exclusive",
        )
    if "pattern" in schema:
        try:
            re.compile(schema["pattern"])
        except re.error as error:
            why = f"must be a valid regular expression, but isn't: {error}"
            yield invalid(f"{path}.pattern", schema["pattern"], why)
    if schema.get("x-kubernetes-list-type") == "map" and not schema.get("x-kubernetes-list-map-keys"):
        why = "must not be empty if x-kubernetes-list-type is map"
        yield required(f"{path}.x-kubernetes-list-map-keys", why)
    for index, rule in enumerate(schema.get("x-kubernetes-validations") or []):
        try:
            compile_rule(str(rule.get("rule", "")))
        except ValueError as error:
            where = f"{path}.x-kubernetes-validations[{index}].rule"
            yield invalid(where, json.loads(json.dumps(rule)), f"compilation failed: {error}")
    for name in sorted(schema.get("properties") or {}):
        yield from _schema_errors(schema["properties"][name], f"{path}.properties[{name}]")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from _schema_errors(schema[name], f"{path}.{name}")
