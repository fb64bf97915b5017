"""Tables: placeholder."""

from collections.abc import Callable
from typing import Any

from kubedr_server.local.api.context import Clock, Object
from kubedr_server.local.api.resources import ResourceType


class Tables:
    """Columns."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def columns(self, resource: ResourceType) -> tuple[list[Object], Callable[[Object], list[Any]]]:
        """Return columns and the function that fills them."""
        return [
            {"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}
        ], lambda o: [o["metadata"]["name"]]

    def row_conditions(self, resource: ResourceType, obj: Object) -> list[Object]:
        """Return conditions."""
        return []
