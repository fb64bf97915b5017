"""What is decided about a MetadataRestore."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from kubedr_server.api.backup_location import CREDENTIAL_KEYS
from kubedr_server.api.conditions import Reason
from kubedr_server.contract import Operation
from kubedr_server.controllers.decision import Announcement, Create, Decision
from kubedr_server.controllers.restore import RestoreState, decide
from kubedr_server.controllers.run import Run
from kubedr_server.controllers.secrets import SecretState
from kubedr_server.kube.resources import JOBS
from kubedr_server.manifests.jobs import restore_job, restore_job_name
from support.kubedr_objects import (
    NOW,
    RUNNER,
    a_job,
    a_location,
    a_pod,
    a_record,
    a_restore,
    a_result,
    completed,
    failed,
    stamp,
    told_by,
    waiting,
)

SECRETS = (SecretState("minio-creds", CREDENTIAL_KEYS, "7", frozenset(CREDENTIAL_KEYS)),)
STATE = RestoreState(a_restore(), a_record(), a_location(), SECRETS, pvc_exists=True)
NAME = restore_job_name(a_restore())
JOB = a_job(NAME)


def decided(state: RestoreState) -> Decision:
    return decide(state, RUNNER, 30.0, NOW)


def status_of(decision: Decision) -> dict[str, Any]:
    assert decision.status is not None
    return decision.status.to_wire()


def restored(decision: Decision) -> tuple[str, str, str]:
    condition = status_of(decision)["conditions"][0]
    assert condition["type"] == "Restored"
    return condition["status"], condition["reason"], condition["message"]


def test_a_restore_gets_its_job() -> None:
    decision = decided(STATE)
    assert decision.before == (Create(JOBS, restore_job(a_restore(), a_record(), a_location(), RUNNER)),)
    assert restored(decision) == ("False", "InProgress", f"Job {NAME} restores the backup")
    assert "restoreStatus" not in status_of(decision)


@pytest.mark.parametrize(
    ("state", "reason", "message"),
    [
        (
            replace(STATE, record=None),
            "NotFound",
            "MetadataBackupRecord mbr-9a9808ce does not exist in namespace kubedr-system",
        ),
        (
            replace(STATE, record=a_record(deletionTimestamp=stamp(NOW))),
            "NotReady",
            "MetadataBackupRecord mbr-9a9808ce is being deleted, with its snapshot",
        ),
        (
            replace(STATE, location=None),
            "NotFound",
            "BackupLocation minio, which holds the backup, does not exist",
        ),
        (
            replace(STATE, pvc_exists=False),
            "NotFound",
            "PersistentVolumeClaim restored does not exist in namespace kubedr-system; create it",
        ),
        (
            replace(STATE, secrets=(replace(SECRETS[0], keys=frozenset({"access_key", "secret_key"})),)),
            "SecretKeyMissing",
            "Secret minio-creds in namespace kubedr-system has no value for the key restic_repo_password",
        ),
    ],
)
def test_it_waits_for_what_is_not_there_yet(state: RestoreState, reason: str, message: str) -> None:
    decision = decided(state)
    assert decision.before == ()
    assert restored(decision) == ("False", reason, message)
    assert decision.wake_after == 30.0


def test_success_is_told() -> None:
    result = a_result(Operation.RESTORE, message="13 files are restored")
    decision = decided(replace(STATE, run=Run(completed(JOB), (a_pod(JOB, told_by(result)),))))
    common = {
        "status": "True",
        "reason": "Succeeded",
        "message": "13 files are restored",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-03-01T12:00:00Z",
    }
    assert status_of(decision) == {
        "observedGeneration": 1,
        "restoreStatus": "Completed",
        "restoreTime": "2026-03-01T12:00:00Z",
        "restorePod": f"{NAME}-abcde",
        "filesRestored": 13,
        "bytesRestored": 8192,
        "conditions": [{"type": "Restored", **common}, {"type": "Ready", **common}],
    }
    assert decision.events == (Announcement("Normal", "RestoreSucceeded", "13 files are restored"),)


def test_a_failure_is_told_and_final() -> None:
    result = a_result(Operation.RESTORE, reason=Reason.TARGET_NOT_EMPTY, message="the volume is not empty")
    decision = decided(replace(STATE, run=Run(failed(JOB), (a_pod(JOB, told_by(result)),))))
    status = status_of(decision)
    assert (status["restoreStatus"], status["restoreErrorMessage"]) == ("Failed", "the volume is not empty")
    assert decision.events == (Announcement("Warning", "RestoreFailed", "the volume is not empty"),)
    assert decision.wake_after is None


def test_a_job_that_vanished_is_not_begun_again() -> None:
    begun = status_of(decided(STATE))
    decision = decided(replace(STATE, restore=a_restore(status=begun)))
    assert decision.before == ()
    assert status_of(decision)["restoreStatus"] == "Failed"
    assert restored(decision)[1:] == (
        "NoResult",
        f"Job {NAME} is gone and its result is not known; check the volume, then make another restore",
    )


def test_a_job_that_vanished_in_trouble_is_not_begun_again() -> None:
    stuck = decided(replace(STATE, run=Run(JOB, (a_pod(JOB, waiting("ErrImagePull", "no such image")),))))
    assert restored(stuck)[1] == "ImagePullFailed"
    decision = decided(replace(STATE, restore=a_restore(status=status_of(stuck))))
    assert (decision.before, status_of(decision)["restoreStatus"]) == ((), "Failed")


def test_a_record_that_is_deleted_meanwhile_does_not_stop_a_restore_that_runs() -> None:
    result = a_result(Operation.RESTORE)
    run = Run(completed(JOB, NOW - timedelta(seconds=5)), (a_pod(JOB, told_by(result)),))
    assert status_of(decided(RestoreState(a_restore(), run=run)))["restoreStatus"] == "Completed"
