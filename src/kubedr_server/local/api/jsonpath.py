"""The part of JSONPath that printer columns use: `.a[0].b`, `.a[*].b`, `.a[?(@.type=="Ready")].status`."""

import json
import re
from functools import lru_cache
from typing import Any

_STEP = re.compile(
    r"""\.(?P<name>(?:[^.\[\]\\]|\\.)+)
      | \[(?P<index>-?\d+)\]
      | \[(?P<all>\*)\]
      | \['(?P<quoted>[^']*)'\]
      | \[\?\(@(?P<path>(?:\.[\w-]+)+)\s*(?P<operator>==|!=)\s*(?P<value>"[^"]*"|'[^']*'|[\w.-]+)\)\]""",
    re.VERBOSE,
)
_Step = tuple[str, Any]


@lru_cache(maxsize=512)
def parse(path: str) -> tuple[_Step, ...]:
    """Return the steps of a path. Raises ValueError at what is not understood."""
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    if not text.startswith((".", "[")):
        text = "." + text
    steps: list[_Step] = []
    at = 0
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None:
            raise ValueError(f"JSONPath {path!r} is not understood at {text[at:]!r}")
        at = found.end()
        parts = found.groupdict()
        if parts["name"] is not None:
            name = re.sub(r"\\(.)", r"\1", parts["name"])
            steps.append(("all", None) if name == "*" else ("name", name))
        elif parts["quoted"] is not None:
            steps.append(("name", parts["quoted"]))
        elif parts["index"] is not None:
            steps.append(("index", int(parts["index"])))
        elif parts["all"] is not None:
            steps.append(("all", None))
        else:
            keys = parts["path"].strip(".").split(".")
            steps.append(("filter", (tuple(keys), parts["operator"], _literal(parts["value"]))))
    return tuple(steps)


def _literal(text: str) -> Any:
    if text[0] in "\"'":
        return text[1:-1]
    try:
        return json.loads(text)
    except ValueError:
        return text


def find(obj: Any, path: str) -> list[Any]:
    """Return the values at a path; none is no error. Raises ValueError for a path not understood."""
    found = [obj]
    for kind, argument in parse(path):
        found = [value for each in found for value in _apply(each, kind, argument)]
    return found


def _apply(value: Any, kind: str, argument: Any) -> list[Any]:
    if kind == "name":
        return [value[argument]] if isinstance(value, dict) and argument in value else []
    if kind == "all":
        return (
            list(value.values())
            if isinstance(value, dict)
            else list(value)
            if isinstance(value, list)
            else []
        )
    if not isinstance(value, list):
        return []
    if kind == "index":
        return [value[argument]] if -len(value) <= argument < len(value) else []
    keys, operator, wanted = argument
    return [item for item in value if (_at(item, keys) == wanted) is (operator == "==")]


def _at(item: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        item = item.get(key) if isinstance(item, dict) else None
    return item
