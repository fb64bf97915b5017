"""Which backups a list has, and how they are shown."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubedr_server.catalogue import CatalogueEntry
from kubedr_server.cli.recover_list import Choice, choose, plain, table
from support.kubedr_objects import SNAPSHOT, a_backup

TIME = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)


def an_entry(**changes: Any) -> CatalogueEntry:
    fields: dict[str, Any] = {
        "snapshot_id": SNAPSHOT,
        "time": TIME,
        "cluster_id": "0b2f4cbe-1234",
        "policy": "kubedr-system/nightly",
        "run_id": "run",
        "complete": True,
        "backup": a_backup(),
        **changes,
    }
    return CatalogueEntry.model_validate(fields)


@pytest.mark.parametrize(
    ("choice", "taken"),
    [
        (Choice(), True),
        (Choice(cluster="0b2f4cbe"), True),
        (Choice(cluster="0b2f4cbe-1234", policy="nightly"), True),
        (Choice(policy="kubedr-system/nightly"), True),
        (Choice(policy="elsewhere/nightly"), False),
        (Choice(policy="night"), False),
        (Choice(cluster="1234"), False),
    ],
)
def test_a_choice_by_cluster_and_policy(choice: Choice, taken: bool) -> None:
    assert choice.takes(an_entry()) is taken


def test_the_newest_complete_ones_are_shown_last_and_the_others_are_apart() -> None:
    old = an_entry(time=TIME - timedelta(days=2))
    new = an_entry(time=TIME - timedelta(days=1))
    half = an_entry(complete=False, backup=None, why="it has 8 files of 9")
    listing = choose([half, new, old], Choice())
    assert (listing.complete, listing.incomplete, listing.older) == ([old, new], [half], 0)
    listing = choose([half, new, old], Choice(newest=1))
    assert (listing.complete, listing.older) == ([new], 1)


def test_backups_are_shown_in_columns() -> None:
    assert table([an_entry()]).splitlines() == [
        "SNAPSHOT  TIME (UTC)           CLUSTER   POLICY                 REVISION  SIZE     FORMAT",
        "9a9808ce  2026-03-01 12:00:05  0b2f4cbe  kubedr-system/nightly  1234      4.0 KiB  file",
    ]


def test_a_tag_cannot_move_the_cursor() -> None:
    assert "\x1b" not in table([an_entry(policy="kubedr-system/\x1b[2J", cluster_id="\x1b[2J")])


def test_a_time_of_another_zone_is_shown_in_utc() -> None:
    local = datetime.fromisoformat("2026-03-01T14:00:05+02:00")
    assert "2026-03-01 12:00:05" in table([an_entry(time=local)])
    assert plain(an_entry(time=local))["time"] == "2026-03-01T12:00:05+00:00"
