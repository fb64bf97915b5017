"""What becomes of a Job, as a pure decision over the Job, its pods and the time.

The order of conditions is that of Kubernetes since 1.31, and the API server insists on it: what
will happen is said first (SuccessCriteriaMet, FailureTarget), and the final condition (Complete,
Failed) only when no pod is left that could still run.
"""

import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from kubedr_server.local.executor import pod_failure_policy
from kubedr_server.local.executor.events import EventType
from kubedr_server.local.executor.job_pods import JobPods, finished_at, is_tracked
from kubedr_server.local.executor.objects import Object, condition_of, has_condition, moment, stamp, uid_of

FIRST_BACKOFF = timedelta(seconds=10)
LONGEST_BACKOFF = timedelta(minutes=10)
DEFAULT_BACKOFF_LIMIT = 6


@dataclass
class Decision:
    """What to do now. `status` is what the Job's status is to be."""

    status: dict[str, Any]
    create: int = 0
    ended: int = 0
    """How many pods have been counted: the pods to create are numbered from here."""

    delete: list[Object] = field(default_factory=list)
    events: list[tuple[EventType, str, str]] = field(default_factory=list)
    """(type, reason, message)"""

    again_at: datetime | None = None
    """When time alone changes the decision."""

    def wake(self, at: datetime) -> None:
        """Look again at `at`, if nothing asks for it earlier."""
        self.again_at = at if self.again_at is None else min(self.again_at, at)


def is_finished(job: Object) -> bool:
    """Whether the Job has ended, well or badly."""
    return has_condition(job, "Complete") or has_condition(job, "Failed")


def settle(job: Object, pods: list[Object]) -> tuple[dict[str, Any], list[Object]]:
    """Count what has ended. Return the new status, and the pods that it lets go of.

    A pod's outcome is first noted by uid, then its finalizer is removed, and only when that is seen
    is it counted: whatever is interrupted, each pod counts once.
    """
    status: dict[str, Any] = copy.deepcopy(job.get("status") or {})
    noted: dict[str, list[str]] = {
        kind: list((status.get("uncountedTerminatedPods") or {}).get(kind) or ())
        for kind in ("succeeded", "failed")
    }
    tracked = {uid_of(pod): pod for pod in pods if is_tracked(pod)}
    for kind, uids in noted.items():
        settled = [uid for uid in uids if uid not in tracked]
        if settled:
            status[kind] = int(status.get(kind) or 0) + len(settled)
            noted[kind] = [uid for uid in uids if uid in tracked]
    sorted_pods = JobPods.of(list(tracked.values()))
    lost = [] if replaces_only_failed(job) else sorted_pods.terminating
    ignored: list[Object] = []
    for pod in sorted_pods.succeeded:
        _note(noted["succeeded"], pod)
    for pod in [*sorted_pods.failed, *lost]:
        if pod in lost or pod_failure_policy.judge(job, pod).action != "Ignore":
            _note(noted["failed"], pod)
        else:
            ignored.append(pod)
    status["uncountedTerminatedPods"] = {kind: uids for kind, uids in noted.items() if uids}
    released = {uid for uids in noted.values() for uid in uids}
    return status, [pod for uid, pod in tracked.items() if uid in released] + ignored


def _note(uids: list[str], pod: Object) -> None:
    if uid_of(pod) not in uids:
        uids.append(uid_of(pod))


def replaces_only_failed(job: Object) -> bool:
    """Whether a pod is replaced only once it has ended (podReplacementPolicy)."""
    spec = job["spec"]
    default = "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed"
    return bool(spec.get("podReplacementPolicy", default) == "Failed")


def decide(job: Object, pods: list[Object], now: datetime) -> Decision:
    """Decide on a Job that is not finished and whose ended pods are settled."""
    found = JobPods.of(pods)
    decision = Decision(status=copy.deepcopy(job.get("status") or {}))
    status, spec = decision.status, job["spec"]
    _count(status, found)
    suspended = bool(spec.get("suspend"))
    if not status.get("startTime") and not suspended:
        status["startTime"] = stamp(now)
    if not has_condition(job, "FailureTarget") and not has_condition(job, "SuccessCriteriaMet"):
        _judge(job, found, decision, now)
    ending = _true(status, "FailureTarget") or _true(status, "SuccessCriteriaMet")
    if ending is not None:
        decision.delete = found.active
        _finish(decision, ending, found, now)
    elif suspended:
        decision.delete = found.active
        _suspend(decision, now)
    else:
        if (condition := condition_of(job, "Suspended")) and condition["status"] == "True":
            _set(status, "Suspended", "False", "JobResumed", "Job resumed", now)
            decision.events.append(("Normal", "Resumed", "Job resumed"))
            status["startTime"] = stamp(now)
        _replace(job, found, decision, now)
    return decision


def _count(status: dict[str, Any], found: JobPods) -> None:
    counts = {"active": len(found.active), "terminating": len(found.terminating), "ready": found.ready}
    for key, value in counts.items():
        # `active` is left out when it is zero, as in Kubernetes; the others are said.
        if value or key != "active":
            status[key] = value
        else:
            status.pop(key, None)


