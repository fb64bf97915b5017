"""From a body to an object that can be judged: strict decoding, pruning, defaults."""

from collections.abc import Mapping
from typing import Any

from kubedr_server.local.api.builtin_defaults import default_builtin
from kubedr_server.local.api.context import Call, Engine, Object
from kubedr_server.local.api.decode import duplicate_fields
from kubedr_server.local.api.errors import bad_request
from kubedr_server.local.api.resources import ResourceType
from kubedr_server.local.api.schemas import Schema, reference


def schema_of(resource: ResourceType) -> Schema:
    """Return the schema of a type, built in or custom."""
    return resource.schema if resource.schema is not None else reference(resource.definition)


class Preparer:
    """Brings the objects of requests, patches and webhooks into the form that is stored."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def decode(self, call: Call, obj: Object) -> None:
        """Check an object's envelope and fields as `fieldValidation` says; unknown fields are dropped."""
        resource = call.target.resource
        self._check_envelope(resource, obj)
        what = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
        problems = [f'duplicate field "{path}"' for path in duplicate_fields(obj)]
        if not resource.custom:
            mistake = self._engine.structure.mistyped(obj, schema_of(resource))
            if mistake:
                raise bad_request(f"{what}: {mistake}")
        unknown = self._engine.structure.prune(obj, schema_of(resource))
        problems += [f'unknown field "{path}"' for path in unknown]
        self.report(call, what, problems)
        if not isinstance(obj.get("metadata"), dict):
            obj["metadata"] = {}

    def prune(self, resource: ResourceType, obj: Object) -> None:
        """Drop what the schema does not know, silently."""
        self._engine.structure.prune(obj, schema_of(resource))

    def report(self, call: Call, what: str, problems: list[str]) -> None:
        """Refuse, warn of or ignore what strict decoding found."""
        if not problems:
            return
        if call.options.field_validation == "Strict":
            raise bad_request(f"{what}: strict decoding error: {', '.join(problems)}")
        if call.options.field_validation == "Warn":
            for problem in problems:
                call.warn(problem)

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
