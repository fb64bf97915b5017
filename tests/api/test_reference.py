"""The API reference tells of everything that there is."""

import re
from enum import StrEnum

import pytest

from kubedr_server.api.conditions import ConditionType, EventReason, Reason
from kubedr_server.api.enums import documented_members
from kubedr_server.api.kinds import KINDS, Kind
from kubedr_server.api.reference import reference
from kubedr_server.api.schema import structural_schema

PAGE = reference()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_field_and_column_of_a_kind_has_a_row(kind: Kind) -> None:
    section = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1 + KINDS.index(kind)]
    assert section.startswith(kind.name)

    for part in ("spec", "status"):
        for name in structural_schema(kind.model)["properties"][part]["properties"]:
            assert f"\n| `{part}.{name}` |" in section
    for column in kind.columns:
        assert f"\n| {column.name} | `{column.json_path}` |" in section


@pytest.mark.parametrize("word", [*ConditionType, *Reason, *EventReason])
def test_every_condition_and_reason_has_a_row(word: str) -> None:
    assert f"\n| `{word}` | " in PAGE


def test_every_table_has_as_many_cells_in_each_row_as_in_its_head() -> None:
    for table in re.findall(r"(?:^\|.*\n)+", PAGE, flags=re.MULTILINE):
        rows = table.splitlines()
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1, rows[0]


def test_a_default_and_a_required_field_are_told() -> None:
    assert "| `spec.retainNumBackups` | integer |  | `120` |" in PAGE
    assert "| `spec.destination` | string | yes |  |" in PAGE


class Undocumented(StrEnum):
    FIRST = "First"
    """The first."""

    SECOND = "Second"


def test_a_word_without_a_description_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Undocumented\.SECOND has no description"):
        documented_members(Undocumented)
