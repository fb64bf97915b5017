"""OpenAPI: placeholder."""

from collections.abc import Mapping

from starlette.responses import Response

from kubedr_server.local.api.resources import Registry
from kubedr_server.local.api.schemas import Definitions


class OpenAPI:
    """Answers /openapi."""

    def __init__(self, registry: Registry, definitions: Definitions) -> None:
        self._registry = registry

    def answer(self, path: str, headers: Mapping[str, str]) -> Response | None:
        """Return the document at a path."""
        return None
