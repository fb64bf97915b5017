"""Judging custom resources by their schema, in the API server's words.

Written for the structural subset that CustomResourceDefinitions may use. What an update leaves
unchanged is not judged again, so that an old object can still be edited after its schema grew.
"""

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from kubedr_server.local.api.errors import FieldError, duplicate, invalid, required, show, too_long, too_many
from kubedr_server.local.api.errors import unsupported as not_supported
from kubedr_server.local.api.fieldset import canonical
from kubedr_server.local.api.schemas import Schema
from kubedr_server.local.api.structural import join

_ABSENT: Any = object()
NOT_CHECKED = FieldError(
    "FieldValueInvalid",
    "<nil>",
    "Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
)
_BLOCKING = {
    "FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany",
    "FieldValueTypeInvalid",
}  # fmt: skip


def blocks_rules(errors: list[FieldError]) -> bool:
    """Whether the errors are such that CEL rules cannot be evaluated any more."""
    return any(error.reason in _BLOCKING for error in errors)


def _is_date_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None and "T" in text.upper()
    except ValueError:
        return False


def _is_date(text: str) -> bool:
    try:
        return len(text) == 10 and bool(datetime.strptime(text, "%Y-%m-%d"))  # noqa: DTZ007 - a date has no zone
    except ValueError:
        return False


_FORMATS: dict[str, Callable[[str], bool]] = {
    "date-time": _is_date_time,
    "date": _is_date,
    "uri": lambda text: bool(urlsplit(text).scheme),
    "email": lambda text: re.fullmatch(r"[^@\s]+@[^@\s]+", text) is not None,
    "uuid": lambda text: re.fullmatch(r"(?i)[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", text) is not None,
    "ipv4": lambda text: re.fullmatch(r"(\d{1,3}\.){3}\d{1,3}", text) is not None,
    "duration": lambda text: re.fullmatch(r"([0-9.]+(ns|us|µs|ms|s|m|h))+|0", text) is not None,
    "byte": lambda text: re.fullmatch(r"[A-Za-z0-9+/]*={0,2}", text) is not None,
}


def type_name(value: Any) -> str:
    """Return the name of a JSON value's type, as validation messages give it."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case int():
            return "integer"
        case float():
            return "number"
        case list():
            return "array"
    return "object"


def _fits(value: Any, wanted: str) -> bool:
    found = type_name(value)
    return (
        found == wanted
        or (wanted == "number" and found == "integer")
        or (wanted == "integer" and isinstance(value, float) and value.is_integer())
    )


def pairs(schema: Schema, value: list[Any], old: Any) -> Iterator[tuple[Any, Any]]:
    """Yield a list's items, each with the old item of the same key where the list is a map."""
    keys = schema.get("x-kubernetes-list-map-keys")
    if schema.get("x-kubernetes-list-type") == "map" and keys and isinstance(old, list):
        before = {canonical([item.get(key) for key in keys]): item for item in old if isinstance(item, dict)}
        for item in value:
            found = canonical([item.get(key) for key in keys]) if isinstance(item, dict) else ""
            yield item, before.get(found, _ABSENT)
        return
    for item in value:
        yield item, _ABSENT


