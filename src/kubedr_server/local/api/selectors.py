"""Label and field selectors, as `kubectl get -l` and `--field-selector` send them."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from kubedr_server.local.api.errors import bad_request
from kubedr_server.local.api.resources import ResourceType

Matcher = Callable[[Mapping[str, Any]], bool]
_KEY = r"[A-Za-z0-9][A-Za-z0-9_./-]*"
_SET = re.compile(rf"^({_KEY})\s+(in|notin)\s*\(([^)]*)\)$")
_EQUAL = re.compile(rf"^({_KEY})\s*(==|=|!=)\s*([A-Za-z0-9_.-]*)$")
_COMPARE = re.compile(rf"^({_KEY})\s*([<>])\s*(\d+)$")
_EXISTS = re.compile(rf"^(!?)\s*({_KEY})$")

_COMMON_FIELDS = ("metadata.name", "metadata.namespace")
_FIELDS: dict[str, tuple[str, ...]] = {
    "pods": (
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
        "spec.hostNetwork", "status.phase", "status.podIP", "status.nominatedNodeName",
    ),
    "events": (
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
        "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath",
        "reason", "reportingComponent", "source", "type",
    ),
    "secrets": ("type",),
    "namespaces": ("status.phase",),
    "nodes": ("spec.unschedulable",),
    "jobs.batch": ("status.successful",),
    "replicasets.apps": ("status.replicas",),
}  # fmt: skip


def _requirement(text: str) -> Matcher:
    if found := _SET.match(text):
        key, operator, listed = found.groups()
        values = {value.strip() for value in listed.split(",")}
        if operator == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found := _EQUAL.match(text):
        key, operator, value = found.groups()
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := _COMPARE.match(text):
        key, operator, number = found.groups()
        return lambda labels: _compares(labels.get(key), operator, int(number))
    if found := _EXISTS.match(text):
        negated, key = found.groups()
        return (lambda labels: key not in labels) if negated else (lambda labels: key in labels)
    raise bad_request(f"unable to parse requirement: found '{text}', expected: a label selector")


def _compares(value: str | None, operator: str, number: int) -> bool:
    if value is None or re.fullmatch(r"-?\d+", value) is None:
        return False
    return int(value) > number if operator == ">" else int(value) < number


def parse_labels(selector: str) -> Matcher | None:
    """Return a predicate over labels; None where everything matches. Raises APIError(400)."""
    parts = [part.strip() for part in re.split(r",(?![^(]*\))", selector)] if selector.strip() else []
    if not parts:
        return None
    if not parts[-1]:
        raise bad_request("found '', expected: identifier after ','")
    matchers = [_requirement(part) for part in parts]
    return lambda labels: all(matches(labels) for matches in matchers)


def match_label_selector(selector: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
    """Whether a metav1.LabelSelector selects these labels; an empty one selects everything."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions") or []:
        key, values = expression.get("key"), expression.get("values") or []
        present = key in labels
        holds = {
            "In": present and labels.get(key) in values,
            "NotIn": not present or labels.get(key) not in values,
            "Exists": present,
            "DoesNotExist": not present,
        }.get(str(expression.get("operator")), False)
        if not holds:
            return False
    return True


def _field(obj: Mapping[str, Any], path: str) -> str:
    if path == "source":
        path = "source.component"
    if path == "status.successful":
        path = "status.succeeded"
    value: Any = obj
    for part in path.lstrip(".").split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def parse_fields(selector: str, resource: ResourceType) -> Matcher | None:
    """Return a predicate over objects; None where everything matches. Raises APIError(400)."""
    known = {
        *_COMMON_FIELDS,
        *_FIELDS.get(resource.qualified, ()),
        *(p.lstrip(".") for p in resource.selectable),
    }
    terms: list[tuple[str, bool, str]] = []
    for part in filter(None, (part.strip() for part in selector.split(","))):
        for operator in ("!=", "==", "="):
            path, found, value = part.partition(operator)
            if found:
                break
        else:
            raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
        if path not in known:
            if resource.custom or resource.qualified in _FIELDS:
                raise bad_request(f"field label not supported: {path}")
            names = ", ".join(f'"{name}"' for name in sorted(known))
            raise bad_request(f'"{path}" is not a known field selector: only {names}')
        terms.append((path, operator != "!=", value))
    if not terms:
        return None
    return lambda obj: all((_field(obj, path) == value) is wanted for path, wanted, value in terms)


def exact_name(selector: str) -> str | None:
    """Return the name if the selector names one object."""
    for part in selector.split(","):
        path, found, value = part.partition("=")
        if found and path == "metadata.name" and value:
            return value.lstrip("=")
    return None