def _judge(job: Object, found: JobPods, decision: Decision, now: datetime) -> None:
    """Set SuccessCriteriaMet or FailureTarget where the outcome is certain."""
    spec, status = job["spec"], decision.status
    failed, succeeded = _total(status, "failed"), _total(status, "succeeded")
    limit = spec.get("backoffLimit", DEFAULT_BACKOFF_LIMIT)
    started, deadline = moment(status.get("startTime")), spec.get("activeDeadlineSeconds")
    fatal = [v for pod in found.failed if (v := pod_failure_policy.judge(job, pod)).action == "FailJob"]
    ends = None
    if started and deadline is not None and not spec.get("suspend"):
        ends = started + timedelta(seconds=deadline)
    if fatal:
        _fail(decision, "PodFailurePolicy", fatal[0].message, now)
    elif failed > limit:
        _fail(decision, "BackoffLimitExceeded", "Job has reached the specified backoff limit", now)
    elif ends is not None and ends <= now:
        _fail(decision, "DeadlineExceeded", "Job was active longer than specified deadline", now)
    elif _is_complete(spec, succeeded, found):
        reason, message = "CompletionsReached", "Reached expected number of succeeded pods"
        _set(status, "SuccessCriteriaMet", "True", reason, message, now)
    elif ends is not None:
        decision.wake(ends)


def _is_complete(spec: dict[str, Any], succeeded: int, found: JobPods) -> bool:
    completions = spec.get("completions")
    if completions is not None:
        return bool(succeeded >= completions)
    # A work queue: one success, and then all the others end by themselves.
    return succeeded > 0 and not found.active and not found.terminating


def _fail(decision: Decision, reason: str, message: str, now: datetime) -> None:
    _set(decision.status, "FailureTarget", "True", reason, message, now)


def _finish(decision: Decision, ending: Object, found: JobPods, now: datetime) -> None:
    """Say that the Job has ended, once nothing of it can run any more and every pod is counted."""
    status = decision.status
    if found.active or found.terminating or status.get("uncountedTerminatedPods"):
        return
    if ending["type"] == "FailureTarget":
        _set(status, "Failed", "True", ending["reason"], ending["message"], now)
        decision.events.append(("Warning", ending["reason"], ending["message"]))
    else:
        _set(status, "Complete", "True", ending["reason"], ending["message"], now)
        status["completionTime"] = stamp(now)
        decision.events.append(("Normal", "Completed", "Job completed"))


def _suspend(decision: Decision, now: datetime) -> None:
    if _true(decision.status, "Suspended") is None:
        _set(decision.status, "Suspended", "True", "JobSuspended", "Job suspended", now)
        decision.events.append(("Normal", "Suspended", "Job suspended"))
    decision.status.pop("startTime", None)


def _replace(job: Object, found: JobPods, decision: Decision, now: datetime) -> None:
    """Decide how many pods are missing, and whether it is time for them after failures."""
    spec, status = job["spec"], decision.status
    if job["metadata"].get("deletionTimestamp"):
        return
    succeeded = _total(status, "succeeded")
    running = len(found.active) + (len(found.terminating) if replaces_only_failed(job) else 0)
    parallelism, completions = spec.get("parallelism", 1), spec.get("completions")
    if completions is not None:
        wanted = min(parallelism, completions - succeeded)
    else:
        wanted = running if succeeded else parallelism
    if len(found.active) > wanted:
        decision.delete = found.active[wanted:]
        return
    if running >= wanted:
        return
    pause = _backoff(found)
    if pause is not None and pause > now:
        decision.wake(pause)
        return
    decision.create = wanted - running
    decision.ended = succeeded + _total(status, "failed")


def _backoff(found: JobPods) -> datetime | None:
    """Return when the next pod may start: ten seconds after a failure, doubled with each further one."""
    successes = [end for pod in found.succeeded if (end := finished_at(pod))]
    failures = [end for pod in found.failed if (end := finished_at(pod))]
    if successes:
        failures = [end for end in failures if end > max(successes)]
    if not failures:
        return None
    return max(failures) + min(FIRST_BACKOFF * 2.0 ** min(len(failures) - 1, 10), LONGEST_BACKOFF)


def _total(status: dict[str, Any], kind: str) -> int:
    noted = (status.get("uncountedTerminatedPods") or {}).get(kind) or ()
    return int(status.get(kind) or 0) + len(noted)


def _true(status: dict[str, Any], condition_type: str) -> Object | None:
    condition = condition_of({"status": status}, condition_type)
    return condition if condition is not None and condition["status"] == "True" else None


def _set(
    status: dict[str, Any], condition_type: str, value: str, reason: str, message: str, now: datetime
) -> None:
    conditions = [c for c in status.get("conditions") or [] if c["type"] != condition_type]
    conditions.append(
        {
            "type": condition_type,
            "status": value,
            "reason": reason,
            "message": message,
            "lastProbeTime": stamp(now),
            "lastTransitionTime": stamp(now),
        }
    )
    status["conditions"] = conditions
