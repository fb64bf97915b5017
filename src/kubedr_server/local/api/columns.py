"""Columns of tables, and the cells that most of them share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Object = Mapping[str, Any]
Cell = Callable[[Object, datetime], Any]
NONE = "<none>"
UNKNOWN = "<unknown>"


@dataclass(frozen=True)
class Column:
    """One column; priority 1 is shown by `-o wide` only."""

    name: str
    cell: Cell
    kind: str = "string"
    form: str = ""
    priority: int = 0


def dig(obj: Any, path: str) -> Any:
    """Return what is at a dotted path; None if nothing."""
    for part in path.split("."):
        obj = obj.get(part) if isinstance(obj, dict) else None
    return obj


def human(seconds: float) -> str:
    """Write a duration as kubectl does: `5s`, `2m30s`, `3h`, `4d`."""
    if seconds < 0:
        return "<invalid>" if seconds < -1 else "0s"
    total = int(seconds)
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if total < 120:
        return f"{total}s"
    if minutes < 10:
        return f"{minutes}m{total % 60}s" if total % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    years, rest = divmod(days, 365)
    return f"{years}y{rest}d" if rest and years < 8 else f"{years}y"


def since(moment: Any, now: datetime) -> str:
    """Return how long ago a timestamp was."""
    if not moment:
        return UNKNOWN
    try:
        return human((now - datetime.fromisoformat(str(moment))).total_seconds())
    except ValueError:
        return UNKNOWN


def at(path: str, default: Any = "") -> Cell:
    """Return a cell that shows what is at a path."""

    def cell(obj: Object, _now: datetime) -> Any:
        found = dig(obj, path)
        return default if found is None else found

    return cell


def count(path: str) -> Cell:
    """Return a cell that shows how many things are at a path."""
    return lambda obj, _now: len(dig(obj, path) or ())


def text(function: Callable[[Object], Any]) -> Cell:
    """Return a cell that needs no clock."""
    return lambda obj, _now: function(obj)


NAME = Column("Name", at("metadata.name"), form="name")
AGE = Column("Age", lambda obj, now: since(dig(obj, "metadata.creationTimestamp"), now))
CREATED_AT = Column("Created At", at("metadata.creationTimestamp"), kind="date")
