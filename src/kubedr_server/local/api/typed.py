"""Objects seen through their schema: which lists merge by key, which maps are one value.

These are the operations that server-side apply is made of: the fields of an object, the
difference of two objects, the merge of an applied configuration, the removal of fields.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kubedr_server.local.api.fieldset import FieldSet, Path, canonical, show
from kubedr_server.local.api.schemas import Definitions, Schema

_ABSENT: Any = object()
_MAP, _KEYED, _SET, _LEAF = "map", "keyed", "set", "leaf"
_EXPECTED: dict[str, tuple[str, tuple[type, ...]]] = {
    "integer": ("numeric (int or float)", (int, float)),
    "number": ("numeric (int or float)", (int, float)),
    "string": ("string", (str,)),
    "boolean": ("boolean", (bool,)),
    "object": ("map", (dict,)),
    "array": ("list", (list,)),
}
_KEY_DEFAULTS = {"protocol": "TCP"}


class DuplicateItemError(Exception):
    """A list that is a map or a set has an item twice."""

    def __init__(self, path: Path, element: str) -> None:
        super().__init__("duplicate entries in a list")
        self.path = path
        self.element = element


@dataclass
class Difference:
    """What one object has otherwise than another; inner nodes that came or went are named, too."""

    changed: set[Path] = field(default_factory=set)
    removed: set[Path] = field(default_factory=set)


class Typed:
    """The operations, by schemas that may refer to the packaged definitions."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions

    def _shape(self, schema: Schema, value: Any) -> tuple[str, Schema]:
        schema = self._definitions.resolve(schema)
        if isinstance(value, dict):
            return (_LEAF if schema.get("x-kubernetes-map-type") == "atomic" else _MAP), schema
        if isinstance(value, list):
            kind = schema.get("x-kubernetes-list-type")
            merges = "merge" in str(schema.get("x-kubernetes-patch-strategy", "")).split(",")
            if kind == "map" or (kind is None and merges and "x-kubernetes-patch-merge-key" in schema):
                return _KEYED, schema
            if kind == "set" or (kind is None and merges):
                return _SET, schema
        return _LEAF, schema

    def _child(self, schema: Schema, name: str) -> Schema:
        found = schema.get("properties", {}).get(name)
        if found is None:
            extra = schema.get("additionalProperties")
            found = extra if isinstance(extra, dict) else {}
        child: Schema = found
        return child

    def _items(self, shape: str, schema: Schema, value: Any, path: Path) -> dict[str, Any]:
        """Return a list's items by their path elements. Raises DuplicateItemError."""
        keys = schema.get("x-kubernetes-list-map-keys") or [schema.get("x-kubernetes-patch-merge-key")]
        found: dict[str, Any] = {}
        for item in value or []:
            if shape == _KEYED:
                identity = {}
                for key in keys:
                    held = item.get(key, _KEY_DEFAULTS.get(key)) if isinstance(item, dict) else None
                    if held is not None:
                        identity[key] = held
                element = f"k:{canonical(identity)}"
            else:
                element = f"v:{canonical(item)}"
            if element in found:
                raise DuplicateItemError(path, element)
            found[element] = item
        return found

    def _children(
        self, shape: str, schema: Schema, value: Any, path: Path
    ) -> Iterator[tuple[str, Any, Schema]]:
        if shape == _MAP:
            for name, item in value.items():
                yield f"f:{name}", item, self._child(schema, name)
        else:
            for element, item in self._items(shape, schema, value, path).items():
                yield element, item, schema.get("items", {})

    def fields(self, obj: Any, schema: Schema) -> FieldSet:
        """Return the fields that an applied configuration names. Raises DuplicateItemError."""
        found: set[Path] = set()

        def walk(value: Any, schema: Schema, path: Path) -> None:
            shape, resolved = self._shape(schema, value)
            if shape == _LEAF or (shape == _MAP and not value):
                found.add(path)
                return
            for element, item, child in self._children(shape, resolved, value, path):
                inner = (*path, element)
                if shape != _MAP or element[2:] not in resolved.get("properties", {}):
                    found.add(inner)
                walk(item, child, inner)

        walk(obj, schema, ())
        found.discard(())
        return frozenset(found)

    def mistakes(self, config: Any, schema: Schema) -> list[str]:
        """Return what does not fit the schema, as the real server tells it of an applied configuration."""
        found: list[str] = []

        def walk(value: Any, schema: Schema, path: Path) -> None:
            resolved = self._definitions.resolve(schema)
            wanted = _EXPECTED.get(str(resolved.get("type")))
            free = resolved.get("x-kubernetes-preserve-unknown-fields") or "type" not in resolved
            if free or resolved.get("x-kubernetes-int-or-string") or value is None:
                return
            if wanted is not None and not isinstance(value, wanted[1]):
                found.append(f"{show(path)}: expected {wanted[0]}, got {_got(value)}")
            elif isinstance(value, dict):
                fields, extra = resolved.get("properties", {}), resolved.get("additionalProperties")
                for name, item in value.items():
                    if name in fields or isinstance(extra, dict):
                        walk(item, self._child(resolved, name), (*path, f"f:{name}"))
                    elif extra is not True:
                        found.append(f"{show((*path, f'f:{name}'))}: field not declared in schema")
            elif isinstance(value, list):
                for index, item in enumerate(value):
                    walk(item, resolved.get("items", {}), (*path, f"i:{index}"))

        walk(config, schema, ())
        return found

    def difference(self, old: Any, new: Any, schema: Schema) -> Difference:
        """Return what `new` has otherwise than `old`."""
        result = Difference()

        def walk(before: Any, after: Any, schema: Schema, path: Path) -> None:
            shape, resolved = self._shape(schema, after if after is not _ABSENT else before)
            same_type = before is _ABSENT or after is _ABSENT or type(before) is type(after)
            if shape == _LEAF or not same_type or not (_full(before) or _full(after)):
                _leaf(result, before, after, path)
                return
            old_children = {} if before is _ABSENT else self._lenient(shape, resolved, before, path)
            new_children = {} if after is _ABSENT else self._lenient(shape, resolved, after, path)
            for element in [*old_children, *(name for name in new_children if name not in old_children)]:
                item, child = old_children.get(element) or new_children[element]
                walk(
                    item if element in old_children else _ABSENT,
                    new_children[element][0] if element in new_children else _ABSENT,
                    child,
                    (*path, element),
                )
            if before is _ABSENT or after is _ABSENT:
                _leaf(result, before, after, path)

        walk(old, new, schema, ())
        result.changed.discard(())
        return result

    def _lenient(self, shape: str, schema: Schema, value: Any, path: Path) -> dict[str, tuple[Any, Schema]]:
        try:
            return {name: (item, child) for name, item, child in self._children(shape, schema, value, path)}
        except DuplicateItemError:
            items = schema.get("items", {})
            return {f"i:{index}": (item, items) for index, item in enumerate(value)}

    def merge(self, live: Any, config: Any, schema: Schema) -> Any:
        """Return `live` with everything that `config` says."""
        shape, resolved = self._shape(schema, config)
        if shape == _LEAF or type(live) is not type(config):
            return config
        if shape == _MAP:
            result = dict(live)
            for name, item in config.items():
                result[name] = self.merge(live.get(name, _ABSENT), item, self._child(resolved, name))
            return result
        try:
            old = self._items(shape, resolved, live, ())
        except DuplicateItemError:
            return config
        new = self._items(shape, resolved, config, ())
        items = resolved.get("items", {})
        return [self.merge(old.get(name, _ABSENT), new[name], items) if name in new else old[name]
                for name in _interleave(list(old), list(new))]  # fmt: skip

    def remove(self, obj: Any, paths: set[Path], schema: Schema) -> None:
        """Remove fields in place; what is not there is no error."""
        tree: dict[str, Any] = {}
        for path in paths:
            node = tree
            for element in path:
                node = node.setdefault(element, {})
            node["."] = {}
        self._remove(obj, tree, schema, ())

    def _remove(self, value: Any, tree: dict[str, Any], schema: Schema, path: Path) -> None:
        shape, resolved = self._shape(schema, value)
        if shape == _LEAF:
            return
        children = self._lenient(shape, resolved, value, path)
        gone = [element for element in children if "." in tree.get(element, {})]
        for element, (item, child) in children.items():
            if element in tree and element not in gone:
                self._remove(item, tree[element], child, (*path, element))
        if shape == _MAP:
            for element in gone:
                del value[element[2:]]
        elif gone:
            value[:] = [item for element, (item, _) in children.items() if element not in gone]


def _got(value: Any) -> str:
    names = {str: "string", bool: "boolean", int: "int", float: "float", dict: "map", list: "list"}
    return names.get(type(value), "null")


def _full(value: Any) -> bool:
    return value is not _ABSENT and bool(value)


def _leaf(result: Difference, before: Any, after: Any, path: Path) -> None:
    if after is _ABSENT:
        result.removed.add(path)
    elif before is _ABSENT or before != after or isinstance(before, bool) is not isinstance(after, bool):
        result.changed.add(path)


def _interleave(old: list[str], new: list[str]) -> list[str]:
    """Order the union of two lists: the new one's order rules, old items stay where they were between."""
    result: list[str] = []
    wanted = set(new)
    rest = iter(new)
    position = 0
    for element in old:
        if element not in wanted:
            result.append(element)
            continue
        while element not in result:
            result.append(next(rest))
            position += 1
    return [*result, *rest]
