"""What is decided about a MetadataBackupRecord that is being deleted."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from kubedr_server.api.backup_location import CREDENTIAL_KEYS
from kubedr_server.api.conditions import Reason
from kubedr_server.contract import Operation
from kubedr_server.controllers.decision import Announcement, Create, Decision, Merge
from kubedr_server.controllers.record import DeletionState, decide, is_held, keep
from kubedr_server.controllers.run import Run
from kubedr_server.controllers.secrets import SecretState
from kubedr_server.controllers.settings import ControllerSettings
from kubedr_server.kube.resources import BACKUP_LOCATIONS, JOBS, METADATA_BACKUP_RECORDS
from kubedr_server.manifests.jobs import forget_job, forget_job_name
from support.kubedr_objects import (
    NAMESPACE,
    NOW,
    RUNNER,
    SNAPSHOT,
    a_job,
    a_location,
    a_pod,
    a_record,
    a_result,
    completed,
    failed,
    stamp,
    told_by,
)

RECORD = a_record(
    deletionTimestamp=stamp(NOW), finalizers=["mbr.finalizers.kubedr.catalogicsoftware.com", "other"]
)
SECRETS = (SecretState("minio-creds", CREDENTIAL_KEYS, "7", frozenset(CREDENTIAL_KEYS)),)
STATE = DeletionState(RECORD, a_location(), SECRETS)
JOB = a_job(forget_job_name(RECORD, "0"))
RELEASED = Merge(
    METADATA_BACKUP_RECORDS,
    NAMESPACE,
    "mbr-9a9808ce",
    {"metadata": {"resourceVersion": "1", "finalizers": ["other"]}},
)


def decided(state: DeletionState) -> Decision:
    return decide(state, ControllerSettings(RUNNER), NOW)


def ended(**result: Any) -> Run:
    made = a_result(Operation.FORGET, **result)
    return Run(completed(JOB) if made.succeeded else failed(JOB), (a_pod(JOB, told_by(made)),))


def test_only_a_record_that_is_deleted_and_has_our_finalizer_is_held() -> None:
    assert is_held(RECORD)
    assert not is_held(a_record())
    assert not is_held(a_record(deletionTimestamp=stamp(NOW), finalizers=["other"]))


def test_the_snapshot_goes_first() -> None:
    decision = decided(STATE)
    assert decision.before == (Create(JOBS, forget_job(RECORD, a_location(), RUNNER, "0")),)
    assert (decision.events, decision.after) == ((), ())
    container = decision.before[0].object["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "KUBEDR_SNAPSHOT_ID", "value": SNAPSHOT} in container["env"]


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (ended(), "is deleted"),
        (ended(reason=Reason.SNAPSHOT_NOT_FOUND), "was not in the repository any more"),
    ],
)
def test_the_finalizer_goes_last(run: Run, text: str) -> None:
    message = f"snapshot {SNAPSHOT} {text}"
    assert decided(replace(STATE, run=run)) == Decision(
        events=(Announcement("Normal", "DeleteSucceeded", message, "deleted"),), after=(RELEASED,)
    )


def test_a_failure_is_told_with_the_way_out_and_tried_again() -> None:
    run = ended(reason=Reason.REPOSITORY_LOCKED, message="The repository is locked.")
    decision = decided(replace(STATE, run=run))
    message = (
        "The repository is locked. To delete the record and leave the snapshot, annotate it with "
        'kubedr.catalogicsoftware.com/orphan-snapshot="true"'
    )
    assert decision.events == (Announcement("Warning", "DeleteFailed", message),)
    assert (decision.before, decision.after, decision.wake_after) == ((), (), 10.0)
    assert decision.status is not None
    status = decision.status.to_wire()
    assert (status["consecutiveFailures"], status["nextAttemptTime"]) == (1, "2026-03-01T12:00:10Z")
    assert status["conditions"][-1] == {
        "type": "SnapshotDeleted",
        "status": "False",
        "reason": "RepositoryLocked",
        "message": message,
        "observedGeneration": 1,
        "lastTransitionTime": "2026-03-01T12:00:00Z",
    }
    # Verified, and what was recorded, stay.
    assert (status["conditions"][0]["type"], status["fullSnapshotId"]) == ("Verified", SNAPSHOT)


def test_it_waits_before_the_next_attempt() -> None:
    waiting = RECORD.model_copy(
        update={
            "status": RECORD.status.model_copy(
                update={"consecutive_failures": 1, "next_attempt_time": NOW + timedelta(seconds=9)}
            )
        }
    )
    assert decided(replace(STATE, record=waiting)) == Decision(wake_after=9.0)
    # Noted by a clock that was a day ahead: nobody waits for that.
    ahead = waiting.status.model_copy(update={"next_attempt_time": NOW + timedelta(days=1)})
    assert decided(replace(STATE, record=waiting.model_copy(update={"status": ahead}))).before


def test_snapshots_are_deleted_one_after_the_other() -> None:
    decision = decided(replace(STATE, busy_with="forget-other"))
    assert (decision.before, decision.wake_after) == ((), 10.0)


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (
            replace(
                STATE,
                record=a_record(
                    deletionTimestamp=stamp(NOW),
                    finalizers=RECORD.metadata.finalizers,
                    annotations={"kubedr.catalogicsoftware.com/orphan-snapshot": "true"},
                ),
            ),
            "the annotation kubedr.catalogicsoftware.com/orphan-snapshot says so",
        ),
        (replace(STATE, location=None), "BackupLocation minio does not exist any more"),
    ],
)
def test_there_is_a_way_out_that_says_what_stays(state: DeletionState, why: str) -> None:
    message = f"snapshot {SNAPSHOT} stays in the repository: {why}"
    decision = decided(state)
    assert replace(decision, before=()) == Decision(
        events=(Announcement("Normal", "SnapshotKept", message, "kept"),), after=(RELEASED,)
    )
    assert keep(state.record, why) == replace(decision, before=())


def test_a_snapshot_that_was_let_go_is_remembered_so_that_no_record_comes_back() -> None:
    annotations = {"kubedr.catalogicsoftware.com/orphan-snapshot": "true"}
    finalizers = RECORD.metadata.finalizers
    record = a_record(deletionTimestamp=stamp(NOW), finalizers=finalizers, annotations=annotations)
    location = a_location(status={"letGo": ["0123456789abcdef"]})
    (note,) = decided(replace(STATE, record=record, location=location)).before
    assert isinstance(note, Merge)
    assert (note.resource, note.subresource) == (BACKUP_LOCATIONS, "status")
    assert note.body["status"] == {"letGo": ["0123456789abcdef", "9a9808ce00000000"]}
    noted = a_location(status={"letGo": ["9a9808ce00000000"]})
    assert decided(replace(STATE, record=record, location=noted)).before == ()


def test_a_missing_secret_is_told_once() -> None:
    state = replace(STATE, secrets=(SecretState("minio-creds", CREDENTIAL_KEYS),))
    decision = decided(state)
    assert decision.before == ()
    assert [event.reason for event in decision.events] == ["DeleteFailed"]
    told = RECORD.model_copy(update={"status": decision.status})
    assert decided(replace(state, record=told)).events == ()
