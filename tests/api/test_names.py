"""Names fit where Kubernetes puts them, and differ where their inputs do."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedr_server.api.names import (
    MAX_POLICY_NAME_LENGTH,
    backup_cronjob_name,
    job_name,
    label_value,
    record_name,
    short_hash,
)

LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
object_names = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", fullmatch=True)


def test_a_policys_cronjob_has_the_documented_name() -> None:
    assert backup_cronjob_name("test-backup") == "test-backup-backup-cronjob"


def test_the_longest_policy_name_makes_the_longest_cronjob_name() -> None:
    assert len(backup_cronjob_name("p" * MAX_POLICY_NAME_LENGTH)) == 52

    with pytest.raises(ValueError, match="has 38 characters; at most 37 are possible"):
        backup_cronjob_name("p" * (MAX_POLICY_NAME_LENGTH + 1))


def test_a_record_is_named_by_eight_digits_of_its_snapshot() -> None:
    assert record_name("9a9808ce" + "0" * 56) == "mbr-9a9808ce"


@given(object_names)
def test_a_name_makes_a_label_value_and_stays_as_it_is_where_it_fits(name: str) -> None:
    value = label_value(name)

    assert LABEL_VALUE.fullmatch(value)
    assert (value == name) == (len(name) <= 63)


def test_long_names_with_the_same_beginning_have_different_label_values() -> None:
    assert label_value("a" * 100) != label_value("a" * 101)


@given(object_names, st.text(max_size=20))
def test_a_jobs_name_fits_into_the_label_of_its_pods(subject: str, identity: str) -> None:
    assert DNS_LABEL.fullmatch(job_name("restore", subject, identity))


def test_a_jobs_name_says_whom_it_works_for_and_follows_from_its_inputs_alone() -> None:
    assert job_name("init", "minio", "uid", "1") == job_name("init", "minio", "uid", "1")
    assert re.fullmatch(r"init-minio-[0-9a-f]{8}", job_name("init", "minio", "uid", "1"))
    assert len({job_name("init", "minio", "uid", attempt) for attempt in "123"}) == 3


def test_a_hash_depends_on_where_a_part_ends() -> None:
    assert short_hash("ab", "c") != short_hash("a", "bc")
