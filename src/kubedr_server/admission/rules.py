"""What every kind's module offers to the review, and what all of them share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kubedr_server.admission import names, schema
from kubedr_server.admission.facts import Context, Facts, Wanted
from kubedr_server.admission.field import Errors, FieldError, Path, same
from kubedr_server.admission.schema_rule import Rule
from kubedr_server.api.base import Model

SPEC = Path().child("spec")
NAME = Path().child("metadata", "name")

Object = dict[str, Any]
Validate = Callable[[Object, Object | None, Context], tuple[list[FieldError], list[str]]]


@dataclass(frozen=True)
class Rules:
    """The admission rules of one kind: pure functions over JSON objects as the API server sends them."""

    kind: str
    plural: str

    default: Callable[[Object], Object]
    """Return the object with its defaults; the one given is not changed."""

    validate: Validate
    """Judge `(new, old, context)`; `old` is None on creation. Returns errors and warnings."""

    wants: Callable[[Object, Object | None], Wanted]
    """Say what `validate` would like to know of other objects."""

    wants_on_delete: Callable[[Object], Wanted]
    refuse_delete: Callable[[Object, Facts], str | None]
    """Say why the object cannot be deleted now; None if it can."""


def default_spec(model: type[Model], obj: Object) -> Object:
    """Give the spec its defaults. Without a spec there is nothing to default: validation says so."""
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return obj
    return {**obj, "spec": schema.with_defaults(schema.rule_of(model), spec)}


def check_spec(rule: Rule, obj: Object, errors: Errors) -> Object:
    """Check the spec against its schema; returns it, or an empty one if it is not an object."""
    spec = obj.get("spec")
    if spec is None:
        errors.required(SPEC)
        return {}
    schema.check(rule, spec, SPEC, errors)
    return spec if isinstance(spec, dict) else {}


def text_of(spec: Object, field: str, errors: Errors) -> str | None:
    """Return a field's text if there is one and the schema found nothing wrong with it."""
    value = spec.get(field)
    if not isinstance(value, str) or (errors and errors.touches(SPEC.child(field))):
        return None
    return value


def check_text(spec: Object, field: str, check: Callable[[str], str | None], errors: Errors) -> None:
    """Check a text field by a function that says what is wrong."""
    value = text_of(spec, field, errors)
    if value is not None and (wrong := check(value)):
        errors.invalid(SPEC.child(field), value, wrong)


def check_object_name(spec: Object, field: str, errors: Errors) -> None:
    """Check a field that holds the name of another object."""
    check_text(spec, field, names.subdomain, errors)


def check_unchanged(
    new: Object, old: Object | None, fields: tuple[str, ...], why: str, errors: Errors
) -> None:
    """Refuse a change of fields that never change."""
    if old is None:
        return
    before, after = old.get("spec"), new.get("spec")
    before, after = before if isinstance(before, dict) else {}, after if isinstance(after, dict) else {}
    for field in fields:
        if not same(before.get(field), after.get(field)):
            errors.invalid(SPEC.child(field), after.get(field), f"field is immutable: {why}")


def spec_changed(new: Object, old: Object | None) -> bool:
    """Whether there is anything new to look up: a change of labels or status needs no questions."""
    return old is None or not same(new.get("spec"), old.get("spec"))


def spec_of(obj: Object) -> Object:
    """Return the spec, whatever the object looks like."""
    spec = obj.get("spec")
    return spec if isinstance(spec, dict) else {}


def names_in(spec: Object, *fields: str) -> list[str]:
    """Return the names that fields hold, those that can be looked up."""
    return [
        value
        for value in (spec.get(field) for field in fields)
        if isinstance(value, str) and names.subdomain(value) is None
    ]
