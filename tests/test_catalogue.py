"""A catalogue comes through a log whole, or not at all."""

import random
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubedr_server.catalogue import CatalogueEntry, CatalogueError, decode, encode
from kubedr_server.contract import BackupResult


def an_entry(number: int = 1) -> CatalogueEntry:
    snapshot_id = f"{number:064x}"
    return CatalogueEntry(
        snapshot_id=snapshot_id,
        time=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number % 1000),
        host="kubedr-0b2f4cbe",
        cluster_id="0b2f4cbe",
        policy="backup-system/every-hour",
        run_id=f"run-{number}",
        complete=True,
        backup=BackupResult(
            snapshot_id=snapshot_id,
            revision=number,
            minimum_revision=number,
            hash="4f1d0c3a",
            total_keys=7,
            sha256="0" * 64,
            snapshot_size=20512,
            snapshot_format="file",
            etcd_version="3.5.30",
            etcd_endpoint="https://127.0.0.1:2379",
            certificate_files=2,
            files_new=3,
            files_changed=0,
            data_added=20000,
            data_stored=10000,
            total_bytes_processed=20512,
            total_duration_secs=0.0,
        ),
    )


def three_lines(number: int = 1) -> list[str]:
    """Return a list that takes three lines, and the end."""
    for width in range(400, 100, -1):
        lines = list(encode([an_entry(number), an_entry(2), an_entry(3)], width))
        if len(lines) == 4:
            return lines
    raise AssertionError("no width gives three lines")


text = st.text(max_size=10) | st.builds(str.__mul__, st.text(max_size=3), st.integers(0, 1000))
entries = st.lists(
    st.fixed_dictionaries(
        {
            "snapshot_id": st.integers(min_value=0, max_value=2**256 - 1).map(lambda value: f"{value:064x}"),
            "time": st.datetimes(timezones=st.just(UTC)),
            **dict.fromkeys(("host", "cluster_id", "policy", "run_id"), text),
            "complete": st.booleans(),
            "why": st.none() | text,
            "backup": st.none() | st.integers(0, 2**63).map(lambda number: an_entry(number).backup),
        }
    ).map(CatalogueEntry.model_validate),
    max_size=4,
)
# A log's foreign lines: anything but the start of one of ours.
foreign = st.text(max_size=80).filter(lambda line: "kubedr-catalogue" not in line and "\n" not in line)


@settings(max_examples=50)
@given(entries, st.lists(foreign, min_size=1, max_size=2))
def test_what_is_written_is_read_back_between_the_logs_other_lines(
    written: list[CatalogueEntry], others: list[str]
) -> None:
    lines = list(encode(written, 400))
    log = "\n".join(line for each in lines for line in (*others, each)) + "\n"
    read = decode(log)
    assert [(entry.snapshot_id, entry.time) for entry in read] == [
        (entry.snapshot_id, entry.time) for entry in written
    ]
    for before, after in zip(written, read, strict=True):
        # What could not be told in a line is never told as a whole backup.
        assert after == before or (not after.complete and "longer than any" in str(after.why))
    assert all(len(line.encode()) <= 400 and line.isascii() for line in lines)


@given(st.data())
def test_no_damaged_log_is_read_as_another_list(data: st.DataObject) -> None:
    lines = three_lines()
    at = data.draw(st.integers(0, len(lines) - 1))
    line = lines[at]
    position = data.draw(st.integers(0, len(line) - 1))
    other = data.draw(st.characters().filter(lambda char: char not in (line[position], "\n")))
    lines[at] = line[:position] + other + line[position + 1 :]
    with pytest.raises(CatalogueError):
        decode("\n".join(lines))


def test_an_empty_repository_has_a_catalogue_too() -> None:
    assert decode("\n".join(encode([]))) == []


@pytest.mark.parametrize(
    "prefix",
    [
        "2026-01-01T00:00:00.123456789Z ",
        "2026-01-01T00:00:00+01:00 stdout F ",
        "2026-01-01T00:00:00Z stderr F ",
    ],
)
def test_what_a_kubelet_puts_before_each_line_is_no_part_of_it(prefix: str) -> None:
    lines = [prefix + line for line in encode([an_entry(1), an_entry(2)])]
    assert decode("\r\n".join(lines)) == [an_entry(1), an_entry(2)]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lines: lines[:0], "holds no list"),
        (lambda lines: lines[:-1], "breaks off after 3 of 3"),
        (lambda lines: lines[:1], "breaks off after 1 of 3"),
        (lambda lines: [lines[0], *lines[2:]], "Line 2 of 3 of the list of snapshots is missing"),
        (lambda lines: [*lines[:2], lines[3]], "Line 3 of 3 of the list of snapshots is missing"),
        (lambda lines: [lines[0], *lines], "Line 1 of the list of snapshots in the pod's log is doubled"),
        (lambda lines: [*lines, *lines], "it is doubled"),
        (
            lambda lines: [lines[0], lines[1][:-9], *lines[2:]],
            "Line 2 of the list of snapshots in .* damaged",
        ),
        (lambda lines: [*lines[:-1], lines[-1][:-1] + "x"], "is damaged"),
        (lambda lines: [*encode([an_entry()])][:1] + lines[1:], "says 1 and 3 lines"),
        (lambda lines: [*lines[:-1], three_lines(9)[-1]], "does not have the sum"),
        (lambda lines: [re.sub("catalogue 2", "catalogue 1", line) for line in lines], "has the format 1"),
    ],
)
def test_a_list_that_is_not_whole_is_refused_in_a_sentence(
    spoil: Callable[[list[str]], list[str]], message: str
) -> None:
    with pytest.raises(CatalogueError, match=message):
        decode("\n".join(spoil(three_lines())))


def test_forty_thousand_backups_fit_into_what_a_node_keeps_of_a_log() -> None:
    chance = random.Random(5)
    entries = []
    for number in range(2000):
        made = an_entry(number)
        assert made.backup is not None
        changes = {
            "snapshot_id": chance.randbytes(32).hex(),
            "run_id": str(uuid.UUID(bytes=chance.randbytes(16))),
        }
        digests = {"sha256": chance.randbytes(32).hex(), "hash": chance.randbytes(4).hex()}
        backup = made.backup.model_copy(update={**digests, "snapshot_id": changes["snapshot_id"]})
        entries.append(made.model_copy(update={**changes, "backup": backup}))
    assert sum(len(line) + 1 for line in encode(entries)) * 20 < 10 * 2**20
