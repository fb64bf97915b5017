"""The schemas are structural, and say what the types say."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from pydantic import ConfigDict, Field

from kubedr_server.api.base import Int64, Model, Resource, Timestamp
from kubedr_server.api.kinds import KINDS, Kind
from kubedr_server.api.rules import cel
from kubedr_server.api.schema import INT_OR_STRING, NotStructuralError, structural_schema

Schema = dict[str, Any]


class Inner(Model):
    """What is inside."""

    size: Annotated[Int64, Field(ge=1, le=9)] = 3


class ThingSpec(Model):
    """What is wanted.

    A second paragraph
    over two lines.
    """

    model_config = ConfigDict(json_schema_extra=cel("self.name != 'x'", "is not x", fieldPath=".name"))

    name: Annotated[str, Field(min_length=1, max_length=5, examples=["abc"])]
    """The name,
    over two lines."""

    inner: Inner | None = None
    """Said at the field."""

    many: Annotated[list[Inner] | None, Field(max_length=2)] = None
    colours: dict[str, str] = Field(default_factory=dict)
    on: bool = False
    mode: Literal["only"] = "only"
    choice: Literal["a", "b"] | None = None
    when: Timestamp | None = None


class Thing(Resource):
    """A thing."""

    spec: ThingSpec


def test_a_type_becomes_a_structural_schema() -> None:
    inner = {"size": {"type": "integer", "format": "int64", "default": 3, "minimum": 1, "maximum": 9}}

    assert structural_schema(Thing) == {
        "description": "A thing.",
        "type": "object",
        "properties": {
            "apiVersion": {
                "description": "The API group and version that this object is written in.",
                "type": "string",
            },
            "kind": {"description": "The kind of this object.", "type": "string"},
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            "spec": {
                "description": "What is wanted.\n\nA second paragraph over two lines.",
                "type": "object",
                "properties": {
                    "name": {
                        "description": "The name, over two lines. Example: `abc`.",
                        "type": "string",
                        "minLength": 1,
                        "maxLength": 5,
                    },
                    "inner": {"description": "Said at the field.", "type": "object", "properties": inner},
                    "many": {
                        "type": "array",
                        "maxItems": 2,
                        "items": {"description": "What is inside.", "type": "object", "properties": inner},
                    },
                    "colours": {"type": "object", "additionalProperties": {"type": "string"}},
                    "on": {"type": "boolean", "default": False},
                    "mode": {"type": "string", "enum": ["only"], "default": "only"},
                    "choice": {"type": "string", "enum": ["a", "b"]},
                    "when": {"type": "string", "format": "date-time"},
                },
                "required": ["name"],
                "x-kubernetes-validations": [
                    {"rule": "self.name != 'x'", "message": "is not x", "fieldPath": ".name"}
                ],
            },
        },
        "required": ["spec"],
    }


class ChoiceSpec(Model):
    value: int | str


class Choice(Resource):
    """Has a value of two types."""

    spec: ChoiceSpec


class AnythingSpec(Model):
    value: Any


class Anything(Resource):
    """Has a value of no type."""

    spec: AnythingSpec


class FreeSpec(Model):
    value: dict[str, Any]


class Free(Resource):
    """Has a map of anything."""

    spec: FreeSpec


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Choice, r"Choice\.spec\.value: .* one type, not a choice"),
        (Anything, r"Anything\.spec\.value: .* one type"),
        (Free, r"Free\.spec\.value: 'additionalProperties' must say what the values are"),
    ],
)
def test_what_no_structural_schema_can_say_is_refused_with_its_place(
    model: type[Resource], message: str
) -> None:
    with pytest.raises(NotStructuralError, match=message):
        structural_schema(model)


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from nodes(field, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], f"{path}[]")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_value_has_a_type_and_every_field_a_description(kind: Kind) -> None:
    for path, schema in nodes(structural_schema(kind.model)):
        assert "type" in schema or INT_OR_STRING in schema, path
        if not path.startswith(".metadata") and not path.endswith("[]"):
            assert schema.get("description"), path


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_rules_look_at_has_a_bound_so_that_their_cost_can_be_estimated(kind: Kind) -> None:
    bound = {"string": "maxLength", "array": "maxItems"}
    for path, schema in nodes(structural_schema(kind.model).get("properties", {})["spec"]):
        if schema.get("type") in bound and "enum" not in schema:
            assert bound[schema["type"]] in schema, path
        if "additionalProperties" in schema:
            assert "maxProperties" in schema, path
