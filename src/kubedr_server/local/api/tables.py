"""Tables: the server prints the columns of `kubectl get`, for built-in kinds and for custom ones."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from kubedr_server.local.api.builtin_columns import BUILTIN_COLUMNS, DEFAULT_COLUMNS
from kubedr_server.local.api.columns import AGE, NAME, UNKNOWN, Cell, Column, dig, since
from kubedr_server.local.api.context import Clock, Object
from kubedr_server.local.api.jsonpath import find
from kubedr_server.local.api.resources import ResourceType

_NAME_ABOUT = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources "
    "may allow a client to request the generation of an appropriate name automatically. Name is primarily "
    "intended for creation idempotence and configuration definition. Cannot be updated."
)


def _custom_cell(path: str, kind: str) -> Cell:
    def cell(obj: Mapping[str, Any], now: datetime) -> Any:
        try:
            values = find(obj, path)
        except ValueError:
            return None
        if not values:
            return None
        value = values[0]
        if kind == "date":
            return since(value, now) if value else UNKNOWN
        if kind in ("integer", "number"):
            return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
        if kind == "boolean":
            return value if isinstance(value, bool) else None
        if len(values) > 1 or isinstance(value, (dict, list)):
            shown = values if len(values) > 1 else value
            return json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
        return str(value).lower() if isinstance(value, bool) else None if value is None else str(value)

    return cell


class Tables:
    """Knows each resource's columns."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def _columns(self, resource: ResourceType) -> tuple[Column, ...]:
        if not resource.custom:
            return BUILTIN_COLUMNS.get(resource.qualified, DEFAULT_COLUMNS)
        if not resource.columns:
            return (NAME, AGE)
        own = tuple(
            Column(
                column["name"],
                _custom_cell(column["jsonPath"], column["type"]),
                kind=column["type"],
                form=column.get("format", ""),
                priority=column.get("priority", 0),
            )
            for column in resource.columns
        )
        return (NAME, *own)

    def columns(self, resource: ResourceType) -> tuple[list[Object], Callable[[Object], list[Any]]]:
        """Return the column definitions, and the function that makes a row's cells."""
        columns = self._columns(resource)
        about = {column["name"]: column.get("description", "") for column in resource.columns}
        definitions = [
            {
                "name": column.name,
                "type": column.kind,
                "format": column.form,
                "description": _NAME_ABOUT if column is NAME else about.get(column.name, ""),
                "priority": column.priority,
            }
            for column in columns
        ]
        now = self._clock()
        return definitions, lambda obj: [column.cell(obj, now) for column in columns]

    def row_conditions(self, resource: ResourceType, obj: Object) -> list[Object]:
        """Return a row's conditions: kubectl shows finished pods by them."""
        if resource.qualified == "pods" and dig(obj, "status.phase") in ("Succeeded", "Failed"):
            phase = dig(obj, "status.phase")
            message = "The pod has completed successfully." if phase == "Succeeded" else "The pod failed."
            return [{"type": "Completed", "status": "True", "reason": phase, "message": message}]
        return []
