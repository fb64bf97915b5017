"""Which webhooks a request concerns: rules, selectors and match conditions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kubedr_server.local.api.cel_rules import evaluate
from kubedr_server.local.api.context import Call, Engine, Object
from kubedr_server.local.api.database import Key
from kubedr_server.local.api.selectors import match_label_selector

_CONFIGURATIONS = {
    "mutating": "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validating": "validatingwebhookconfigurations.admissionregistration.k8s.io",
}
EXEMPT = frozenset(_CONFIGURATIONS.values())
"""No webhook is called for these: nobody could remove a broken one any more."""


@dataclass(frozen=True)
class Webhook:
    """One webhook of one configuration."""

    configuration: str
    spec: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Return the name that messages tell."""
        return str(self.spec["name"])

    @property
    def ignores_failure(self) -> bool:
        """Whether a call that fails lets the request through."""
        return bool(self.spec.get("failurePolicy") == "Ignore")

    @property
    def timeout(self) -> int:
        """Return the call's deadline in seconds."""
        return int(self.spec.get("timeoutSeconds") or 10)


class ConditionError(Exception):
    """A match condition cannot be evaluated."""


def configured(engine: Engine, kind: str) -> Iterator[Webhook]:
    """Yield the webhooks of a kind, `mutating` or `validating`, in the order of their calls."""
    for entry in engine.store.list(_CONFIGURATIONS[kind]):
        for spec in entry.object.get("webhooks") or []:
            yield Webhook(entry.key.name, spec)


def _listed(values: list[str] | None, wanted: str) -> bool:
    return "*" in (values or ()) or wanted in (values or ())


def _resource_matches(patterns: list[str], plural: str, subresource: str) -> bool:
    for pattern in patterns:
        resource, _, sub = pattern.partition("/")
        if resource in ("*", plural) and sub in ("*", subresource):
            return True
    return False


def matches_rules(webhook: Webhook, call: Call, operation: str) -> bool:
    """Whether one of a webhook's rules names the request."""
    target = call.target
    resource = target.resource
    for rule in webhook.spec.get("rules") or []:
        version = _listed(rule.get("apiVersions"), resource.version)
        # The other versions of a resource hold the same objects.
        equivalent = resource.custom and webhook.spec.get("matchPolicy") != "Exact"
        scope = rule.get("scope", "*")
        if (
            _listed(rule.get("operations"), operation)
            and _listed(rule.get("apiGroups"), resource.group)
            and (version or equivalent)
            and _resource_matches(rule.get("resources") or [], resource.plural, target.subresource)
            and (scope == "*" or (scope == "Namespaced") is bool(target.namespace))
        ):
            return True
    return False


def matches_selectors(engine: Engine, webhook: Webhook, call: Call, objects: list[Object]) -> bool:
    """Whether the namespace's labels, and the labels of the new or the old object, are selected."""
    target = call.target
    namespace_selector = webhook.spec.get("namespaceSelector") or {}
    if namespace_selector and (target.namespace or target.resource.qualified == "namespaces"):
        if target.namespace:
            entry = engine.store.get(Key("namespaces", "", target.namespace))
            labels = (entry.object["metadata"].get("labels") or {}) if entry else {}
        else:
            labels = objects[0]["metadata"].get("labels") or {}
        if not match_label_selector(namespace_selector, labels):
            return False
    selector = webhook.spec.get("objectSelector") or {}
    return not selector or any(
        match_label_selector(selector, obj["metadata"].get("labels") or {}) for obj in objects
    )


def matches_conditions(webhook: Webhook, review: Mapping[str, Any]) -> bool:
    """Whether all match conditions hold. Raises ConditionError where one cannot be evaluated."""
    variables = {"request": review, "object": review.get("object"), "oldObject": review.get("oldObject")}
    problems: list[str] = []
    for condition in webhook.spec.get("matchConditions") or []:
        try:
            if evaluate(str(condition["expression"]), variables) is not True:
                return False
        except ValueError as error:
            problems.append(f"{condition.get('name')}: {error}")
    if problems:
        raise ConditionError(", ".join(problems))
    return True
