"""Judging an object: metadata, the schema of a custom resource or the rules of a built-in kind."""

from typing import Any

from kubedr_server.local.api import metadata
from kubedr_server.local.api.builtin_rules import builtin_errors
from kubedr_server.local.api.cel_rules import rule_errors
from kubedr_server.local.api.context import Call, Engine, Object
from kubedr_server.local.api.custom_schema import NOT_CHECKED, SchemaValidator, blocks_rules
from kubedr_server.local.api.errors import FieldError


class Validator:
    """Collects everything that is wrong with an object."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._schemas = SchemaValidator()

    def errors(self, call: Call, obj: Object, old: Object | None) -> list[FieldError]:
        """Return what is wrong; empty if the object may be stored."""
        resource = call.target.resource
        found = metadata.validate(obj, resource, old)
        if resource.schema is None:
            return found + builtin_errors(resource.qualified, obj, old)
        before: dict[str, Any] = {} if old is None else {"old": old}
        wrong = self._schemas.errors(obj, resource.schema, **before)
        if resource.has_rules:
            wrong += [NOT_CHECKED] if blocks_rules(wrong) else rule_errors(obj, resource.schema, **before)
        return found + wrong
