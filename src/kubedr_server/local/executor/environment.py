"""A container's environment and arguments, from its pod and the Secrets and ConfigMaps that it names."""

import base64
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kubedr_server.local.executor.objects import Object, name_of, namespace_of, uid_of

_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


class ConfigError(Exception):
    """The container cannot be configured yet; the message says what is missing, as a kubelet does."""


@dataclass(frozen=True)
class Sources:
    """Reads the objects that an environment is made of; None if there is no such object."""

    secret: Callable[[str], Awaitable[Object | None]]
    config_map: Callable[[str], Awaitable[Object | None]]


async def environment(pod: Object, container: Object, sources: Sources) -> dict[str, str]:
    """Return the container's variables, later ones over earlier ones. Raises ConfigError."""
    found: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        found |= await _from_object(source, namespace_of(pod), sources)
    for variable in container.get("env") or []:
        value = await _value(variable, pod, found, sources)
        if value is not None:
            found[variable["name"]] = value
    return found


def expand(text: str, known: dict[str, str]) -> str:
    """Replace `$(NAME)` by the variable's value; `$$` stands for `$`, and what is unknown stays."""

    def replacement(match: re.Match[str]) -> str:
        if match.group() == "$$":
            return "$"
        return known.get(match.group(1), match.group())

    return _REFERENCE.sub(replacement, text)


def data_of(obj: Object) -> dict[str, bytes]:
    """Return the contents of a Secret or a ConfigMap by key."""
    if obj["kind"] == "Secret":
        return {key: base64.b64decode(value) for key, value in (obj.get("data") or {}).items()}
    plain = {key: value.encode() for key, value in (obj.get("data") or {}).items()}
    binary = {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}
    return plain | binary


async def _from_object(source: Object, namespace: str, sources: Sources) -> dict[str, str]:
    reference, kind, obj = await _referenced(source, "secretRef", "configMapRef", sources)
    if obj is None:
        if reference.get("optional"):
            return {}
        raise ConfigError(f'{kind} "{reference["name"]}" not found in namespace {namespace}')
    prefix = source.get("prefix") or ""
    return {prefix + key: value.decode(errors="replace") for key, value in data_of(obj).items()}


async def _referenced(
    source: Object, secret: str, config_map: str, sources: Sources
) -> tuple[Object, str, Object | None]:
    if reference := source.get(secret):
        return reference, "secret", await sources.secret(reference["name"])
    reference = source[config_map]
    return reference, "configmap", await sources.config_map(reference["name"])


async def _value(variable: Object, pod: Object, known: dict[str, str], sources: Sources) -> str | None:
    source = variable.get("valueFrom")
    if not source:
        return expand(variable.get("value") or "", known)
    if field := source.get("fieldRef"):
        return field_value(pod, field["fieldPath"])
    if "secretKeyRef" not in source and "configMapKeyRef" not in source:
        raise ConfigError(
            f"variable {variable['name']}: local mode knows fieldRef, secretKeyRef and configMapKeyRef only"
        )
    reference, kind, obj = await _referenced(source, "secretKeyRef", "configMapKeyRef", sources)
    value = None if obj is None else data_of(obj).get(reference["key"])
    if value is not None:
        return value.decode(errors="replace")
    if reference.get("optional"):
        return None
    if obj is None:
        raise ConfigError(f'{kind} "{reference["name"]}" not found')
    where = f"{namespace_of(pod)}/{reference['name']}"
    raise ConfigError(f"couldn't find key {reference['key']} in {kind.capitalize()} {where}")


def field_value(pod: Object, path: str) -> str:
    """Return what the downward API gives for a path. Raises ConfigError for one that it does not know."""
    if subscript := _SUBSCRIPT.fullmatch(path):
        values = pod["metadata"].get(subscript[1]) or {}
        return str(values.get(subscript[2], ""))
    spec, status = pod["spec"], pod.get("status") or {}
    fields = {
        "metadata.name": name_of(pod),
        "metadata.namespace": namespace_of(pod),
        "metadata.uid": uid_of(pod),
        "metadata.labels": _lines(pod["metadata"].get("labels")),
        "metadata.annotations": _lines(pod["metadata"].get("annotations")),
        "spec.nodeName": spec.get("nodeName") or "",
        "spec.serviceAccountName": spec.get("serviceAccountName") or "default",
        "status.hostIP": status.get("hostIP") or "127.0.0.1",
        "status.hostIPs": status.get("hostIP") or "127.0.0.1",
        "status.podIP": status.get("podIP") or "127.0.0.1",
        "status.podIPs": status.get("podIP") or "127.0.0.1",
    }
    if path not in fields:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return fields[path]


def _lines(values: dict[str, str] | None) -> str:
    return "\n".join(f'{key}="{value}"' for key, value in sorted((values or {}).items()))
