"""CEL: the rules of a custom resource's schema (x-kubernetes-validations), and webhooks' matchConditions."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import cel

from kubedr_server.local.api.custom_schema import pairs
from kubedr_server.local.api.errors import FieldError, show
from kubedr_server.local.api.schemas import Schema
from kubedr_server.local.api.structural import join

_ABSENT: Any = object()
_RESERVED = {
    "as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let",
    "loop", "namespace", "null", "package", "return", "true", "var", "void", "while",
}  # fmt: skip
_REASONS = {
    "FieldValueInvalid": "Invalid value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
}


def _is_url(text: str) -> bool:
    parts = urlsplit(text)
    return bool(parts.scheme and (parts.netloc or parts.path.startswith("/")))


# The parts of Kubernetes' CEL libraries that schemas use, as functions and as methods.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "isURL": _is_url,
    "lowerAscii": str.lower,
    "upperAscii": str.upper,
    "trim": str.strip,
    "split": lambda text, separator: text.split(separator),
    "join": lambda items, separator="": separator.join(items),
    "replace": lambda text, old, new: text.replace(old, new),
    "indexOf": lambda text, part: text.find(part) if isinstance(text, str) else list(text).index(part),
    "substring": lambda text, start, end=None: text[start:end],
    "find": lambda text, pattern: found.group() if (found := re.search(pattern, text)) else "",
    "findAll": lambda text, pattern: [found.group() for found in re.finditer(pattern, text)],
    "isSorted": lambda items: list(items) == sorted(items),
    "sum": sum,
    "min": min,
    "max": max,
}


@lru_cache(maxsize=1024)
def compile_rule(rule: str) -> Any:
    """Compile an expression. Raises ValueError with the place of the mistake."""
    return cel.compile(rule)


def evaluate(rule: str, variables: Mapping[str, Any]) -> Any:
    """Evaluate an expression. Raises ValueError with the reason where it cannot be."""
    try:
        return compile_rule(rule).execute(cel.Context(variables=dict(variables), functions=_FUNCTIONS))
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        what = f"no such key: {error.args[0]}" if isinstance(error, KeyError) else str(error)
        raise ValueError(what) from None


def _escape(name: str) -> str:
    """Write a property's name as an identifier of CEL."""
    if name in _RESERVED:
        return f"__{name}__"
    name = name.replace("__", "__underscores__")
    return name.replace(".", "__dot__").replace("-", "__dash__").replace("/", "__slash__")


def _value(value: Any, schema: Schema) -> Any:
    """Give a value its CEL type: a date-time is a timestamp, a number a double."""
    if isinstance(value, dict):
        fields, extra = schema.get("properties", {}), schema.get("additionalProperties")
        inner = extra if isinstance(extra, dict) else {}
        return {
            (_escape(name) if name in fields else name): _value(item, fields.get(name, inner))
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_value(item, schema.get("items", {})) for item in value]
    if isinstance(value, str) and schema.get("format") == "date-time":
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            return value
    if schema.get("type") == "number" and isinstance(value, int):
        return float(value)
    return value


def rule_errors(obj: Any, schema: Schema, old: Any = _ABSENT) -> list[FieldError]:
    """Return what the rules of a schema say about an object that the schema itself accepts."""
    return list(_walk(obj, schema, "", old))


def has_rules(schema: Schema) -> bool:
    """Whether there is any rule in a schema."""
    if schema.get("x-kubernetes-validations"):
        return True
    children = [
        *schema.get("properties", {}).values(),
        schema.get("items"),
        schema.get("additionalProperties"),
    ]
    return any(has_rules(child) for child in children if isinstance(child, dict))


def _walk(value: Any, schema: Schema, path: str, old: Any) -> Iterator[FieldError]:
    unchanged = old is not _ABSENT and value == old
    for rule in schema.get("x-kubernetes-validations") or ():
        transition = re.search(r"\boldSelf\b", rule["rule"]) is not None
        if (transition and old is _ABSENT and not rule.get("optionalOldSelf")) or (
            unchanged and not transition
        ):
            continue
        yield from _judge(rule, value, schema, path, old)
    if isinstance(value, dict):
        fields, extra = schema.get("properties", {}), schema.get("additionalProperties")
        for name, item in value.items():
            child = fields.get(name, extra if isinstance(extra, dict) else None)
            if child is not None and item is not None:
                before = old.get(name, _ABSENT) if isinstance(old, dict) else _ABSENT
                yield from _walk(item, child, join(path, name), before)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, (item, before) in enumerate(pairs(schema, value, old)):
            known = before if isinstance(before, dict) else _ABSENT
            yield from _walk(item, schema["items"], f"{path}[{index}]", known)


def _judge(rule: Mapping[str, Any], value: Any, schema: Schema, path: str, old: Any) -> Iterator[FieldError]:
    variables = {"self": _value(value, schema)}
    if old is not _ABSENT:
        variables["oldSelf"] = _value(old, schema)
    field = path + str(rule.get("fieldPath") or "")
    field = field.lstrip(".")
    try:
        if evaluate(rule["rule"], variables) is True:
            return
        detail = str(rule.get("message") or "").strip()
        if not detail and rule.get("messageExpression"):
            detail = str(evaluate(rule["messageExpression"], variables)).strip()
    except ValueError as error:
        yield FieldError(
            "FieldValueInvalid", field, f"Invalid value: {error} evaluating rule: {rule['rule']}"
        )
        return
    reason = str(rule.get("reason") or "FieldValueInvalid")
    title = _REASONS.get(reason, "Invalid value")
    if reason in ("FieldValueInvalid", "FieldValueDuplicate") and not isinstance(value, (dict, list)):
        title += f": {show(value)}"
    yield FieldError(reason, field, f"{title}: {detail or 'failed rule: ' + rule['rule']}")
