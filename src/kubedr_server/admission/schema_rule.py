"""What a schema says of one value, and a quick look whether a value fits it.

Every write of an object waits for this, and nearly all objects are right: so for these no field path is built
and no rule of an absent field is looked at. What does not fit is looked at again by `schema`, which says why.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Final

Fits = Callable[[Any], bool]

_ENDLESS: Final = float("inf")


@dataclass(frozen=True)
class Rule:
    """What the schema says of one value."""

    type: str
    properties: dict[str, "Rule"] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    items: "Rule | None" = None
    values: "Rule | None" = None
    bounds: dict[str, Any] = field(default_factory=dict)
    supported: tuple[str, ...] = ()
    default: Any = None

    @cached_property
    def fits(self) -> Fits:
        """Whether a value is right, told quickly. To be sure is not needed: False means to look closer."""
        return _fits(self)

    @cached_property
    def defaulted(self) -> tuple[tuple[str, "Rule"], ...]:
        """The properties with a default, or with one inside."""
        return tuple(
            (name, below)
            for name, below in self.properties.items()
            if below.default is not None or below.defaulted
        )


def _fits(rule: Rule) -> Fits:
    make = _MAKERS.get(rule.type)
    fits = make(rule) if make else _is_unsure
    if not rule.supported:
        return fits
    return lambda value: fits(value) and value in rule.supported


@cache
def pattern(text: str) -> re.Pattern[str]:
    """Compile a pattern to mean what the API server means: in Python, `$` also fits before a line feed."""
    return re.compile(re.sub(r"(?<!\\)\$$", r"\\Z", text))


def _is_unsure(_: Any) -> bool:
    return False


def _string(rule: Rule) -> Fits:
    least, most = rule.bounds.get("minLength", 0), rule.bounds.get("maxLength", _ENDLESS)
    if "pattern" not in rule.bounds:
        return lambda value: type(value) is str and least <= len(value) <= most
    search = pattern(rule.bounds["pattern"]).search
    return lambda value: type(value) is str and least <= len(value) <= most and search(value) is not None


def _number(*types: type) -> Callable[[Rule], Fits]:
    def make(rule: Rule) -> Fits:
        low, high = rule.bounds.get("minimum", -_ENDLESS), rule.bounds.get("maximum", _ENDLESS)
        return lambda value: type(value) in types and low <= value <= high

    return make


def _boolean(_: Rule) -> Fits:
    return lambda value: value is True or value is False


def _array(rule: Rule) -> Fits:
    most = rule.bounds.get("maxItems", _ENDLESS)
    item = rule.items.fits if rule.items else lambda _: True
    return lambda value: type(value) is list and len(value) <= most and all(map(item, value))


def _object(rule: Rule) -> Fits:
    most = rule.bounds.get("maxProperties", _ENDLESS)
    required = tuple(rule.required)
    inside = {name: below.fits for name, below in rule.properties.items()}
    each = rule.values.fits if rule.values else None

    def fits(value: Any) -> bool:
        if type(value) is not dict or len(value) > most:
            return False
        for name in required:
            if value.get(name) in _MISSING:
                return False
        for name, one in value.items():
            if one is not None and name in inside and not inside[name](one):
                return False
        return each is None or all(map(each, value.values()))

    return fits


_MISSING: Final = (None, "")
_MAKERS: Final[dict[str, Callable[[Rule], Fits]]] = {
    "string": _string,
    "integer": _number(int),
    "number": _number(int, float),
    "boolean": _boolean,
    "array": _array,
    "object": _object,
}
