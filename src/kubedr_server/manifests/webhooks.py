"""The webhook configurations: when the API server asks us, and how long it waits.

They are limited to our own group, so that a server that is down never stands in the way of
anything else; objects that are being deleted are not asked about at all.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kubedr_server.api.group import GROUP, VERSION
from kubedr_server.api.kinds import BACKUP_LOCATION, KINDS, METADATA_BACKUP_RECORD, Kind

MUTATING_WEBHOOK: Final = f"defaults.{GROUP}"
VALIDATING_WEBHOOK: Final = f"validation.{GROUP}"
"""The names that the API server prints when it passes a refusal on."""

MUTATE_PATH: Final = "/mutate"
VALIDATE_PATH: Final = "/validate"
TIMEOUT_SECONDS: Final = 5

_GUARDED: Final = (BACKUP_LOCATION, METADATA_BACKUP_RECORD)
"""The kinds whose deletion can be refused."""

_NOT_BEING_DELETED: Final = {
    "name": "not-being-deleted",
    "expression": (
        "request.operation == 'DELETE' ? !has(oldObject.metadata.deletionTimestamp) "
        ": !has(object.metadata.deletionTimestamp)"
    ),
}


@dataclass(frozen=True)
class ServiceTarget:
    """The webhooks behind a Service of the cluster."""

    name: str
    namespace: str
    port: int = 443


@dataclass(frozen=True)
class URLTarget:
    """The webhooks at a URL, such as `https://127.0.0.1:9443`: a server outside the cluster."""

    url: str


Target = ServiceTarget | URLTarget


def mutating_configuration(
    name: str, target: Target, ca_bundle: bytes | None = None, *, metadata: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the MutatingWebhookConfiguration. `metadata` adds labels and annotations."""
    webhook = _webhook(MUTATING_WEBHOOK, target, MUTATE_PATH, ca_bundle)
    webhook["rules"] = [_rule(("CREATE", "UPDATE"), KINDS)]
    webhook["reinvocationPolicy"] = "IfNeeded"
    return _configuration("MutatingWebhookConfiguration", name, webhook, metadata)


def validating_configuration(
    name: str, target: Target, ca_bundle: bytes | None = None, *, metadata: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the ValidatingWebhookConfiguration. `metadata` adds labels and annotations."""
    webhook = _webhook(VALIDATING_WEBHOOK, target, VALIDATE_PATH, ca_bundle)
    webhook["rules"] = [_rule(("CREATE", "UPDATE"), KINDS), _rule(("DELETE",), _GUARDED)]
    return _configuration("ValidatingWebhookConfiguration", name, webhook, metadata)


def _configuration(
    kind: str, name: str, webhook: dict[str, Any], metadata: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name, **(metadata or {})},
        "webhooks": [webhook],
    }


def _webhook(name: str, target: Target, path: str, ca_bundle: bytes | None) -> dict[str, Any]:
    return {
        "name": name,
        "clientConfig": _client_config(target, path, ca_bundle),
        "admissionReviewVersions": ["v1"],
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "matchConditions": [dict(_NOT_BEING_DELETED)],
        "sideEffects": "None",
        "timeoutSeconds": TIMEOUT_SECONDS,
    }


def _client_config(target: Target, path: str, ca_bundle: bytes | None) -> dict[str, Any]:
    config: dict[str, Any]
    match target:
        case ServiceTarget():
            config = {
                "service": {
                    "name": target.name,
                    "namespace": target.namespace,
                    "path": path,
                    "port": target.port,
                }
            }
        case URLTarget():
            config = {"url": target.url.rstrip("/") + path}
    if ca_bundle is not None:
        config["caBundle"] = base64.b64encode(ca_bundle).decode()
    return config


def _rule(operations: Sequence[str], kinds: Sequence[Kind]) -> dict[str, Any]:
    return {
        "apiGroups": [GROUP],
        "apiVersions": [VERSION],
        "operations": list(operations),
        "resources": [kind.plural for kind in kinds],
        "scope": "Namespaced",
    }
