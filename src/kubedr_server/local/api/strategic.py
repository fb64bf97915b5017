"""Strategic merge patch: kubectl's `patch` and client-side `apply` of built-in kinds.

Lists are merged by the key that the schema names; `$patch`, `$retainKeys`,
`$setElementOrder/...` and `$deleteFromPrimitiveList/...` steer it.
"""

from typing import Any

from kubedr_server.local.api.errors import bad_request
from kubedr_server.local.api.schemas import Definitions, Schema

Object = dict[str, Any]

_PATCH = "$patch"
_RETAIN = "$retainKeys"
_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"


class StrategicMerge:
    """Merges by the packaged definitions' `x-kubernetes-patch-strategy` and `-merge-key`."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions

    def merge(self, value: Object, patch: Object, schema: Schema) -> Object:
        """Return `value` changed by `patch`. Raises APIError(400) for a malformed patch."""
        directive = patch.pop(_PATCH, None)
        if directive == "replace":
            return patch
        if directive == "delete":
            return {}
        if directive not in (None, "merge"):
            raise bad_request(f"Unknown patch type found: {directive}")
        result = dict(value)
        retained = patch.pop(_RETAIN, None)
        if retained is not None:
            result = {key: item for key, item in result.items() if key in retained}
        orders = _take(patch, _ORDER)
        deletions = _take(patch, _DELETE)
        for key, items in deletions.items():
            if isinstance(result.get(key), list):
                result[key] = [item for item in result[key] if item not in items]
        for key, item in patch.items():
            field = self._field(schema, key)
            if item is None:
                result.pop(key, None)
            elif isinstance(item, dict):
                before = result.get(key)
                result[key] = self.merge(before if isinstance(before, dict) else {}, item, field)
            elif isinstance(item, list) and "merge" in _strategies(field):
                result[key] = self._list(result.get(key) or [], item, field)
            else:
                result[key] = item
        for key, order in orders.items():
            if isinstance(result.get(key), list):
                merge_key = self._field(schema, key).get("x-kubernetes-patch-merge-key")
                result[key] = _ordered(result[key], order, merge_key)
        return result

    def _field(self, schema: Schema, key: str) -> Schema:
        resolved = self._definitions.resolve(schema)
        field = resolved.get("properties", {}).get(key)
        if field is None:
            extra = resolved.get("additionalProperties")
            field = extra if isinstance(extra, dict) else {}
        return dict(self._definitions.resolve(field))

    def _list(self, value: list[Any], patch: list[Any], schema: Schema) -> list[Any]:
        merge_key = schema.get("x-kubernetes-patch-merge-key")
        if merge_key is None:
            return [*value, *(item for item in patch if item not in value)]
        result = list(value)
        items: Schema = schema.get("items", {})
        if {_PATCH: "replace"} in patch:
            return [item for item in patch if item != {_PATCH: "replace"}]
        for item in patch:
            if not isinstance(item, dict) or merge_key not in item:
                raise bad_request(f"map: {item} does not contain declared merge key: {merge_key}")
            index = next((i for i, old in enumerate(result) if old.get(merge_key) == item[merge_key]), None)
            if item.get(_PATCH) == "delete":
                if index is not None:
                    del result[index]
            elif index is None:
                result.append(self.merge({}, dict(item), items))
            else:
                result[index] = self.merge(result[index], dict(item), items)
        return result


def _strategies(field: Schema) -> list[str]:
    return str(field.get("x-kubernetes-patch-strategy", "")).split(",")


def _take(patch: Object, prefix: str) -> dict[str, list[Any]]:
    taken = {key.removeprefix(prefix): value for key, value in patch.items() if key.startswith(prefix)}
    for key in taken:
        del patch[prefix + key]
    return taken


def _ordered(items: list[Any], order: list[Any], merge_key: str | None) -> list[Any]:
    """Put the named items into their order; the others keep their places before or after them."""

    def identity(item: Any) -> Any:
        return item.get(merge_key) if merge_key and isinstance(item, dict) else item

    rank = {identity(item): index for index, item in enumerate(order)}
    named = sorted((item for item in items if identity(item) in rank), key=lambda item: rank[identity(item)])
    result: list[Any] = []
    for item in items:
        if identity(item) in rank:
            result += named
            named = []
        else:
            result.append(item)
    return result
