"""Judging an object: metadata, the schema of a custom resource or the rules of a built-in kind."""

from kubedr_server.local.api import metadata
from kubedr_server.local.api.context import Call, Engine, Object
from kubedr_server.local.api.errors import FieldError


class Validator:
    """Collects everything that is wrong with an object."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def errors(self, call: Call, obj: Object, old: Object | None) -> list[FieldError]:
        """Return what is wrong; empty if the object may be stored."""
        return metadata.validate(obj, call.target.resource, old)
