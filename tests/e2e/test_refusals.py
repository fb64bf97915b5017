"""A mistake is refused at `kubectl apply`, in the API server's own words."""

import json
from collections.abc import Callable

import pytest

from support.kubectl import Kubectl
from support.protection import Protection

pytestmark = [pytest.mark.cluster, pytest.mark.storage]


def test_a_schedule_of_four_fields_is_refused_by_the_schema(
    kubectl: Kubectl, protection: Callable[..., Protection]
) -> None:
    protected = protection()
    protected.policy = {"schedule": "*/10 * * *"}
    words = kubectl.refusal(protected.backup_policy())
    assert 'The MetadataBackupPolicy "policy" is invalid: spec.schedule: Invalid value: ' in words
    assert "must be five fields" in words
    assert kubectl("get", "metadatabackuppolicies", "-o", "name") == ""


def test_a_schedule_that_never_comes_is_refused_by_the_webhook(
    kubectl: Kubectl, protection: Callable[..., Protection]
) -> None:
    protected = protection()
    protected.policy = {"schedule": "0 25 * * *"}
    words = kubectl.refusal(protected.backup_policy())
    assert (
        'The MetadataBackupPolicy "policy" is invalid: spec.schedule: Invalid value: "0 25 * * *":' in words
    )
    assert kubectl("get", "metadatabackuppolicies", "-o", "name") == ""


def test_all_mistakes_are_told_at_once(kubectl: Kubectl, protection: Callable[..., Protection]) -> None:
    protected = protection()
    protected.location = {"url": "ftp://s3.example.com", "bucketName": "Not_A_Bucket"}
    words = kubectl.refusal(protected.backup_location())
    assert "spec.url: Invalid value" in words
    assert "spec.bucketName: Invalid value" in words


def test_a_missing_field_is_named(kubectl: Kubectl, protection: Callable[..., Protection]) -> None:
    policy = protection().backup_policy()
    del policy["spec"]["destination"]
    assert "spec.destination: Required value" in kubectl.refusal(policy)


def test_a_misspelt_field_is_told(kubectl: Kubectl, protection: Callable[..., Protection]) -> None:
    policy = protection().backup_policy()
    policy["spec"]["shedule"] = policy["spec"]["schedule"]
    assert 'unknown field "spec.shedule"' in kubectl.refusal(policy)


def test_a_policy_may_come_before_its_location(
    kubectl: Kubectl, protection: Callable[..., Protection]
) -> None:
    protected = protection()
    answer = kubectl.answer("apply", "-f", "-", stdin=json.dumps(protected.backup_policy()))
    assert answer.exit_code == 0
    assert "Warning:" in answer.stderr
    policy = kubectl.until(
        "metadatabackuppolicy", "policy", lambda found: bool(found.get("status", {}).get("conditions"))
    )
    conditions = {item["type"]: item["status"] for item in policy["status"]["conditions"]}
    assert conditions["DestinationReady"] == "False"
