"""The quick look at a value must never pass what the slow one would refuse."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubedr_server.admission import schema
from kubedr_server.admission.field import Errors
from kubedr_server.admission.judge import RULES
from kubedr_server.admission.rules import SPEC
from kubedr_server.admission.schema_rule import Rule
from kubedr_server.api.kinds import KINDS
from support.admission import resource
from support.admission_cases import CASES

SCHEMAS = {kind.name: schema.rule_of(kind.model).properties["spec"] for kind in KINDS}
FRAGMENTS: list[Any] = [
    None,
    "",
    "x",
    "X_",
    "x\n",
    "1",
    "xxxx" * 200,
    0,
    -1,
    1,
    1.0,
    1.5,
    10**30,
    True,
    [],
    {},
    [1],
    {"a": 1},
]


def slowly(rule: Rule, value: Any) -> list[str]:
    """Return what the schema finds wrong, without the quick look."""
    errors = Errors()
    schema.check(_without_quick_look(rule), value, SPEC, errors)
    return [str(error) for error in errors.items]


def _without_quick_look(rule: Rule) -> Rule:
    slow = replace(
        rule,
        properties={name: _without_quick_look(below) for name, below in rule.properties.items()},
        items=_without_quick_look(rule.items) if rule.items else None,
        values=_without_quick_look(rule.values) if rule.values else None,
    )
    vars(slow)["fits"] = lambda _: False
    return slow


def agree(rule: Rule, value: Any) -> None:
    errors = Errors()
    schema.check(rule, value, SPEC, errors)
    assert [str(error) for error in errors.items] == slowly(rule, value)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_right_object_needs_no_second_look(kind: str) -> None:
    assert SCHEMAS[kind].fits(RULES[kind].default(resource(kind))["spec"])


def test_both_looks_agree_on_the_whole_table() -> None:
    for kind, spec, _ in CASES:
        agree(SCHEMAS[kind], resource(kind, **spec)["spec"])


@pytest.mark.parametrize("kind", SCHEMAS)
def test_both_looks_agree_on_each_field_with_any_value(kind: str) -> None:
    for name in SCHEMAS[kind].properties:
        for value in FRAGMENTS:
            agree(SCHEMAS[kind], resource(kind, **{name: value})["spec"])


JSON = st.recursive(
    st.sampled_from(FRAGMENTS) | st.text(max_size=5) | st.integers(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=3), below, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("kind", SCHEMAS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_both_looks_agree_on_any_spec(kind: str, data: st.DataObject) -> None:
    names = st.sampled_from(sorted(SCHEMAS[kind].properties))
    agree(SCHEMAS[kind], data.draw(st.dictionaries(names, JSON, max_size=6)))
