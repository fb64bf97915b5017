"""The parts of a pod that a policy may set: tolerations and the container's resources.

They end up in a CronJob's pod template. A mistake that only the Job controller finds, at two in the
morning, is a backup that did not happen; so they are held to the rules of the pod here.
"""

from decimal import Decimal
from typing import Any, Final

from kubedr_server.admission import names, quantity
from kubedr_server.admission.field import Errors, Path

_TOLERATION_TYPES: Final = {
    "key": "string",
    "operator": "string",
    "value": "string",
    "effect": "string",
    "tolerationSeconds": "integer",
}
_OPERATORS: Final = ("Equal", "Exists")
_EFFECTS: Final = ("NoExecute", "NoSchedule", "PreferNoSchedule")
_STANDARD_RESOURCES: Final = ("cpu", "ephemeral-storage", "memory")
_HUGE_PAGES: Final = "hugepages-"


def check_tolerations(value: list[Any], path: Path, errors: Errors) -> None:
    """Check a list of core/v1 Tolerations."""
    for position, toleration in enumerate(value):
        _check_toleration(toleration, path.index(position), errors)


def _check_toleration(toleration: dict[str, Any], path: Path, errors: Errors) -> None:
    known = len(errors)
    for name, value in toleration.items():
        wanted = _TOLERATION_TYPES.get(name)
        if wanted is None:
            errors.forbidden(
                path.child(name), f"unknown field: a toleration has {', '.join(_TOLERATION_TYPES)}"
            )
        elif value is not None and wanted == "string" and not isinstance(value, str):
            errors.wrong_type(path.child(name), value, "a string")
        elif (
            value is not None
            and wanted == "integer"
            and (isinstance(value, bool) or not isinstance(value, int))
        ):
            errors.wrong_type(path.child(name), value, "an integer")
    if len(errors) > known:
        return
    key, operator = toleration.get("key") or "", toleration.get("operator") or "Equal"
    value, effect = toleration.get("value") or "", toleration.get("effect") or ""
    if key and (wrong := names.qualified_name(key)):
        errors.invalid(path.child("key"), key, wrong)
    if operator not in _OPERATORS:
        errors.not_supported(path.child("operator"), operator, _OPERATORS)
    elif operator == "Exists":
        if value:
            errors.invalid(path.child("value"), value, "value must be empty when `operator` is 'Exists'")
    else:
        if not key:
            errors.invalid(
                path.child("operator"),
                operator,
                'operator must be Exists when `key` is empty, which means "match all values and all keys"',
            )
        if wrong := names.label_value(value):
            errors.invalid(path.child("value"), value, wrong)
    if effect and effect not in _EFFECTS:
        errors.not_supported(path.child("effect"), effect, _EFFECTS)
    elif toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        errors.invalid(
            path.child("effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"
        )


def check_resources(value: dict[str, Any], path: Path, errors: Errors) -> list[str]:
    """Check core/v1 ResourceRequirements; returns warnings."""
    warnings: list[str] = []
    amounts: dict[str, dict[str, Decimal]] = {"limits": {}, "requests": {}}
    for name, listed in value.items():
        if name == "claims":
            errors.forbidden(path.child(name), "a backup pod has no resource claims")
        elif name not in amounts:
            errors.forbidden(path.child(name), "unknown field: resources have limits, requests")
        elif listed is None:
            continue
        elif not isinstance(listed, dict):
            errors.wrong_type(path.child(name), listed, "an object")
        else:
            for resource, amount in listed.items():
                where = path.child(name).key(resource)
                parsed = _check_amount(resource, amount, where, errors)
                if parsed is None:
                    continue
                amounts[name][resource] = parsed
                if resource == "memory" and parsed % 1:
                    warnings.append(
                        f"{where}: {amount} is a fraction of a byte; was {_without_m(amount)}Mi meant?"
                    )
    for resource, request in amounts["requests"].items():
        limit = amounts["limits"].get(resource)
        where = path.child("requests").key(resource)
        shown = value["requests"][resource]
        if limit is not None and request > limit:
            errors.invalid(
                where, shown, f"must be less than or equal to {resource} limit of {value['limits'][resource]}"
            )
        elif resource not in _STANDARD_RESOURCES and request != limit:
            errors.invalid(where, shown, f"must be equal to {resource} limit")
    return warnings


def _check_amount(resource: str, amount: Any, path: Path, errors: Errors) -> Decimal | None:
    if not _is_resource(resource):
        wrong = names.qualified_name(resource) or "must be a standard resource for containers"
        errors.invalid(path, resource, wrong)
        return None
    if isinstance(amount, bool) or not isinstance(amount, str | int | float):
        errors.wrong_type(path, amount, "a quantity, such as 500m or 1Gi")
        return None
    parsed = quantity.parse(amount)
    if parsed is None:
        errors.invalid(path, amount, quantity.PATTERN_WORDS)
    elif parsed < 0:
        errors.invalid(path, amount, "must be greater than or equal to 0")
    elif parsed % 1 and resource not in _STANDARD_RESOURCES:
        errors.invalid(path, amount, "must be an integer")
    else:
        return parsed
    return None


def _is_resource(name: str) -> bool:
    if name in _STANDARD_RESOURCES or (
        name.startswith(_HUGE_PAGES) and quantity.parse(name[len(_HUGE_PAGES) :])
    ):
        return True
    return "/" in name and names.qualified_name(name) is None


def _without_m(amount: Any) -> str:
    return str(amount).rstrip("num")
