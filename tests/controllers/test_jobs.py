"""Each way for a Job to end has its own reason, and a sentence that names the pod."""

from typing import Any

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import Operation
from kubedr_server.controllers import jobs
from kubedr_server.controllers.jobs import Report, Trouble
from support.kubedr_objects import (
    NOW,
    a_job,
    a_pod,
    a_result,
    completed,
    ended_with,
    failed,
    told_by,
    unschedulable,
    waiting,
)

JOB = a_job()
POD = "nightly-1-abcde"
LOOK = f"see `kubectl -n kubedr-system logs {POD}`"


def test_a_result_is_told_in_the_runners_own_words() -> None:
    result = a_result()
    report = jobs.report(completed(JOB), [a_pod(JOB, told_by(result))], Operation.BACKUP)
    assert report == Report(
        "nightly-1", "uid-of-nightly-1", POD, NOW, Reason.SUCCEEDED, "all is well", result
    )
    assert report.succeeded


def test_a_failure_is_told_in_the_runners_own_words() -> None:
    result = a_result(reason=Reason.ETCD_UNREACHABLE, message="etcd does not answer")
    report = jobs.report(failed(JOB), [a_pod(JOB, told_by(result))], Operation.BACKUP)
    assert (report.succeeded, report.reason, report.message) == (
        False,
        Reason.ETCD_UNREACHABLE,
        "etcd does not answer",
    )


@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        (
            {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."},
            Reason.EVICTED,
            f"Pod {POD} was evicted from master-1: The node was low on memory.",
        ),
        (
            {
                "phase": "Failed",
                "conditions": [
                    {"type": "DisruptionTarget", "status": "True", "message": "preempted by a pod"}
                ],
            },
            Reason.EVICTED,
            f"Pod {POD} was removed from master-1: preempted by a pod",
        ),
        (
            ended_with("", 137, "OOMKilled"),
            Reason.OUT_OF_MEMORY,
            f"Pod {POD} was killed: it used more memory than its limit. Raise resources.limits.memory",
        ),
        (
            ended_with("", 137, "Error"),
            Reason.NO_RESULT,
            f"Pod {POD} on master-1 ended with exit code 137 and left no result; {LOOK}",
        ),
        (
            ended_with("Traceback", 1, "Error"),
            Reason.NO_RESULT,
            f"Pod {POD} on master-1 ended with exit code 1 and left an unreadable result; {LOOK}",
        ),
        (
            {"phase": "Failed", "reason": "NodeLost", "message": "the node is lost"},
            Reason.NO_RESULT,
            f"Pod {POD} on master-1 left no result: the node is lost",
        ),
    ],
)
def test_without_a_result_it_is_told_what_befell_the_pod(
    status: dict[str, Any], reason: Reason, message: str
) -> None:
    report = jobs.report(failed(JOB), [a_pod(JOB, status)], Operation.BACKUP)
    assert (report.reason, report.message, report.pod) == (reason, message, POD)


def test_a_job_whose_pod_is_gone_says_so() -> None:
    report = jobs.report(failed(JOB), [], Operation.BACKUP)
    assert (report.reason, report.message, report.pod) == (
        Reason.NO_RESULT,
        "Job nightly-1 ended and its pod is gone, so that its result is not known: gave up",
        None,
    )


def test_a_deadline_is_told_with_the_trouble_that_led_to_it() -> None:
    job = failed(JOB, "DeadlineExceeded", "Job was active longer than specified deadline")
    stuck = Trouble(Reason.JOB_NOT_SCHEDULABLE, f"Pod {POD} cannot be scheduled: 0/3 nodes")
    assert jobs.report(job, [], Operation.BACKUP).reason is Reason.DEADLINE_EXCEEDED
    report = jobs.report(job, [], Operation.BACKUP, stuck)
    assert (report.reason, report.message) == (
        Reason.JOB_NOT_SCHEDULABLE,
        f"Job nightly-1 was ended because it took longer than its 3600 s: {stuck.message}",
    )


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ({"phase": "Running"}, None),
        (waiting("ContainerCreating"), None),
        (
            unschedulable("0/3 nodes are available"),
            Trouble(Reason.JOB_NOT_SCHEDULABLE, f"Pod {POD} cannot be scheduled: 0/3 nodes are available"),
        ),
        (
            waiting("ImagePullBackOff", "no such image"),
            Trouble(Reason.IMAGE_PULL_FAILED, f"The image of pod {POD} cannot be pulled: no such image"),
        ),
        (
            waiting("CreateContainerConfigError", "no such user"),
            Trouble(Reason.POD_NOT_STARTED, f"The container of pod {POD} cannot be started: no such user"),
        ),
    ],
)
def test_a_job_that_hangs_says_why(status: dict[str, Any], wanted: Trouble | None) -> None:
    assert jobs.trouble([a_pod(JOB, status)]) == wanted


def test_success_without_proof_is_no_success() -> None:
    result = a_result().model_copy(update={"backup": None})
    report = jobs.report(completed(JOB), [a_pod(JOB, told_by(result))], Operation.BACKUP)
    assert (report.succeeded, report.reason) == (False, Reason.NO_RESULT)


def test_a_result_of_another_operation_does_not_count() -> None:
    result = a_result(Operation.INIT)
    report = jobs.report(completed(JOB), [a_pod(JOB, told_by(result))], Operation.BACKUP)
    assert (report.succeeded, report.reason) == (False, Reason.NO_RESULT)


def test_a_result_that_was_written_counts_although_the_job_failed() -> None:
    report = jobs.report(failed(JOB), [a_pod(JOB, told_by(a_result()))], Operation.BACKUP)
    assert report.succeeded


def test_of_several_pods_the_one_that_succeeded_counts() -> None:
    bad = told_by(a_result(reason=Reason.ETCD_UNREACHABLE))
    pods = [a_pod(JOB, told_by(a_result()), "first"), a_pod(JOB, bad, "second")]
    assert jobs.report(completed(JOB), pods, Operation.BACKUP).pod == "nightly-1-first"


def test_pods_of_a_job_of_the_same_name_are_not_its_own() -> None:
    other = {**JOB, "metadata": {**JOB["metadata"], "uid": "uid-of-an-older-one"}}
    assert jobs.pods_of(JOB, [a_pod(other), a_pod(JOB)]) == [a_pod(JOB)]
