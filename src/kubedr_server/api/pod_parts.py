"""The parts of a pod that a policy may set.

They are kept as the objects they are: this project passes them on and reads nothing in them. The
schema is Kubernetes' own, so that a slip is refused when the policy is applied, and not first when its
CronJob cannot be made.
"""

from typing import Annotated, Any, Final

from pydantic import WithJsonSchema

_QUANTITIES: Final = {
    "type": "object",
    "maxProperties": 16,
    "additionalProperties": {
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": True,
        "pattern": r"^[0-9]+([.][0-9]+)?([eE][0-9]+|[numkMGTPE]|[KMGTPE]i)?$",
    },
}

Toleration = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "description": "A taint of nodes that the pod may run in spite of.",
            "properties": {
                "key": {
                    "type": "string",
                    "maxLength": 317,
                    "description": "The taint's key; with `operator: Exists`, none means every taint.",
                },
                "operator": {
                    "type": "string",
                    "enum": ["Exists", "Equal"],
                    "description": "`Exists` asks for the key only, `Equal`, the default, for its value too.",
                },
                "value": {
                    "type": "string",
                    "maxLength": 63,
                    "description": "The taint's value; only with `Equal`.",
                },
                "effect": {
                    "type": "string",
                    "enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"],
                    "description": "The taint's effect; none means all of them.",
                },
                "tolerationSeconds": {
                    "type": "integer",
                    "format": "int64",
                    "description": "How long a `NoExecute` taint is tolerated; for ever if not given.",
                },
            },
        }
    ),
]
"""An entry of a pod's `tolerations`."""

ResourceRequirements = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "properties": {
                "requests": {
                    **_QUANTITIES,
                    "description": "What the container is scheduled with, such as `memory: 256Mi`.",
                },
                "limits": {
                    **_QUANTITIES,
                    "description": "What the container may use at most, such as `memory: 1Gi`.",
                },
            },
        }
    ),
]
"""A container's `resources`."""
