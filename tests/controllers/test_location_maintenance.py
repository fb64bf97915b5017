"""What is decided about the repository of a location that is initialised."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from kubedr_server.api.backup_location import CREDENTIAL_KEYS, BackupLocation, BackupLocationStatus
from kubedr_server.api.conditions import Reason
from kubedr_server.contract import CheckResult, HealthResult, Operation, PruneResult, RunResult
from kubedr_server.controllers.backoff import Backoff
from kubedr_server.controllers.decision import Create, Decision, Delete
from kubedr_server.controllers.location.decide import decide
from kubedr_server.controllers.location.state import Comparison, LocationState, attempt_key
from kubedr_server.controllers.run import Run
from kubedr_server.controllers.secrets import SecretState
from kubedr_server.kube.resources import JOBS
from kubedr_server.manifests.jobs import check_job, health_job, init_job, init_job_name, prune_job
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

SECRETS = (SecretState("minio-creds", CREDENTIAL_KEYS, "7", frozenset(CREDENTIAL_KEYS)),)
BACKOFF = Backoff(first_seconds=10, longest_seconds=1800)
LATER = stamp(NOW + timedelta(hours=1))
HEALTHY = a_condition("Healthy", "True", "Succeeded", "well", at=NOW - timedelta(days=1))
DUE = "20260301115900"


def the_location(*conditions: Any, status: dict[str, Any] | None = None, **spec: Any) -> BackupLocation:
    """Return a location that is initialised, and of which nothing is due."""
    location = a_location(**spec)
    known = {
        "observedGeneration": 1,
        "initStatus": "Completed",
        "initTime": stamp(NOW - timedelta(days=30)),
        "attemptKey": attempt_key(location, SECRETS),
        "repositoryId": "repo-1",
        "lastHealthTime": stamp(NOW - timedelta(minutes=30)),
        "nextHealthTime": LATER,
        "nextCheckTime": LATER,
        "nextPruneTime": LATER,
        "conditions": list(conditions) or [HEALTHY],
        **(status or {}),
    }
    return location.model_copy(update={"status": BackupLocationStatus.model_validate(known)})


def due(*fields: str) -> dict[str, str]:
    return dict.fromkeys(fields, stamp(NOW - timedelta(minutes=1)))


def decided(location: BackupLocation, *runs: Run, **state: Any) -> Decision:
    return decide(LocationState(location, SECRETS, (), maintenance=runs, **state), RUNNER, BACKOFF, NOW)


def status_of(decision: Decision) -> dict[str, Any]:
    assert decision.status is not None
    return decision.status.to_wire()


def conditions_of(decision: Decision) -> dict[str, tuple[str, str]]:
    return {known["type"]: (known["status"], known["reason"]) for known in status_of(decision)["conditions"]}


def message_of(decision: Decision, type_: str) -> str:
    known = {each["type"]: each["message"] for each in status_of(decision)["conditions"]}
    return str(known[type_])


def after(decision: Decision, location: BackupLocation) -> BackupLocation:
    """Return the location with the status that was decided."""
    return location.model_copy(update={"status": decision.status})


def ended(job: dict[str, Any], result: RunResult | None = None) -> Run:
    """Return a Job as it ended with a result, or without any."""
    job = {**job, "metadata": {**a_job()["metadata"], **job["metadata"], "uid": "the-run"}}
    if result is None:
        return Run(failed(job), ())
    return Run(completed(job) if result.succeeded else failed(job), (a_pod(job, told_by(result)),))


def looked(**health: int) -> RunResult:
    found = {"snapshots": 12, "repository_size": 4096, "locks": 0, **health}
    return a_result(Operation.HEALTH).model_copy(update={"health": HealthResult(**found)})


def unreachable(operation: Operation) -> RunResult:
    return a_result(operation, reason=Reason.STORAGE_UNREACHABLE, message="the storage does not answer")


HEALTH_JOB = health_job(a_location(), RUNNER, DUE, unlock=True)


def test_nothing_is_done_before_it_is_due() -> None:
    decision = decided(the_location())
    assert (decision.before, decision.events, decision.after) == ((), (), ())
    assert decision.wake_after is not None
    assert 0 < decision.wake_after <= 3600
    assert {"nextHealthTime", "nextCheckTime", "nextPruneTime"} <= status_of(decision).keys()


def test_a_look_may_remove_locks_only_while_no_job_of_ours_works_there() -> None:
    location = the_location(status=due("nextHealthTime"))
    alone = decided(location)
    assert alone.before == (Create(JOBS, health_job(location, RUNNER, DUE, unlock=True)),)
    beside = decided(location, busy=("kubedr-system/nightly-1",))
    assert beside.before == (Create(JOBS, health_job(location, RUNNER, DUE, unlock=False)),)


def test_one_goes_at_a_time_and_the_look_goes_first() -> None:
    location = the_location(status=due("nextHealthTime", "nextCheckTime", "nextPruneTime"))
    decision = decided(location)
    assert [write.object["metadata"]["name"].split("-")[0] for write in creations(decision)] == ["health"]
    running = Run({**HEALTH_JOB, "metadata": {**HEALTH_JOB["metadata"], "uid": "x"}})
    assert decided(location, running).before == ()


def creations(decision: Decision) -> list[Create]:
    return [write for write in decision.before if isinstance(write, Create)]


def test_nothing_is_checked_that_is_not_known_to_be_reachable() -> None:
    unwell = a_condition("Healthy", "False", "StorageUnreachable", "no answer")
    location = the_location(unwell, status=due("nextCheckTime", "nextPruneTime"))
    assert decided(location).before == ()


@pytest.mark.fault
def test_a_pruning_waits_for_others_but_not_for_ever() -> None:
    location = the_location(status=due("nextPruneTime"))
    waits = decided(location, busy=("kubedr-system/nightly-1",))
    assert (waits.before, waits.wake_after) == ((), 60.0)
    goes = decided(
        the_location(status={"nextPruneTime": stamp(NOW - timedelta(hours=1))}), busy=("kubedr-system/x",)
    )
    assert len(creations(goes)) == 1
    assert decided(location).before == (Create(JOBS, prune_job(location, RUNNER, DUE)),)


@pytest.mark.fault
def test_nothing_is_pruned_while_damage_is_known() -> None:
    damaged = a_condition("Checked", "False", "RepositoryDamaged", "a pack is missing")
    assert decided(the_location(HEALTHY, damaged, status=due("nextPruneTime"))).before == ()


def test_while_suspended_nothing_is_made_and_no_time_is_shown() -> None:
    unwell = a_condition("Healthy", "False", "StorageUnreachable", "no answer")
    location = the_location(unwell, status=due("nextHealthTime"), suspendMaintenance=True)
    decision = decided(location)
    assert (decision.before, decision.wake_after) == ((), None)
    assert "nextHealthTime" not in status_of(decision)
    # A look that nobody repeats must not keep the location unready for ever.
    assert conditions_of(decision)["Healthy"] == ("Unknown", "Suspended")
    assert conditions_of(decision)["Ready"] == ("True", "Ready")


def test_without_its_secret_nothing_is_made() -> None:
    state = LocationState(the_location(status=due("nextHealthTime")), (replace(SECRETS[0], version=""),), ())
    assert decide(state, RUNNER, BACKOFF, NOW).before == ()


def test_a_good_look_is_told_and_its_job_taken_away() -> None:
    run = ended(HEALTH_JOB, looked(locks=1, locks_removed=2))
    remark = "No whole backups, and so without records: 0badc0de (no proof)"
    decision = decided(the_location(), run, comparison=Comparison("the-run", compared=True, remark=remark))
    status = status_of(decision)
    figures = {"snapshots": 12, "repositorySize": 4096, "locks": 1, "catalogueRun": "the-run"}
    assert {key: status[key] for key in figures} == figures
    assert status["lastHealthTime"] == stamp(NOW)
    assert stamp(NOW) < status["nextHealthTime"] <= stamp(NOW + timedelta(minutes=66))
    assert message_of(decision, "Healthy") == f"all is well. {remark}"
    assert decision.after == (Delete(JOBS, NAMESPACE, run.name, "the-run"),)
    assert [(event.reason, event.message) for event in decision.events] == [
        ("LocksRemoved", "removed 2 locks of runs that no longer exist")
    ]


@pytest.mark.fault
def test_a_look_that_is_seen_again_is_not_told_again() -> None:
    run = ended(HEALTH_JOB, looked(locks_removed=2))
    told = after(decided(the_location(), run), the_location())
    again = decided(told, run)
    assert (again.events, again.status) == ((), told.status)
    assert again.after == (Delete(JOBS, NAMESPACE, run.name, "the-run"),)


def test_a_list_that_could_not_be_read_does_not_count_as_compared() -> None:
    run = ended(HEALTH_JOB, looked())
    torn = Comparison("the-run", compared=False, remark="torn")
    decision = decided(the_location(healthSchedule="@daily"), run, comparison=torn)
    assert "catalogueRun" not in status_of(decision)
    assert message_of(decision, "Healthy") == "all is well. torn"
    assert status_of(decision)["nextHealthTime"] == stamp(NOW + timedelta(minutes=30))


def test_a_failed_look_is_told_once_and_repeated_ever_more_rarely() -> None:
    location = the_location()
    first = decided(location, ended(HEALTH_JOB, unreachable(Operation.HEALTH)))
    assert conditions_of(first)["Healthy"] == ("False", "StorageUnreachable")
    assert conditions_of(first)["Ready"] == ("False", "StorageUnreachable")
    assert conditions_of(first)["Initialized"][0] == "True"
    assert [event.reason for event in first.events] == ["HealthFailed"]
    assert status_of(first)["nextHealthTime"] == stamp(NOW + timedelta(seconds=10))
    assert status_of(first)["lastHealthTime"] == stamp(NOW - timedelta(minutes=30))
    failing = the_location(
        a_condition("Healthy", "False", "StorageUnreachable", "no answer", at=NOW - timedelta(minutes=2))
    )
    again = decided(failing, ended(HEALTH_JOB, unreachable(Operation.HEALTH)))
    assert again.events == ()
    assert status_of(again)["nextHealthTime"] == stamp(NOW + timedelta(minutes=2))


def test_a_storage_that_answers_again_is_told() -> None:
    failing = the_location(a_condition("Healthy", "False", "StorageUnreachable", "no answer"))
    decision = decided(failing, ended(HEALTH_JOB, looked()))
    assert conditions_of(decision)["Ready"] == ("True", "Ready")
    assert [event.reason for event in decision.events] == ["HealthSucceeded"]


@pytest.mark.fault
def test_what_was_begun_before_the_last_initialisation_is_not_told() -> None:
    # The bucket, or the Secret, was another one.
    location = the_location()
    before = the_location(status={"attemptKey": "with-another-bucket"})
    result = unreachable(Operation.HEALTH).model_copy(update={"repository_id": "repo-2"})
    run = ended(health_job(before, RUNNER, DUE, unlock=True), result)
    decision = decided(location, run)
    assert decision.after == (Delete(JOBS, NAMESPACE, run.name, "the-run"),)
    assert decision.events == ()
    assert conditions_of(decision)["Ready"] == ("True", "Ready")
    assert status_of(decision)["repositoryId"] == "repo-1"


@pytest.mark.fault
def test_a_look_is_told_though_the_clock_was_set_back_since_the_initialisation() -> None:
    location = the_location(status={"initTime": stamp(NOW + timedelta(days=1))})
    run = ended(health_job(location, RUNNER, DUE, unlock=True), looked())
    assert status_of(decided(location, run))["lastHealthTime"] == stamp(NOW)


def test_a_look_whose_pod_left_nothing_says_so() -> None:
    decision = decided(the_location(), ended(HEALTH_JOB))
    assert conditions_of(decision)["Healthy"] == ("False", "NoResult")


def test_another_repository_in_its_place_is_told() -> None:
    result = looked().model_copy(update={"repository_id": "repo-2"})
    decision = decided(the_location(status={"checkPart": 3}), ended(HEALTH_JOB, result))
    assert "It is another repository (repo-2)" in message_of(decision, "Healthy")
    assert status_of(decision)["repositoryId"] == "repo-2"
    assert "checkPart" not in status_of(decision)


def checked(part: int, parts: int = 7) -> Run:
    job = check_job(a_location(), RUNNER, DUE, part, parts)
    result = a_result(Operation.CHECK).model_copy(update={"check": CheckResult(part=part, parts=parts)})
    return ended(job, result)


def test_checks_rotate_through_all_data() -> None:
    location = the_location(status={"checkPart": 2, "checkParts": 7, **due("nextCheckTime")})
    assert decided(location).before == (Create(JOBS, check_job(location, RUNNER, DUE, 3, 7)),)
    third = decided(location, checked(3))
    assert (status_of(third)["checkPart"], "lastFullCheckTime" in status_of(third)) == (3, False)
    last = the_location(status={"checkPart": 6, "checkParts": 7})
    decision = decided(last, checked(7))
    assert status_of(decision)["lastFullCheckTime"] == stamp(NOW)
    again = the_location(status={"checkPart": 7, "checkParts": 7, **due("nextCheckTime")})
    assert decided(again).before == (Create(JOBS, check_job(again, RUNNER, DUE, 1, 7)),)


def test_another_number_of_parts_begins_the_rotation_anew() -> None:
    location = the_location(status={"checkPart": 6, "checkParts": 7, **due("nextCheckTime")}, checkParts=10)
    assert decided(location).before == (Create(JOBS, check_job(location, RUNNER, DUE, 1, 10)),)
    # One that had begun before is no part of it.
    decision = decided(location, checked(7, 7))
    assert "lastFullCheckTime" not in status_of(decision)
    assert status_of(decision)["checkPart"] == 6
    assert status_of(decided(location, checked(1, 10)))["checkParts"] == 10


@pytest.mark.fault
def test_after_another_division_damage_is_over_when_all_parts_were_found_whole() -> None:
    damage = {
        **a_condition("Checked", "False", "RepositoryDamaged", "a pack is damaged"),
        "observedGeneration": 0,
    }
    begun = the_location(HEALTHY, damage, status={"checkPart": 3, "checkParts": 7}, checkParts=2)
    first = decided(begun, checked(1, 2))
    assert conditions_of(first)["Checked"] == ("False", "RepositoryDamaged")
    half = the_location(HEALTHY, damage, status={"checkPart": 1, "checkParts": 2}, checkParts=2)
    second = decided(half, checked(2, 2))
    assert conditions_of(second)["Checked"] == ("True", "Succeeded")


@pytest.mark.fault
def test_damage_is_told_and_stays_until_the_same_part_is_found_whole() -> None:
    location = the_location(status={"checkPart": 2, "checkParts": 7})
    job = check_job(location, RUNNER, DUE, 3, 7)
    result = a_result(Operation.CHECK, reason=Reason.REPOSITORY_DAMAGED, message="pack 5a is missing.")
    decision = decided(location, ended(job, result))
    assert conditions_of(decision)["Checked"] == ("False", "RepositoryDamaged")
    assert message_of(decision, "Checked") == (
        "pack 5a is missing. Backups go on, and nothing is pruned until a check finds the repository whole: "
        "see `restic repair`, or use another location"
    )
    assert [event.reason for event in decision.events] == ["CheckFailed"]
    # Backups go on.
    assert conditions_of(decision)["Ready"] == ("True", "Ready")
    assert (status_of(decision)["checkPart"], status_of(decision)["lastCheckTime"]) == (2, stamp(NOW))
    # It is looked at as often as before: the same part again.
    assert status_of(decision)["nextCheckTime"] > stamp(NOW + timedelta(hours=11))
    told = after(decision, location)
    a_day_ago = told.status.model_copy(update={"last_check_time": NOW - timedelta(days=1)})
    damaged = told.model_copy(update={"status": a_day_ago})
    unable = decided(damaged, ended(job, unreachable(Operation.CHECK)))
    assert conditions_of(unable)["Checked"] == ("False", "RepositoryDamaged")
    assert unable.events == ()
    whole = decided(damaged, checked(3))
    assert conditions_of(whole)["Checked"] == ("True", "Succeeded")
    assert [event.reason for event in whole.events] == ["CheckSucceeded"]
    assert status_of(whole)["checkPart"] == 3


def test_not_having_been_able_to_check_is_not_damage() -> None:
    job = check_job(a_location(), RUNNER, DUE, 1, 7)
    decision = decided(the_location(), ended(job, unreachable(Operation.CHECK)))
    assert conditions_of(decision)["Checked"] == ("Unknown", "StorageUnreachable")
    assert [event.reason for event in decision.events] == ["CheckFailed"]
    assert "lastCheckTime" not in status_of(decision)
    assert status_of(decision)["nextCheckTime"] == stamp(NOW + timedelta(seconds=10))


def test_a_pruning_is_told() -> None:
    job = prune_job(a_location(), RUNNER, DUE)
    result = a_result(Operation.PRUNE).model_copy(
        update={"prune": PruneResult(bytes_freed=100, repository_size=900)}
    )
    decision = decided(the_location(), ended(job, result))
    status = status_of(decision)
    assert (status["lastPruneTime"], status["repositorySize"]) == (stamp(NOW), 900)
    locked = a_result(Operation.PRUNE, reason=Reason.REPOSITORY_LOCKED, message="it is locked")
    failure = decided(the_location(), ended(job, locked))
    assert conditions_of(failure)["Pruned"] == ("False", "RepositoryLocked")
    assert [event.reason for event in failure.events] == ["PruneFailed"]
    assert conditions_of(failure)["Ready"][0] == "True"
    location = after(failure, the_location())
    assert decided(location, ended(job, locked)).events == ()


def test_a_pod_without_a_node_is_told_while_it_waits_and_after_the_deadline() -> None:
    job = {**HEALTH_JOB, "metadata": {**a_job()["metadata"], **HEALTH_JOB["metadata"], "uid": "x"}}
    stuck = decided(the_location(), Run(job, (a_pod(job, unschedulable("0/1 nodes are available")),)))
    assert conditions_of(stuck)["Healthy"] == ("Unknown", "JobNotSchedulable")
    assert conditions_of(stuck)["Ready"][0] == "True"
    over = decided(after(stuck, the_location()), Run(failed(job, "DeadlineExceeded")))
    assert conditions_of(over)["Healthy"] == ("False", "JobNotSchedulable")
    assert "0/1 nodes are available" in message_of(over, "Ready")


@pytest.mark.parametrize(("created", "looks"), [(False, True), (True, False), (None, False)])
def test_only_a_repository_that_was_found_is_looked_at_at_once(created: bool | None, looks: bool) -> None:
    location = a_location()
    attempt = f"{attempt_key(location, SECRETS)}-0"
    job = {**init_job(location, RUNNER, attempt)}
    job["metadata"] = {**a_job(init_job_name(location, attempt))["metadata"], **job["metadata"]}
    result = a_result(Operation.INIT).model_copy(update={"created": created})
    run = Run(completed(job), (a_pod(job, told_by(result)),))
    told = decide(LocationState(location, SECRETS, (run,)), RUNNER, BACKOFF, NOW)
    assert conditions_of(told)["Ready"] == ("True", "Ready")
    following = decided(after(told, location))
    assert bool(creations(following)) is looks
