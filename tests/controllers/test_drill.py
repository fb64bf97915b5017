"""What is decided about a policy's drills."""

from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from typing import Any

from kubedr_server.api.conditions import Reason
from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicy
from kubedr_server.contract import DrillResult, Operation, RunResult
from kubedr_server.controllers.decision import Announcement, Create, Merge
from kubedr_server.controllers.policy import drill
from kubedr_server.controllers.policy.decide import decide
from kubedr_server.controllers.policy.drill import DrillDecision, DrillState
from kubedr_server.controllers.policy.state import PolicyState
from kubedr_server.controllers.run import Run
from kubedr_server.kube.resources import JOBS, METADATA_BACKUP_RECORDS
from kubedr_server.manifests.jobs import drill_job
from support.kubedr_objects import (
    NAMESPACE,
    NOW,
    RUNNER,
    SNAPSHOT,
    a_job,
    a_location,
    a_pod,
    a_policy,
    a_record,
    a_result,
    completed,
    failed,
    stamp,
    told_by,
)

LOCATION = a_location()
RECORD = a_record()
DAILY = {"drillSchedule": "@daily"}
MIDNIGHT = NOW + timedelta(hours=12)
JOB = a_job(
    "a-drill",
    labels={
        "kubedr.catalogicsoftware.com/operation": "drill",
        "kubedr.catalogicsoftware.com/record": RECORD.metadata.name,
    },
)


def policy(spec: dict[str, Any] | None = None, **status: Any) -> MetadataBackupPolicy:
    return a_policy(status={"observedGeneration": 1, **status}, **(DAILY if spec is None else spec))


def decided(of: MetadataBackupPolicy, state: DrillState | None = None) -> DrillDecision:
    return drill.decide(of, LOCATION, state or DrillState(record=RECORD), RUNNER, NOW)


def drilled(reason: Reason = Reason.SUCCEEDED) -> RunResult:
    result = a_result(
        Operation.DRILL, reason=reason, message="brought back" if reason == "Succeeded" else "no"
    )
    if reason is not Reason.SUCCEEDED:
        return result
    return result.model_copy(
        update={
            "drill": DrillResult(
                snapshot_id=SNAPSHOT, revision=1234, total_keys=500, hash="cafe", recovery_duration_secs=7.25
            )
        }
    )


def ended(reason: Reason = Reason.SUCCEEDED) -> Run:
    job = completed(JOB) if reason is Reason.SUCCEEDED else failed(JOB)
    return Run(job, (a_pod(JOB, told_by(drilled(reason))),))


def test_without_a_schedule_there_is_no_drill() -> None:
    assert decided(policy({})) == DrillDecision(fields={"next_drill_time": None})
    suspended = decided(policy({**DAILY, "suspend": True}, nextDrillTime=stamp(NOW)))
    assert suspended == DrillDecision(fields={"next_drill_time": None})


def test_a_drill_is_not_held_before_it_is_due() -> None:
    expected = DrillDecision(fields={"next_drill_time": MIDNIGHT}, wake_at=MIDNIGHT)
    assert decided(policy()) == expected
    assert decided(policy(nextDrillTime=stamp(MIDNIGHT))) == expected


def test_another_schedule_is_worked_out_anew() -> None:
    stale = policy(nextDrillTime=stamp(NOW + timedelta(days=300)), observedGeneration=0)
    assert decided(stale).fields == {"next_drill_time": MIDNIGHT}


def test_a_clock_that_was_a_year_ahead_puts_no_drill_off() -> None:
    assert decided(policy(nextDrillTime=stamp(NOW + timedelta(days=365)))).fields == {
        "next_drill_time": MIDNIGHT
    }


