"""What a schema does to an object before it is judged: unknown fields are dropped, defaults filled in."""

import copy
from typing import Any

from kubedr_server.local.api.gotypes import decode_scalar
from kubedr_server.local.api.schemas import OBJECT_META, Definitions, Schema, reference

PRESERVE = "x-kubernetes-preserve-unknown-fields"
EMBEDDED = "x-kubernetes-embedded-resource"


def join(path: str, name: str) -> str:
    """Return the path of a field of an object."""
    return f"{path}.{name}" if path else name


class Structure:
    """Prunes and defaults objects by schemas that may refer to the packaged definitions."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions

    def _fields(self, schema: Schema) -> dict[str, Schema]:
        fields: dict[str, Schema] = schema.get("properties", {})
        if schema.get(EMBEDDED):
            text: Schema = {"type": "string"}
            return {"apiVersion": text, "kind": text, "metadata": reference(OBJECT_META)} | fields
        return fields

    def prune(self, value: Any, schema: Schema) -> list[str]:
        """Drop in place what the schema does not know; return the paths of what was dropped."""
        unknown: list[str] = []
        self._prune(value, schema, "", unknown)
        return unknown

    def _prune(self, value: Any, schema: Schema, path: str, unknown: list[str]) -> None:
        schema = self._definitions.resolve(schema)
        if isinstance(value, dict):
            fields = self._fields(schema)
            extra = schema.get("additionalProperties")
            keep = bool(schema.get(PRESERVE)) or extra is True or "type" not in schema
            for key in list(value):
                if key in fields:
                    self._prune(value[key], fields[key], join(path, key), unknown)
                elif isinstance(extra, dict):
                    self._prune(value[key], extra, join(path, key), unknown)
                elif not keep:
                    unknown.append(join(path, key))
                    del value[key]
        elif isinstance(value, list) and isinstance(schema.get("items"), dict):
            for index, item in enumerate(value):
                self._prune(item, schema["items"], f"{path}[{index}]", unknown)

    def default(self, value: Any, schema: Schema) -> None:
        """Fill in missing fields that have a default; a null that may not be null counts as missing."""
        schema = self._definitions.resolve(schema)
        if isinstance(value, dict):
            fields = self._fields(schema)
            for name, field in fields.items():
                resolved = self._definitions.resolve(field)
                if value.get(name, value) is None and not resolved.get("nullable") and "default" in resolved:
                    del value[name]
                if name not in value and "default" in resolved:
                    value[name] = copy.deepcopy(resolved["default"])
                elif value.get(name, value) is None and not resolved.get("nullable"):
                    del value[name]
                if name in value:
                    self.default(value[name], field)
            extra = schema.get("additionalProperties")
            if isinstance(extra, dict):
                for name, item in value.items():
                    if name not in fields:
                        self.default(item, extra)
        elif isinstance(value, list) and isinstance(schema.get("items"), dict):
            for item in value:
                self.default(item, schema["items"])

    def mistyped(self, value: Any, schema: Schema) -> str | None:
        """Return a built-in object's first type error, as Go's JSON decoder words it; nulls are dropped."""
        return self._mistyped(value, schema, "", "")

    def _mistyped(self, value: Any, schema: Schema, path: str, owner: str) -> str | None:
        name = self._definitions.name_of(schema)
        schema = self._definitions.resolve(schema)
        wanted = schema.get("type")
        if wanted is None or schema.get("x-kubernetes-int-or-string") or schema.get(PRESERVE):
            return None
        if not _is(value, wanted):
            field = f"{owner}.{path}" if owner else path
            return (
                f"json: cannot unmarshal {_go_kind(value)} into Go struct field {field} "
                f"of type {_go_type(schema, name)}"
            )
        if isinstance(value, dict):
            return self._mistyped_fields(value, schema, path, name or owner)
        if isinstance(value, list) and isinstance(schema.get("items"), dict):
            items = schema["items"]
            for index, item in enumerate(value):
                try:
                    value[index] = self._scalar(item, items)
                except ValueError as error:
                    return str(error)
                found = self._mistyped(value[index], items, path, owner)
                if found:
                    return found
        return None

    def _mistyped_fields(self, value: dict[str, Any], schema: Schema, path: str, owner: str) -> str | None:
        fields, extra = self._fields(schema), schema.get("additionalProperties")
        for key in list(value):
            declared = key in fields
            child = fields.get(key, extra if isinstance(extra, dict) else None)
            if value[key] is None:
                del value[key]
            elif child is not None:
                try:
                    value[key] = self._scalar(value[key], child)
                except ValueError as error:
                    return str(error)
                # Go names the map, not its key.
                found = self._mistyped(value[key], child, join(path, key) if declared else path, owner)
                if found:
                    return found
        return None

    def _scalar(self, value: Any, schema: Schema) -> Any:
        form = str(self._definitions.resolve(schema).get("format", ""))
        return decode_scalar(value, self._definitions.name_of(schema), form)


def _is(value: Any, wanted: str) -> bool:
    match wanted:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
    return True


def _go_kind(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
    return "object"


def _go_type(schema: Schema, name: str) -> str:
    kind = schema.get("type")
    if kind == "integer":
        return str(schema.get("format", "int64"))
    if kind == "boolean":
        return "bool"
    if kind == "array":
        return "[]" + _go_type(schema.get("items", {}), str(schema.get("items", {}).get("$ref", "")))
    if kind == "object" and not name:
        return "map[string]string"
    package = name.rpartition(".")
    return f"v1.{package[2]}" if name else str(kind)
