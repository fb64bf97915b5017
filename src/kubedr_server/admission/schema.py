"""Checks that follow from the API types alone: JSON types, required fields, lengths, bounds.

The CRDs say the same to the API server; here it is said again so that a mistake is caught
where a CRD is older than the server, and in the words of one person. Rules and defaults are
read from the types' JSON schema, so that no bound is typed twice.
"""

import copy
from dataclasses import replace
from functools import cache
from typing import Any, Final

from kubedr_server.admission.field import Errors, Path
from kubedr_server.admission.schema_rule import Rule, pattern
from kubedr_server.api.base import Model

_BOUNDS: Final = (
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "pattern",
)
_WANTED: Final = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}


@cache
def rule_of(model: type[Model]) -> Rule:
    """Compile the rules of a model, once."""
    schema = model.model_json_schema(by_alias=True)
    return _compile(schema, schema.get("$defs", {}))


def outside_only(rule: Rule, names: tuple[str, ...]) -> Rule:
    """Return the rule without what it says of the inside of these fields, which others check closer."""
    properties = dict(rule.properties)
    for name in names:
        inner = properties[name]
        items = Rule(type=inner.items.type) if inner.items else None
        properties[name] = Rule(type=inner.type, items=items, bounds=inner.bounds)
    return replace(rule, properties=properties)


def requiring(rule: Rule, names: tuple[str, ...]) -> Rule:
    """Return the rule with these fields required, too."""
    return replace(rule, required=rule.required | frozenset(names))


def _compile(schema: dict[str, Any], definitions: dict[str, Any]) -> Rule:
    schema = _resolve(schema, definitions)
    additional, items = schema.get("additionalProperties"), schema.get("items")
    return Rule(
        type=schema.get("type", ""),
        properties={
            name: _compile(value, definitions) for name, value in schema.get("properties", {}).items()
        },
        required=frozenset(schema.get("required", ())),
        items=_compile(items, definitions) if isinstance(items, dict) else None,
        values=_compile(additional, definitions) if isinstance(additional, dict) else None,
        bounds={name: schema[name] for name in _BOUNDS if name in schema},
        supported=tuple(schema["enum"])
        if "enum" in schema
        else (schema["const"],)
        if "const" in schema
        else (),
        default=schema.get("default"),
    )


def _resolve(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Follow references, and take the one alternative of `X | None` that is not null."""
    if "$ref" in schema:
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**definitions[schema["$ref"].removeprefix("#/$defs/")], **rest}
    if "anyOf" in schema:
        alternatives = [one for one in schema["anyOf"] if one.get("type") != "null"]
        if len(alternatives) == 1:
            rest = {key: value for key, value in schema.items() if key != "anyOf"}
            return _resolve({**alternatives[0], **rest}, definitions)
    return schema


def with_defaults(rule: Rule, value: dict[str, Any]) -> dict[str, Any]:
    """Return the value with defaults where fields are absent or null; the value itself is not changed."""
    result = dict(value)
    for name, below in rule.defaulted:
        present = result.get(name)
        if present is None and below.default is not None:
            result[name] = _fresh(below.default)
        elif isinstance(present, dict):
            result[name] = with_defaults(below, present)
    return result


def _fresh(default: Any) -> Any:
    """Return a default that may be changed without changing the rule."""
    return copy.deepcopy(default) if isinstance(default, dict | list) else default


def check(rule: Rule, value: Any, path: Path, errors: Errors) -> None:
    """Add to `errors` all that the schema finds wrong with the value. Unknown fields are the API server's."""
    if rule.fits(value):
        return
    if not _is(rule.type, value):
        errors.wrong_type(path, value, _WANTED[rule.type])
        return
    if rule.supported and value not in rule.supported:
        errors.not_supported(path, value, rule.supported)
        return
    match value:
        case str():
            _check_string(rule, value, path, errors)
        case dict():
            _check_object(rule, value, path, errors)
        case list():
            limit = rule.bounds.get("maxItems")
            if limit is not None and len(value) > limit:
                errors.too_many(path, len(value), limit)
            elif rule.items:
                for position, item in enumerate(value):
                    check(rule.items, item, path.index(position), errors)
        case bool():
            pass
        case int() | float():
            low, high = rule.bounds.get("minimum"), rule.bounds.get("maximum")
            if low is not None and value < low:
                errors.invalid(path, value, f"must be greater than or equal to {low}")
            elif high is not None and value > high:
                errors.invalid(path, value, f"must be less than or equal to {high}")


def _is(wanted: str, value: Any) -> bool:
    match wanted:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return (isinstance(value, int) and not isinstance(value, bool)) or (
                isinstance(value, float) and value.is_integer()
            )
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
    return True


def _check_string(rule: Rule, value: str, path: Path, errors: Errors) -> None:
    bounds = rule.bounds
    if not value and bounds.get("minLength", 0) > 0:
        errors.invalid(path, value, "must not be empty")
    elif len(value) < bounds.get("minLength", 0):
        errors.invalid(path, value, f"must be at least {bounds['minLength']} characters long")
    elif "maxLength" in bounds and len(value) > bounds["maxLength"]:
        errors.too_long(path, bounds["maxLength"])
    elif "pattern" in bounds and pattern(bounds["pattern"]).search(value) is None:
        errors.invalid(path, value, f"must match the regular expression '{bounds['pattern']}'")


def _check_object(rule: Rule, value: dict[str, Any], path: Path, errors: Errors) -> None:
    limit = rule.bounds.get("maxProperties")
    if limit is not None and len(value) > limit:
        errors.too_many(path, len(value), limit)
        return
    for name, below in rule.properties.items():
        present = value.get(name)
        if name in rule.required and (present is None or present == ""):
            errors.required(path.child(name))
        elif present is not None:  # the API server prunes a null before anyone sees it
            check(below, present, path.child(name), errors)
    if rule.values:
        for key, one in value.items():
            check(rule.values, one, path.key(key), errors)
