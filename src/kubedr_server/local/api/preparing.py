"""From a body to an object that can be judged: strict decoding, pruning, defaults."""

from collections.abc import Mapping
from typing import Any

from kubedr_server.local.api.builtin_defaults import default_builtin
from kubedr_server.local.api.context import Call, Engine, Object
from kubedr_server.local.api.decode import duplicate_fields
from kubedr_server.local.api.errors import bad_request, invalid_patch
from kubedr_server.local.api.resources import ResourceType
from kubedr_server.local.api.schemas import OBJECT_META, Schema, reference
from kubedr_server.local.api.storage import encode


def schema_of(resource: ResourceType) -> Schema:
    """Return the schema of a type, built in or custom."""
    return resource.schema if resource.schema is not None else reference(resource.definition)


class Preparer:
    """Brings the objects of requests, patches and webhooks into the form that is stored."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def decode(self, call: Call, obj: Object, *, patched: bool = False) -> None:
        """Check an object's envelope and fields as `fieldValidation` says; unknown fields are dropped.

        `patched`: it is what a patch has made, and not what was sent. Raises APIError 400 or 422.
        """
        resource, structure = call.target.resource, self._engine.structure
        self._check_envelope(resource, obj)
        what = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
        if resource.custom:
            mistake = structure.mistyped(obj.get("metadata") or {}, reference(OBJECT_META))
        else:
            mistake = structure.mistyped(obj, schema_of(resource))
        if mistake:
            raise bad_request(f"{what}: {mistake}")
        strict = call.options.field_validation == "Strict"
        whole = encode(obj).decode() if strict and patched else ""
        problems = [f'duplicate field "{path}"' for path in duplicate_fields(obj)]
        problems += [f'unknown field "{path}"' for path in structure.prune(obj, schema_of(resource))]
        if problems and strict:
            text = f"strict decoding error: {', '.join(problems)}"
            raise invalid_patch(whole, text) if patched else bad_request(f"{what}: {text}")
        if call.options.field_validation == "Warn":
            for problem in problems:
                call.warn(problem)
        if not isinstance(obj.get("metadata"), dict):
            obj["metadata"] = {}

    def prune(self, resource: ResourceType, obj: Object) -> None:
        """Drop what the schema does not know, silently."""
        self._engine.structure.prune(obj, schema_of(resource))

    def _check_envelope(self, resource: ResourceType, obj: Object) -> None:
        # Like the real server, take what the path says where the body says nothing.
        version = obj.setdefault("apiVersion", resource.api_version)
        kind = obj.setdefault("kind", resource.kind)
        what = f'{kind} in version "{str(version).rpartition("/")[2]}" cannot be handled as a {resource.kind}'
        if version != resource.api_version:
            if resource.custom:
                raise bad_request(
                    f"the API version in the data ({version}) does not match "
                    f"the expected API version ({resource.api_version})"
                )
            raise bad_request(f'{what}: no kind "{kind}" is registered for version "{version}"')
        if kind != resource.kind:
            raise bad_request(f"{what}: it is another kind")

    def default(self, resource: ResourceType, obj: Object, old: Mapping[str, Any] | None) -> None:
        """Fill in what the schema, or a built-in kind's rules, say for fields that were left out."""
        if resource.custom:
            self._engine.structure.default(obj, schema_of(resource))
        else:
            default_builtin(resource.qualified, obj, old)