class SchemaValidator:
    """Collects what a schema finds wrong with a value."""

    def errors(self, value: Any, schema: Schema, old: Any = _ABSENT) -> list[FieldError]:
        """Return the errors of an object; `old` is what it replaces."""
        return list(self._walk(value, schema, "", old))

    def _walk(self, value: Any, schema: Schema, path: str, old: Any) -> Iterator[FieldError]:
        if old is not _ABSENT and value == old and type(value) is type(old):
            return
        if value is None and schema.get("nullable"):
            return
        mistake = self._type_error(value, schema, path)
        if mistake is not None:
            yield mistake
        if "enum" in schema and value not in schema["enum"]:
            yield not_supported(path, value, schema["enum"])
        if mistake is not None:
            return
        yield from self._combinations(value, schema, path)
        match value:
            case bool() | None:
                pass
            case str():
                yield from _string_errors(value, schema, path)
            case int() | float():
                yield from _number_errors(value, schema, path)
            case list():
                yield from self._list_errors(value, schema, path, old)
            case dict():
                yield from self._object_errors(value, schema, path, old)

    def _type_error(self, value: Any, schema: Schema, path: str) -> FieldError | None:
        wanted = schema.get("type")
        if schema.get("x-kubernetes-int-or-string"):
            if type_name(value) in ("integer", "string"):
                return None
            wanted = "integer,string"
        elif wanted is None or _fits(value, wanted):
            return None
        found = type_name(value)
        body = f'Invalid value: "{found}": {path} in body must be of type {wanted}: "{found}"'
        return FieldError("FieldValueTypeInvalid", path, body)

    def _list_errors(self, value: list[Any], schema: Schema, path: str, old: Any) -> Iterator[FieldError]:
        if "minItems" in schema and len(value) < schema["minItems"]:
            yield invalid(path, len(value), f"{path} in body should have at least {schema['minItems']} items")
        if "maxItems" in schema and len(value) > schema["maxItems"]:
            yield too_many(path, len(value), schema["maxItems"])
        items = schema.get("items", {})
        for index, (item, before) in enumerate(pairs(schema, value, old)):
            yield from self._walk(item, items, f"{path}[{index}]", before)
        kind = schema.get("x-kubernetes-list-type")
        seen: set[str] = set()
        for index, item in enumerate(value):
            identity = item
            if kind == "map" and isinstance(item, dict):
                identity = {key: item.get(key) for key in schema["x-kubernetes-list-map-keys"]}
            text = canonical(identity)
            if kind in ("set", "map") and text in seen:
                yield duplicate(f"{path}[{index}]", identity)
            seen.add(text)

    def _object_errors(
        self, value: dict[str, Any], schema: Schema, path: str, old: Any
    ) -> Iterator[FieldError]:
        for name in schema.get("required", ()):
            if name not in value:
                yield required(join(path, name))
        if "minProperties" in schema and len(value) < schema["minProperties"]:
            why = f"{path} in body should have at least {schema['minProperties']} properties"
            yield invalid(path, len(value), why)
        if "maxProperties" in schema and len(value) > schema["maxProperties"]:
            yield too_many(path, len(value), schema["maxProperties"])
        fields, extra = schema.get("properties", {}), schema.get("additionalProperties")
        for name in sorted(value):
            child = fields.get(name, extra if isinstance(extra, dict) else None)
            if child is not None and "$ref" not in child:
                before = old.get(name, _ABSENT) if isinstance(old, dict) else _ABSENT
                yield from self._walk(value[name], child, join(path, name), before)

    def _combinations(self, value: Any, schema: Schema, path: str) -> Iterator[FieldError]:
        for each in schema.get("allOf", ()):
            found = list(self._walk(value, each, path, _ABSENT))
            if found:
                yield invalid(path, "", f'"{path}" must validate all the schemas (allOf)')
                yield from found
        if "anyOf" in schema and not any(self._valid(value, each) for each in schema["anyOf"]):
            yield invalid(path, "", f'"{path}" must validate at least one schema (anyOf)')
            yield from self._walk(value, schema["anyOf"][0], path, _ABSENT)
        if "oneOf" in schema:
            valid = sum(self._valid(value, each) for each in schema["oneOf"])
            if valid != 1:
                found_text = "Found none valid" if not valid else f"Found {valid} valid alternatives"
                why = f'"{path}" must validate one and only one schema (oneOf). {found_text}'
                yield invalid(path, "", why)
        if "not" in schema and self._valid(value, schema["not"]):
            yield invalid(path, "", f'"{path}" must not validate the schema (not)')

    def _valid(self, value: Any, schema: Schema) -> bool:
        return next(self._walk(value, schema, "", _ABSENT), None) is None


def _string_errors(value: str, schema: Schema, path: str) -> Iterator[FieldError]:
    if "minLength" in schema and len(value) < schema["minLength"]:
        yield invalid(path, value, f"{path} in body should be at least {schema['minLength']} chars long")
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        yield too_long(path, schema["maxLength"])
    elif "pattern" in schema and re.search(schema["pattern"], value) is None:
        yield invalid(path, value, f"{path} in body should match '{schema['pattern']}'")
    known = _FORMATS.get(str(schema.get("format", "")))
    if known is not None and not known(value):
        text = show(value)
        body = f"Invalid value: {text}: {path} in body must be of type {schema['format']}: {text}"
        yield FieldError("FieldValueTypeInvalid", path, body)


_INTEGERS = {"int32": 2**31, "int64": 2**63}


def _number_errors(value: float, schema: Schema, path: str) -> Iterator[FieldError]:
    limit = _INTEGERS.get(str(schema.get("format", "")))
    if limit is not None and not -limit <= value < limit:
        why = f"Checked value must be of type integer with format {schema['format']} in {path}"
        yield invalid("<nil>", value, why)
    if "minimum" in schema:
        exclusive = schema.get("exclusiveMinimum") is True
        if value < schema["minimum"] or (exclusive and value == schema["minimum"]):
            words = "greater than" if exclusive else "greater than or equal to"
            yield invalid(path, value, f"{path} in body should be {words} {show(schema['minimum'])}")
    if "maximum" in schema:
        exclusive = schema.get("exclusiveMaximum") is True
        if value > schema["maximum"] or (exclusive and value == schema["maximum"]):
            words = "less than" if exclusive else "less than or equal to"
            yield invalid(path, value, f"{path} in body should be {words} {show(schema['maximum'])}")
    factor = schema.get("multipleOf")
    if factor and abs(value / factor - round(value / factor)) > 1e-9:
        yield invalid(path, value, f"{path} in body should be a multiple of {show(factor)}")
