"""The result document: it comes back as it went, and it always fits into a termination message."""

import json
from datetime import UTC
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kubedr_server import contract
from kubedr_server.api.base import Model
from kubedr_server.api.conditions import Reason
from kubedr_server.contract import (
    EXIT_CODES,
    MAX_RESULT_BYTES,
    BackupResult,
    Operation,
    RestoreResult,
    RunResult,
)

M = TypeVar("M", bound=Model)

counts = st.integers(min_value=0, max_value=2**63 - 1)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)


def made(model: type[M], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[M]:
    """Return models with these fields; `st.builds` would add the fields' wire names by itself."""
    return st.fixed_dictionaries(fields).map(model.model_validate)


words = st.text(st.characters(codec="utf-8"), max_size=60)
messages = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=300),
    st.builds(
        str.__mul__, st.text(st.characters(codec="utf-8"), min_size=1, max_size=3), st.integers(0, 6000)
    ),
)
backups = made(
    BackupResult,
    snapshot_id=digests,
    revision=counts,
    minimum_revision=counts,
    hash=st.text("0123456789abcdef", max_size=8),
    total_keys=counts,
    sha256=digests,
    snapshot_size=counts,
    snapshot_format=st.just("etcd-snapshot"),
    etcd_version=st.just("3.5.30"),
    etcd_endpoint=st.just("https://127.0.0.1:2379"),
    certificate_files=counts,
    files_new=counts,
    files_changed=counts,
    data_added=counts,
    data_stored=counts,
    total_bytes_processed=counts,
    total_duration_secs=st.floats(min_value=0, max_value=1e6),
)
restores = made(
    RestoreResult,
    snapshot_id=digests,
    files_restored=counts,
    bytes_restored=counts,
    revision=counts,
    hash=st.text("0123456789abcdef", max_size=8),
)
results = made(
    RunResult,
    operation=st.sampled_from(Operation),
    outcome=st.sampled_from(["Succeeded", "Failed"]),
    reason=st.sampled_from(Reason),
    message=messages,
    run_id=st.uuids().map(str),
    start_time=st.datetimes(timezones=st.just(UTC)),
    completion_time=st.datetimes(timezones=st.just(UTC)),
    repository_id=st.none() | digests,
    warnings=st.lists(words, max_size=80),
    backup=st.none() | backups,
    restore=st.none() | restores,
)


@given(results)
def test_a_result_fits_and_keeps_everything_but_warnings_and_the_messages_end(result: RunResult) -> None:
    encoded = result.to_termination_message()

    assert len(encoded) <= MAX_RESULT_BYTES
    read = RunResult.from_termination_message(encoded.decode())
    assert read.model_copy(update={"warnings": [], "message": ""}) == result.model_copy(
        update={"warnings": [], "message": ""}
    )
    assert read.warnings == result.warnings[: len(read.warnings)]
    if read.message != result.message:
        assert read.message.endswith("…")
        assert result.message.startswith(read.message.removesuffix("…"))
        assert read.warnings == []


@given(results)
def test_a_result_that_fits_is_not_changed(result: RunResult) -> None:
    small = result.model_copy(update={"message": result.message[:100], "warnings": []})

    assert RunResult.from_termination_message(small.to_termination_message().decode()) == small


@pytest.mark.parametrize("character", ["x", "é", "語", "🔥"])
def test_a_long_message_is_cut_by_its_bytes_and_no_more_than_needed(character: str) -> None:
    encoded = a_failure(character * 5000).to_termination_message()

    assert MAX_RESULT_BYTES - 8 <= len(encoded) <= MAX_RESULT_BYTES
    assert set(json.loads(encoded)["message"]) == {character, "…"}


def test_a_message_of_characters_that_json_writes_longer_still_fits() -> None:
    encoded = a_failure('\x00"' * 4000).to_termination_message()

    assert len(encoded) <= MAX_RESULT_BYTES
    assert RunResult.from_termination_message(encoded.decode()).reason is Reason.STORAGE_UNREACHABLE


def test_warnings_go_before_the_message_is_cut() -> None:
    result = a_failure("m" * 3000).model_copy(update={"warnings": ["first", "w" * 2000]})

    read = RunResult.from_termination_message(result.to_termination_message().decode())

    assert read.warnings == ["first"]
    assert read.message == "m" * 3000


def test_a_result_that_cannot_be_made_to_fit_is_refused() -> None:
    result = a_failure("short").model_copy(update={"run_id": "r" * 5000})

    with pytest.raises(ValueError, match=r"a result of \d+ bytes does not fit into 4096"):
        result.to_termination_message()


@pytest.mark.parametrize(
    "message",
    ["", "null", "{}", "killed", '{"version":2,"operation":"backup"}', '{"outcome":"Succeeded"}'],
)
def test_what_is_no_result_is_not_taken_for_one(message: str) -> None:
    with pytest.raises(ValidationError):
        RunResult.from_termination_message(message)


def test_every_way_to_fail_has_an_exit_code_of_its_own_and_none_is_success() -> None:
    codes = list(EXIT_CODES.values())

    assert len(set(codes)) == len(codes)
    assert all(0 < code < 256 for code in codes)


def test_the_command_line_names_the_operation_only() -> None:
    assert contract.command(Operation.BACKUP) == ["kubedr", "runner", "backup"]


def a_failure(message: str) -> RunResult:
    return RunResult.model_validate(
        {
            "operation": "backup",
            "outcome": "Failed",
            "reason": "StorageUnreachable",
            "message": message,
            "runId": "50cf3088-7763-4d8a-bb8b-0c308b1fbdac",
            "startTime": "2026-03-01T12:00:00Z",
            "completionTime": "2026-03-01T12:00:05Z",
        }
    )
