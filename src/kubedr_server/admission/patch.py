"""The smallest JSON patch (RFC 6902) that brings in defaults.

Defaulting only ever adds: no list is reordered and nothing is removed, so a general diff,
and its surprises, are not needed.
"""

from typing import Any

from kubedr_server.admission.field import same


def additions(before: dict[str, Any], after: dict[str, Any], pointer: str = "") -> list[dict[str, Any]]:
    """Return the operations that make `after` of `before`, where `after` has all of its fields."""
    operations: list[dict[str, Any]] = []
    for name, value in after.items():
        where = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
        if name not in before:
            operations.append({"op": "add", "path": where, "value": value})
        elif isinstance(value, dict) and isinstance(before[name], dict):
            if value is not before[name]:
                operations += additions(before[name], value, where)
        elif value is not before[name] and not same(value, before[name]):
            operations.append({"op": "replace", "path": where, "value": value})
    return operations
