"""From a type to the schema in its CRD.

Pydantic writes JSON Schema with references, titles and null alternatives. The API server takes only
"structural" schemas: each value has one type, said in place, and a field that may be left out is
simply not required. This module turns the first into the second, and refuses what has no such form.
"""

from collections.abc import Mapping
from typing import Any, Final

from kubedr_server.api.base import Resource
from kubedr_server.api.rules import VALIDATIONS

JsonSchema = dict[str, Any]

INT_OR_STRING: Final = "x-kubernetes-int-or-string"

_VALUES: Final = (
    "type",
    "format",
    "enum",
    "default",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "anyOf",
    INT_OR_STRING,
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-preserve-unknown-fields",
)
_BELOW: Final = ("properties", "items", "additionalProperties")
_ORDER: Final = ("description", *_VALUES, *_BELOW, "required", VALIDATIONS)
"""All that a structural schema may say here, in the order it is written."""

_UNSAID: Final = frozenset({"title", "$defs", "examples"})
_OF_EVERY_OBJECT: Final[JsonSchema] = {
    "apiVersion": {
        "description": "The API group and version that this object is written in.",
        "type": "string",
    },
    "kind": {"description": "The kind of this object.", "type": "string"},
    # What metadata may hold, the API server knows by itself. `name` is said so that a rule can point to it.
    "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
}


class NotStructuralError(ValueError):
    """A type says something that no structural schema can say. The message names the place."""


def structural_schema(model: type[Resource]) -> JsonSchema:
    """Return the OpenAPI v3 schema of a kind, as a CustomResourceDefinition holds it."""
    whole = model.model_json_schema(by_alias=True)
    own = {name: schema for name, schema in whole["properties"].items() if name not in _OF_EVERY_OBJECT}
    schema = _structural({**whole, "properties": own}, whole.get("$defs", {}), model.__name__)
    schema["properties"] = {**_OF_EVERY_OBJECT, **schema["properties"]}
    return schema


def _structural(schema: JsonSchema, definitions: JsonSchema, place: str) -> JsonSchema:
    schema = _without_null(_resolved(schema, definitions), definitions, place)
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    for key in sorted(schema.keys() - _UNSAID - set(_ORDER)):
        raise NotStructuralError(f"{place}: a structural schema has no '{key}' (here: {schema[key]})")
    if "type" not in schema and INT_OR_STRING not in schema:
        raise NotStructuralError(f"{place}: a structural schema gives every value one type")
    said = {**schema, **_ordered_rules(schema), **_below(schema, definitions, place)}
    said["description"] = _description(schema)
    # None and the empty string stand for "nothing was said"; false and 0 are defaults.
    return {key: said[key] for key in _ORDER if said.get(key) is not None and said[key] != ""}


def _below(schema: JsonSchema, definitions: JsonSchema, place: str) -> JsonSchema:
    """Return what the schema says of the values inside: fields, items, a map's values."""
    result: JsonSchema = {}
    if "properties" in schema:
        result["properties"] = {
            field: _structural(each, definitions, f"{place}.{field}")
            for field, each in schema["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if key in schema:
            if not isinstance(schema[key], dict):
                raise NotStructuralError(f"{place}: '{key}' must say what the values are")
            result[key] = _structural(schema[key], definitions, f"{place}[]")
    return result


def _ordered_rules(schema: Mapping[str, Any]) -> JsonSchema:
    """Return the CEL rules, each with the rule before its message: pydantic sorts keys by the alphabet."""
    if VALIDATIONS not in schema:
        return {}
    order = ("rule", "message", "reason", "fieldPath")
    return {VALIDATIONS: [{key: rule[key] for key in order if key in rule} for rule in schema[VALIDATIONS]]}


def _resolved(schema: JsonSchema, definitions: JsonSchema) -> JsonSchema:
    """Put a reference's target in its place. What stands beside the reference goes first."""
    if "$ref" not in schema:
        return dict(schema)
    target = definitions[schema["$ref"].removeprefix("#/$defs/")]
    return {**target, **{key: value for key, value in schema.items() if key != "$ref"}}


def _without_null(schema: JsonSchema, definitions: JsonSchema, place: str) -> JsonSchema:
    """Replace `X | None` by X: in Kubernetes' objects a field without a value is absent."""
    if "anyOf" not in schema or INT_OR_STRING in schema:
        return schema
    alternatives = [each for each in schema["anyOf"] if each.get("type") != "null"]
    if len(alternatives) != 1:
        raise NotStructuralError(f"{place}: a structural schema gives every value one type, not a choice")
    outside = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**_resolved(alternatives[0], definitions), **outside}


def _description(schema: JsonSchema) -> str:
    """Return the description, one line per paragraph; a structural schema has no place for examples."""
    paragraphs = str(schema.get("description", "")).strip().split("\n\n")
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    if examples := schema.get("examples"):
        text += f" Example: `{examples[0]}`."
    return text
