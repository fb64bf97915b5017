"""Sets of fields, as managedFields records who owns what (the format FieldsV1).

A path is a tuple of FieldsV1's own element names: `f:spec`, `k:{"name":"x"}`, `v:"x"`. A set
holds the leaves and those inner nodes that are owned themselves (FieldsV1 marks them with `.`).
"""

import json
from collections.abc import Iterable
from typing import Any

Path = tuple[str, ...]
FieldSet = frozenset[Path]

EMPTY: FieldSet = frozenset()


def canonical(value: Any) -> str:
    """Write a key or value as FieldsV1 does."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def from_fields_v1(tree: dict[str, Any]) -> FieldSet:
    """Read a FieldsV1 tree."""
    found: set[Path] = set()

    def walk(node: dict[str, Any], path: Path) -> None:
        for name, child in node.items():
            if name == ".":
                found.add(path)
                continue
            inner = (*path, name)
            if child:
                walk(child, inner)
            else:
                found.add(inner)

    walk(tree, ())
    return frozenset(found)


def to_fields_v1(fields: FieldSet) -> dict[str, Any]:
    """Write a FieldsV1 tree."""
    tree: dict[str, Any] = {}
    inner = {path[:length] for path in fields for length in range(1, len(path))}
    for path in sorted(fields):
        node = tree
        for element in path:
            node = node.setdefault(element, {})
        if path in inner:
            node["."] = {}
    return tree


def with_parents(fields: Iterable[Path]) -> set[Path]:
    """Return the paths and all that lead to them."""
    return {path[:length] for path in fields for length in range(1, len(path) + 1)}


def show(path: Path) -> str:
    """Write a path for people: `.spec.containers[name="x"].image`."""
    text = ""
    for element in path:
        kind, _, value = element.partition(":")
        if kind == "f":
            text += f".{value}"
        elif kind == "k":
            keys = json.loads(value)
            text += "[" + ",".join(f"{key}={canonical(keys[key])}" for key in sorted(keys)) + "]"
        elif kind == "v":
            text += f"[={value}]"
        else:
            text += f"[{value}]"
    return text


def owned_by_nobody(path: Path) -> bool:
    """Whether a field is the server's or names the object: such fields have no manager."""
    if path in (("f:apiVersion",), ("f:kind",), ("f:metadata",)):
        return True
    return len(path) >= 2 and path[0] == "f:metadata" and path[1] in _SERVER_FIELDS


_SERVER_FIELDS = {
    f"f:{name}"
    for name in (
        "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation",
        "managedFields", "resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds",
    )
}  # fmt: skip
