"""The table of wrong and right objects, as pure functions."""

from typing import Any

import jsonpatch
import pytest

from kubedr_server.admission import patch
from kubedr_server.admission.facts import Context
from kubedr_server.admission.judge import RULES
from kubedr_server.api.metadata_backup_policy import DEFAULT_SNAPSHOT_FORMAT
from support.admission import NAMES, policy, record, resource
from support.admission_cases import CASES, Cause


def causes_of(
    kind: str, new: dict[str, Any], old: dict[str, Any] | None = None, name: str | None = None
) -> list[Cause]:
    errors, _ = RULES[kind].validate(new, old, Context(NAMES[kind] if name is None else name))
    return [(str(error.path), error.type.reason, error.message) for error in errors]


def case_id(case: Any) -> str:
    return repr(case)[:60] if isinstance(case, dict) else ""


@pytest.mark.parametrize(("kind", "spec", "causes"), CASES, ids=case_id)
def test_every_mistake_is_told_with_its_field_and_remedy(
    kind: str, spec: dict[str, Any], causes: list[Cause]
) -> None:
    assert causes_of(kind, resource(kind, **spec)) == causes


def test_the_table_is_as_long_as_it_claims() -> None:
    assert len(CASES) >= 150


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("spec", [None, [], "x", 7, True])
def test_a_spec_that_is_no_object_is_told(kind: str, spec: Any) -> None:
    wrong = {**resource(kind), "spec": spec}
    causes = causes_of(kind, wrong)
    assert causes[0][0] == "spec"
    assert len(causes) == 1


def test_a_name_too_long_for_the_cronjob_is_refused_with_the_arithmetic() -> None:
    name = "p" * 38
    message = (
        f'Invalid value: "{name}": must be no more than 37 characters: the name of its CronJob, '
        "<policy>-backup-cronjob, would have 38 + 15 = 53, and Kubernetes allows 52"
    )
    causes = causes_of("MetadataBackupPolicy", policy(name), name=name)
    assert causes == [("metadata.name", "FieldValueInvalid", message)]
    assert not causes_of("MetadataBackupPolicy", policy("p" * 37), name="p" * 37)


def test_a_policy_gets_the_documented_defaults() -> None:
    defaulted = RULES["MetadataBackupPolicy"].default(policy())
    assert defaulted["spec"] == {
        "destination": "offsite",
        "schedule": "*/10 * * * *",
        "etcdEndpoint": "https://127.0.0.1:2379",
        "etcdCreds": "etcd-creds",
        "retainNumBackups": 120,
        "suspend": False,
        "activeDeadlineSeconds": 3600,
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 3,
        "snapshotFormat": DEFAULT_SNAPSHOT_FORMAT,
    }


def test_a_location_is_looked_after_by_default() -> None:
    defaulted = RULES["BackupLocation"].default(resource("BackupLocation"))
    assert defaulted["spec"] == {
        **resource("BackupLocation")["spec"],
        "healthSchedule": "@hourly",
        "checkSchedule": "@daily",
        "checkParts": 7,
        "pruneSchedule": "@weekly",
        "suspendMaintenance": False,
    }


@pytest.mark.parametrize("kind", ["MetadataBackupRecord", "MetadataRestore"])
def test_the_other_kinds_have_no_defaults(kind: str) -> None:
    assert RULES[kind].default(resource(kind)) == resource(kind)


def test_defaulting_does_not_change_the_object_it_is_given() -> None:
    given = policy()
    RULES["MetadataBackupPolicy"].default(given)
    assert given == policy()


def test_a_patch_adds_what_is_missing_and_nothing_else() -> None:
    given = policy(retainNumBackups=7, suspend=None)
    operations = patch.additions(given, RULES["MetadataBackupPolicy"].default(given))
    assert {"op": "replace", "path": "/spec/suspend", "value": False} in operations
    assert not [one for one in operations if one["path"] == "/spec/retainNumBackups"]
    assert jsonpatch.apply_patch(given, operations) == RULES["MetadataBackupPolicy"].default(given)


def test_a_patch_escapes_what_json_pointer_reserves() -> None:
    assert patch.additions({}, {"a/b~c": 1}) == [{"op": "add", "path": "/a~1b~0c", "value": 1}]


@pytest.mark.parametrize(
    ("kind", "field", "value", "why"),
    [
        ("MetadataBackupRecord", "policy", "other", "a record describes a finished backup"),
        ("MetadataBackupRecord", "snapshotId", "aaaaaaaa", "a record describes a finished backup"),
        ("MetadataBackupRecord", "backuploc", "other", "a record describes a finished backup"),
        ("MetadataRestore", "mbrName", "other", "a restore runs once; make another MetadataRestore instead"),
        ("MetadataRestore", "pvcName", "other", "a restore runs once; make another MetadataRestore instead"),
    ],
)
def test_what_never_changes_cannot_be_changed(kind: str, field: str, value: str, why: str) -> None:
    assert causes_of(kind, resource(kind, **{field: value}), resource(kind)) == [
        (f"spec.{field}", "FieldValueInvalid", f'Invalid value: "{value}": field is immutable: {why}')
    ]


def test_taking_a_records_location_away_is_a_change() -> None:
    causes = causes_of("MetadataBackupRecord", record(), record(backuploc="offsite"))
    assert [cause[0] for cause in causes] == ["spec.backuploc"]
