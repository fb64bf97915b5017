"""What the models of all kinds share: camelCase names, object metadata, conditions."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from kubedr_server.api.rules import OBJECT_NAME

Timestamp = Annotated[datetime, WithJsonSchema({"type": "string", "format": "date-time"})]
"""A moment, written as RFC 3339; always with its offset from UTC."""

Int64 = Annotated[int, Field(json_schema_extra={"format": "int64"})]

ObjectName = Annotated[str, Field(min_length=1, max_length=253, json_schema_extra=OBJECT_NAME)]
"""The name of another object in the same namespace."""


class Model(BaseModel):
    """A part of a resource. Python names are snake_case, the wire's are camelCase.

    Unknown fields are ignored, as the API server prunes them: an object that a newer
    version stored must still be readable.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", use_attribute_docstrings=True
    )

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON form: camelCase, absent where nothing was said."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class ObjectMeta(Model):
    """The part of Kubernetes' ObjectMeta that this project reads."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: Timestamp | None = None
    deletion_timestamp: Timestamp | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: list[str] = Field(default_factory=list)
    owner_references: list[dict[str, Any]] = Field(default_factory=list)


class Condition(Model):
    """One aspect of a resource's state, as metav1.Condition defines it."""

    type: Annotated[str, Field(max_length=316)]
    """What the condition is about, in CamelCase."""

    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""

    observed_generation: Annotated[Int64 | None, Field(ge=0)] = None
    """The `metadata.generation` that the condition was computed from."""

    last_transition_time: Timestamp
    """When `status` last changed."""

    reason: Annotated[
        str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")
    ]
    """Why, as one CamelCase word for programs."""

    message: Annotated[str, Field(max_length=32768)]
    """Why, as a sentence for people."""


Conditions = Annotated[
    list[Condition],
    Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]


class StatusBase(Model):
    """What every status has."""

    observed_generation: Int64 | None = None
    """The `metadata.generation` that this status was computed from."""

    conditions: Conditions = Field(default_factory=list)
    """The state in standard conditions."""


class Resource(Model):
    """An object as the API server stores it. Subclasses fix `kind`, `spec` and `status`."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
