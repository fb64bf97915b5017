"""What becomes of a Job, by its pods and the time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubedr_server.local.executor import job_pods, job_status
from kubedr_server.local.executor.job_pods import TRACKING_FINALIZER
from kubedr_server.local.executor.objects import stamp

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def a_job(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "work", "namespace": "ns", "uid": "job-uid"},
        "spec": {"completions": 1, "parallelism": 1, "backoffLimit": 6, "template": {"spec": {}}, **spec},
        "status": status or {},
    }


def a_pod(
    name: str,
    phase: str = "Running",
    *,
    tracked: bool = True,
    deleted: bool = False,
    exit_code: int = 0,
    ended: datetime = NOW,
) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name, "namespace": "ns", "uid": f"uid-{name}"}
    if tracked:
        meta["finalizers"] = [TRACKING_FINALIZER]
    if deleted:
        meta["deletionTimestamp"] = stamp(NOW)
    state = {"terminated": {"exitCode": exit_code, "finishedAt": stamp(ended)}}
    statuses = [{"name": "main", "state": state}] if phase in {"Succeeded", "Failed"} else []
    return {"metadata": meta, "status": {"phase": phase, "containerStatuses": statuses}}


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {c["type"]: c["reason"] for c in status.get("conditions", []) if c["status"] == "True"}


def settled(job: dict[str, Any], pods: list[dict[str, Any]]) -> dict[str, Any]:
    """Do what the controller does with what `settle` says, until nothing is left."""
    while True:
        status, released = job_status.settle(job, pods)
        job = {**job, "status": status}
        if not released:
            return job
        for pod in released:
            pod["metadata"]["finalizers"] = []


def test_a_new_job_starts_and_gets_its_pod() -> None:
    decision = job_status.decide(a_job(), [], NOW)
    assert decision.create == 1
    assert decision.status == {"startTime": stamp(NOW), "terminating": 0, "ready": 0}


def test_a_job_whose_pod_runs_is_left_alone() -> None:
    decision = job_status.decide(a_job(), [a_pod("a")], NOW)
    assert (decision.create, decision.delete) == (0, [])
    assert decision.status["active"] == 1


def test_an_outcome_is_noted_then_let_go_then_counted() -> None:
    job, pod = a_job(), a_pod("a", "Succeeded")
    status, released = job_status.settle(job, [pod])
    assert status["uncountedTerminatedPods"] == {"succeeded": ["uid-a"]}
    assert status.get("succeeded", 0) == 0
    assert released == [pod]
    # A crash here, and again: it is still noted once and not counted.
    job["status"] = status
    assert job_status.settle(job, [pod]) == (status, [pod])
    pod["metadata"]["finalizers"] = []
    status, released = job_status.settle(job, [pod])
    assert (status["succeeded"], status["uncountedTerminatedPods"], released) == (1, {}, [])
    job["status"] = status
    assert job_status.settle(job, [pod]) == (status, [])


def test_a_pod_that_vanished_after_it_was_noted_is_counted() -> None:
    job = a_job({"uncountedTerminatedPods": {"failed": ["uid-a"]}})
    status, _ = job_status.settle(job, [])
    assert (status["failed"], status["uncountedTerminatedPods"]) == (1, {})


def test_a_success_completes_the_job_with_both_conditions() -> None:
    pods = [a_pod("a", "Succeeded")]
    decision = job_status.decide(settled(a_job({"startTime": stamp(NOW)}), pods), pods, NOW + SECOND)
    assert conditions(decision.status) == {
        "SuccessCriteriaMet": "CompletionsReached",
        "Complete": "CompletionsReached",
    }
    assert decision.status["completionTime"] == stamp(NOW + SECOND)
    assert decision.create == 0


def test_a_failure_is_retried_after_ten_seconds_and_then_after_twenty() -> None:
    pods = [a_pod("a", "Failed", exit_code=1)]
    job = settled(a_job({"startTime": stamp(NOW)}), pods)
    early = job_status.decide(job, pods, NOW + 9 * SECOND)
    assert (early.create, early.again_at) == (0, NOW + 10 * SECOND)
    assert job_status.decide(job, pods, NOW + 10 * SECOND).create == 1
    pods.append(a_pod("b", "Failed", exit_code=1, ended=NOW + 15 * SECOND))
    job = settled(job, pods)
    assert job_status.decide(job, pods, NOW + 34 * SECOND).create == 0
    assert job_status.decide(job, pods, NOW + 35 * SECOND).create == 1


def test_the_backoff_limit_fails_the_job() -> None:
    pods = [a_pod("a", "Failed", exit_code=1)]
    decision = job_status.decide(settled(a_job(backoffLimit=0), pods), pods, NOW)
    assert conditions(decision.status) == {
        "FailureTarget": "BackoffLimitExceeded",
        "Failed": "BackoffLimitExceeded",
    }
    assert "completionTime" not in decision.status


def test_a_failing_job_is_failed_only_when_nothing_of_it_runs() -> None:
    job = a_job({"startTime": stamp(NOW)}, activeDeadlineSeconds=60)
    pods = [a_pod("a")]
    decision = job_status.decide(job, pods, NOW + 60 * SECOND)
    assert conditions(decision.status) == {"FailureTarget": "DeadlineExceeded"}
    assert decision.delete == pods
    job["status"] = decision.status
    pods = [a_pod("a", deleted=True)]
    later = job_status.decide(settled(job, pods), pods, NOW + 61 * SECOND)
    assert conditions(later.status) == {"FailureTarget": "DeadlineExceeded"}
    job["status"] = later.status
    last = job_status.decide(settled(job, []), [], NOW + 62 * SECOND)
    assert conditions(last.status)["Failed"] == "DeadlineExceeded"


def test_the_deadline_is_woken_up_for() -> None:
    decision = job_status.decide(
        a_job({"startTime": stamp(NOW)}, activeDeadlineSeconds=60), [a_pod("a")], NOW
    )
    assert decision.again_at == NOW + 60 * SECOND


def test_a_deleted_pod_counts_as_failed_unless_only_ended_ones_are_replaced() -> None:
    pods = [a_pod("a", deleted=True)]
    assert settled(a_job(), pods)["status"]["failed"] == 1
    waiting = settled(a_job(podReplacementPolicy="Failed"), [a_pod("a", deleted=True)])
    assert "failed" not in waiting["status"]
    assert job_status.decide(waiting, [a_pod("a", deleted=True)], NOW).create == 0


def test_a_suspended_job_loses_its_pod_and_its_start_time() -> None:
    job = a_job({"startTime": stamp(NOW)}, suspend=True)
    decision = job_status.decide(job, [a_pod("a")], NOW)
    assert conditions(decision.status) == {"Suspended": "JobSuspended"}
    assert [pod["metadata"]["name"] for pod in decision.delete] == ["a"]
    assert "startTime" not in decision.status
    resumed = job_status.decide(a_job(decision.status), [], NOW + SECOND)
    assert conditions(resumed.status) == {}
    assert (resumed.create, resumed.status["startTime"]) == (1, stamp(NOW + SECOND))


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3]}}, "PodFailurePolicy"),
        ({"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [3]}}, None),
        ({"action": "Ignore", "onExitCodes": {"operator": "In", "values": [3]}}, None),
    ],
)
def test_a_pod_failure_policy_judges_by_exit_code(rule: dict[str, Any], reason: str | None) -> None:
    pods = [a_pod("a", "Failed", exit_code=3)]
    job = settled(a_job(podFailurePolicy={"rules": [rule]}), pods)
    assert job["status"].get("failed", 0) == (0 if rule["action"] == "Ignore" else 1)
    assert conditions(job_status.decide(job, pods, NOW).status).get("Failed") == reason


def test_several_completions_run_as_many_at_a_time_as_allowed() -> None:
    job = a_job(completions=3, parallelism=2)
    assert job_status.decide(job, [], NOW).create == 2
    pods = [a_pod("a", "Succeeded"), a_pod("b", "Succeeded")]
    assert job_status.decide(settled(job, pods), pods, NOW).create == 1


def test_a_name_is_given_again_only_if_its_pod_was_never_made() -> None:
    job = a_job()
    [first] = job_pods.free_names(job, [], 0, 1)
    assert job_pods.free_names(job, [], 0, 1) == [first], "a lost answer leads to the same name"
    [second] = job_pods.free_names(job, [a_pod(first)], 0, 1)
    assert second != first
    assert job_pods.free_names(job, [], 1, 1) == [second]
    assert first.startswith("work-")


def test_a_pod_is_made_from_the_template() -> None:
    job = a_job(template={"metadata": {"labels": {"app": "x"}}, "spec": {"restartPolicy": "Never"}})
    pod = job_pods.new_pod(job, "work-1")
    assert pod["spec"] == {"restartPolicy": "Never"}
    assert pod["metadata"]["labels"] == {
        "app": "x",
        "batch.kubernetes.io/controller-uid": "job-uid",
        "batch.kubernetes.io/job-name": "work",
        "controller-uid": "job-uid",
        "job-name": "work",
    }
    assert pod["metadata"]["finalizers"] == [TRACKING_FINALIZER]
    assert pod["metadata"]["ownerReferences"][0]["controller"] is True