def test_when_it_is_due_the_newest_backup_is_brought_back_by_its_id() -> None:
    due = policy(nextDrillTime=stamp(NOW - timedelta(minutes=3)))
    decision = decided(due)
    attempt = str(int((NOW - timedelta(minutes=3)).timestamp()) // 60)
    job = drill_job(due, LOCATION, RECORD, RUNNER, attempt)
    assert decision.before == (Create(JOBS, job),)
    assert decision.fields == {"next_drill_time": MIDNIGHT}
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert {"name": "KUBEDR_SNAPSHOT_ID", "value": SNAPSHOT} in container["env"]
    assert container["command"] == ["kubedr", "runner", "drill"]


def test_a_due_drill_waits_for_a_backup_a_location_and_the_one_before() -> None:
    due = policy(nextDrillTime=stamp(NOW))
    waiting = DrillDecision(fields={"next_drill_time": NOW})
    assert decided(due, DrillState()) == waiting
    assert drill.decide(due, None, DrillState(record=RECORD), RUNNER, NOW) == waiting
    assert decided(due, DrillState((Run(JOB),), RECORD)) == waiting
    going = a_record(deletionTimestamp=stamp(NOW))
    assert decided(due, DrillState(record=going)) == waiting


def test_a_good_drill_is_told_on_the_policy_and_on_the_record() -> None:
    decision = decided(policy(), DrillState((ended(),), RECORD))
    assert decision.fields == {
        "drill_status": "Completed",
        "drill_time": NOW,
        "drill_mbr_name": RECORD.metadata.name,
        "drill_error_message": None,
        "recovery_duration_secs": "7.250",
    }
    assert decision.condition == ("True", "Succeeded", "brought back")
    assert decision.events == (Announcement("Normal", "DrillSucceeded", "brought back"),)
    (write,) = decision.before
    assert isinstance(write, Merge)
    assert (write.resource, write.name, write.subresource) == (
        METADATA_BACKUP_RECORDS,
        RECORD.metadata.name,
        "status",
    )
    status = write.body["status"]
    assert (status["drillTime"], status["recoveryDurationSecs"]) == ("2026-03-01T12:00:00Z", "7.250")
    assert [(known["type"], known["status"]) for known in status["conditions"]] == [
        ("Verified", "True"),
        ("RestoreVerified", "True"),
    ]
    assert write.body["metadata"] == {"resourceVersion": "1"}
    assert decision.after == (
        Merge(
            JOBS,
            NAMESPACE,
            "a-drill",
            {
                "metadata": {
                    "uid": "uid-of-a-drill",
                    "annotations": {"kubedr.catalogicsoftware.com/told": "Completed"},
                }
            },
        ),
    )


def test_a_failed_drill_keeps_the_last_good_time_to_recover() -> None:
    before = policy(recoveryDurationSecs="5.000", drillStatus="Completed")
    decision = decided(before, DrillState((ended(Reason.DRILL_FAILED),), RECORD))
    assert decision.fields == {
        "drill_status": "Failed",
        "drill_time": NOW,
        "drill_mbr_name": RECORD.metadata.name,
        "drill_error_message": "no",
    }
    assert decision.condition == ("False", "DrillFailed", "no")
    assert decision.events == (Announcement("Warning", "DrillFailed", "no"),)


def test_a_drill_whose_record_is_gone_is_told_on_the_policy_alone() -> None:
    decision = decided(policy(), DrillState((ended(),)))
    assert (decision.before, decision.fields["drill_status"]) == ((), "Completed")


def test_what_was_told_before_a_crash_is_not_told_again() -> None:
    told = policy(
        drillStatus="Completed", drillTime="2026-03-01T12:00:00Z", drillMbrName=RECORD.metadata.name
    )
    decision = decided(told, DrillState((ended(),), RECORD))
    assert (decision.before, decision.fields, decision.events) == ((), {}, ())
    assert len(decision.after) == 1


def test_the_policy_has_the_condition_only_where_there_are_drills() -> None:
    def types(of: MetadataBackupPolicy, state: DrillState) -> dict[str, str]:
        decision = decide(PolicyState(of, LOCATION, None, drills=state), RUNNER, NOW)
        return {known.type: known.status for known in decision.status.conditions}

    assert "RestoreVerified" not in types(policy({}), DrillState())
    assert types(policy(), DrillState())["RestoreVerified"] == "Unknown"
    assert types(policy(), DrillState((ended(),), RECORD))["RestoreVerified"] == "True"


def test_a_drill_needs_no_privilege_and_none_of_the_node() -> None:
    job = drill_job(policy(), LOCATION, RECORD, RUNNER, "1")
    pod = deepcopy(job["spec"]["template"]["spec"])
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert "hostNetwork" not in pod
    assert not [volume for volume in pod["volumes"] if "hostPath" in volume]
    assert job["metadata"]["ownerReferences"][0]["kind"] == "MetadataBackupPolicy"
    other = replace(RUNNER, image="other")
    assert drill_job(policy(), LOCATION, RECORD, other, "2")["metadata"]["name"] != job["metadata"]["name"]
