"""What is decided about a BackupLocation."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from kubedr_server.api.backup_location import CA_BUNDLE_KEY, CREDENTIAL_KEYS, BackupLocation
from kubedr_server.api.conditions import Reason
from kubedr_server.contract import Operation
from kubedr_server.controllers.backoff import Backoff
from kubedr_server.controllers.decision import Announcement, Create, Decision, Delete
from kubedr_server.controllers.location.decide import decide
from kubedr_server.controllers.location.state import LocationState, attempt_key, next_attempt
from kubedr_server.controllers.run import Run
from kubedr_server.controllers.secrets import SecretState
from kubedr_server.kube.resources import JOBS
from kubedr_server.manifests.jobs import init_job, init_job_name
from support.kubedr_objects import (
    NAMESPACE,
    NOW,
    RUNNER,
    a_condition,
    a_job,
    a_location,
    a_pod,
    a_result,
    completed,
    failed,
    stamp,
    told_by,
    unschedulable,
)

CREDENTIALS = SecretState("minio-creds", CREDENTIAL_KEYS, "7", frozenset(CREDENTIAL_KEYS))
KEY = attempt_key(a_location(), (CREDENTIALS,))
FIRST = init_job_name(a_location(), f"{KEY}-0")
BACKOFF = Backoff(first_seconds=10, longest_seconds=1800)
REFUSED = "The S3 service refused the access key"
FAILED = {
    "initStatus": "Failed",
    "initErrorMessage": REFUSED,
    "consecutiveFailures": 1,
    "attemptKey": KEY,
    "nextAttemptTime": stamp(NOW + timedelta(seconds=10)),
    "conditions": [a_condition("Ready", "False", "WrongS3Credentials", REFUSED)],
}


def decided(
    location: BackupLocation, *runs: Run, secrets: tuple[SecretState, ...] = (CREDENTIALS,)
) -> Decision:
    return decide(LocationState(location, secrets, runs), RUNNER, BACKOFF, NOW)


def status_of(decision: Decision) -> dict[str, Any]:
    assert decision.status is not None
    return decision.status.to_wire()


def conditions_of(decision: Decision) -> dict[str, tuple[str, str, str]]:
    return {
        condition["type"]: (condition["status"], condition["reason"], condition["message"])
        for condition in status_of(decision)["conditions"]
    }


def test_a_new_location_gets_its_first_job() -> None:
    location = a_location()
    message = f"Attempt 1 to initialise the repository: Job {FIRST}"
    condition = {"status": "False", "reason": "InProgress", "message": message, "observedGeneration": 1}
    decision = decided(location)
    assert decision.before == (Create(JOBS, init_job(location, RUNNER, f"{KEY}-0")),)
    assert status_of(decision) == {
        "observedGeneration": 1,
        "conditions": [
            {"type": "Initialized", "lastTransitionTime": "2026-03-01T12:00:00Z", **condition},
            {"type": "Ready", "lastTransitionTime": "2026-03-01T12:00:00Z", **condition},
        ],
    }
    assert (decision.events, decision.after, decision.wake_after) == ((), (), None)


def test_it_waits_for_another_location_that_makes_the_same_repository() -> None:
    location = a_location()
    state = LocationState(location, (CREDENTIALS,), (), busy=("another-init",))
    decision = decide(state, RUNNER, BACKOFF, NOW)
    assert decision.before == ()
    assert conditions_of(decision)["Ready"][1:] == (
        "Pending",
        "waits for Job another-init: one at a time has the repository to itself",
    )
    assert decision.wake_after is not None


def test_a_missing_secret_is_named_with_what_it_needs() -> None:
    decision = decided(a_location(), secrets=(SecretState("minio-creds", CREDENTIAL_KEYS),))
    message = (
        "Secret minio-creds does not exist in namespace kubedr-system; create it with the "
        "keys access_key, secret_key, restic_repo_password"
    )
    assert conditions_of(decision)["Ready"] == ("False", "SecretNotFound", message)
    assert decision.events == (Announcement("Warning", "InitFailed", message),)
    assert decision.before == ()
    again = decided(a_location(status=status_of(decision)), secrets=(replace(CREDENTIALS, version=""),))
    assert again.events == ()


def test_a_missing_key_is_named() -> None:
    secret = replace(CREDENTIALS, keys=frozenset(CREDENTIAL_KEYS) - {"restic_repo_password"})
    decision = decided(a_location(), secrets=(secret,))
    assert conditions_of(decision)["Ready"] == (
        "False",
        "SecretKeyMissing",
        "Secret minio-creds in namespace kubedr-system has no value for the key restic_repo_password",
    )


def test_a_missing_ca_secret_is_named() -> None:
    decision = decided(a_location(caSecret="ca"), secrets=(CREDENTIALS, SecretState("ca", (CA_BUNDLE_KEY,))))
    assert conditions_of(decision)["Ready"][2] == (
        "Secret ca does not exist in namespace kubedr-system; create it with the key ca.crt"
    )


def test_success_is_told_with_the_repositorys_id() -> None:
    job = a_job(FIRST)
    result = a_result(Operation.INIT, message="the repository is made")
    decision = decided(a_location(), Run(completed(job), (a_pod(job, told_by(result)),)))
    condition = {"status": "True", "reason": "Ready", "message": "the repository is made"}
    common = {"lastTransitionTime": "2026-03-01T12:00:00Z", "observedGeneration": 1, **condition}
    assert status_of(decision) == {
        "observedGeneration": 1,
        "initStatus": "Completed",
        "initTime": "2026-03-01T12:00:00Z",
        "repositoryId": "repo-1",
        "consecutiveFailures": 0,
        "attemptKey": KEY,
        "conditions": [
            {"type": "Initialized", **common},
            {"type": "Healthy", **common, "reason": "Succeeded"},
            {"type": "Ready", **common},
        ],
    }
    assert decision.events == (Announcement("Normal", "InitSucceeded", "the repository is made"),)
    assert (decision.before, decision.after, decision.wake_after) == ((), (), None)


def test_a_failure_is_told_in_the_runners_words_and_tried_again_later() -> None:
    job = a_job(FIRST)
    result = a_result(Operation.INIT, reason=Reason.WRONG_S3_CREDENTIALS, message=REFUSED)
    decision = decided(a_location(), Run(failed(job), (a_pod(job, told_by(result)),)))
    status = status_of(decision)
    assert (status["initStatus"], status["initErrorMessage"]) == ("Failed", REFUSED)
    assert (status["consecutiveFailures"], status["nextAttemptTime"]) == (1, "2026-03-01T12:00:10Z")
    assert conditions_of(decision) == {
        "Initialized": ("False", "WrongS3Credentials", REFUSED),
        "Ready": ("False", "WrongS3Credentials", REFUSED),
    }
    assert decision.events == (Announcement("Warning", "InitFailed", REFUSED),)
    assert (decision.before, decision.wake_after) == ((), 10.0)


def test_it_waits_before_the_next_attempt_and_keeps_saying_why() -> None:
    decision = decided(a_location(status=FAILED))
    assert conditions_of(decision)["Ready"] == ("False", "WrongS3Credentials", REFUSED)
    assert (decision.before, decision.events, decision.wake_after) == ((), (), 10.0)


def test_an_attempt_that_a_clock_noted_for_next_year_is_made_at_once() -> None:
    location = a_location(status={**FAILED, "nextAttemptTime": stamp(NOW + timedelta(days=365))})
    assert [type(write) for write in decided(location).before] == [Create]


def test_the_next_attempt_has_another_job_and_takes_away_the_last_one() -> None:
    location = a_location(status={**FAILED, "nextAttemptTime": stamp(NOW)})
    second = init_job_name(location, f"{KEY}-1")
    decision = decided(location, Run(failed(a_job(FIRST))))
    assert decision.before == (
        Delete(JOBS, NAMESPACE, FIRST, f"uid-of-{FIRST}"),
        Create(JOBS, init_job(location, RUNNER, f"{KEY}-1")),
    )
    assert conditions_of(decision)["Ready"][2] == (
        f"Attempt 2 to initialise the repository: Job {second}; the last one failed: {REFUSED}"
    )


def test_a_changed_secret_is_tried_at_once() -> None:
    location, changed = a_location(status=FAILED), (replace(CREDENTIALS, version="8"),)
    attempt = f"{attempt_key(location, changed)}-0"
    assert next_attempt(location, changed) == attempt
    assert decided(location, secrets=changed).before == (Create(JOBS, init_job(location, RUNNER, attempt)),)


def test_a_changed_spec_is_tried_at_once() -> None:
    decision = decided(a_location(status=FAILED, bucketName="other"))
    assert [type(write) for write in decision.before] == [Create]


def test_an_initialised_repository_is_left_alone() -> None:
    job = a_job(FIRST)
    run = Run(completed(job), (a_pod(job, told_by(a_result(Operation.INIT))),))
    done = status_of(decided(a_location(), run))
    decision = decided(a_location(status=done))
    assert (decision.before, decision.events) == ((), ())
    assert conditions_of(decision)["Ready"][:2] == ("True", "Ready")


def test_a_secret_that_vanishes_does_not_undo_the_initialisation() -> None:
    job = a_job(FIRST)
    run = Run(completed(job), (a_pod(job, told_by(a_result(Operation.INIT))),))
    done = status_of(decided(a_location(), run))
    decision = decided(a_location(status=done), secrets=(SecretState("minio-creds", CREDENTIAL_KEYS),))
    assert conditions_of(decision)["Initialized"][:2] == ("True", "Ready")
    assert conditions_of(decision)["Ready"][:2] == ("False", "SecretNotFound")


def test_a_pod_without_a_node_is_told_while_it_waits_and_after_the_deadline() -> None:
    job = a_job(FIRST)
    pods = (a_pod(job, unschedulable("0/1 nodes are available")),)
    stuck = decided(a_location(), Run(job, pods))
    sentence = f"Pod {FIRST}-abcde cannot be scheduled: 0/1 nodes are available"
    assert conditions_of(stuck)["Ready"] == ("False", "JobNotSchedulable", sentence)
    ended = decided(a_location(status=status_of(stuck)), Run(failed(job, "DeadlineExceeded")))
    assert conditions_of(ended)["Ready"] == (
        "False",
        "JobNotSchedulable",
        f"Job {FIRST} was ended because it took longer than its 3600 s: {sentence}",
    )


def test_waits_grow_and_are_bounded() -> None:
    assert [BACKOFF.after(failures, 0.0) for failures in (1, 2, 3, 8, 9, 500)] == [
        10,
        20,
        40,
        1280,
        1800,
        1800,
    ]
    assert BACKOFF.after(2, 1.0) == 16
