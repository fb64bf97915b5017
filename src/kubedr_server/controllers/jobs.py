"""What a Job and its pods say, in the terms of this project: running, in trouble, or ended and how.

A run ends in exactly one outcome with one sentence. The runner's own document is the first
choice; where there is none, what Kubernetes knows of the pod is told instead, each case with its own reason.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubedr_server import contract
from kubedr_server.api.conditions import Reason
from kubedr_server.contract import Env, Operation, RunResult
from kubedr_server.manifests.labels import Label

Object = Mapping[str, Any]

_IMAGE_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
_START_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


@dataclass(frozen=True)
class Ended:
    """The Job controller's verdict on a Job."""

    complete: bool
    time: datetime
    reason: str
    message: str


@dataclass(frozen=True)
class Trouble:
    """Why a Job that has not ended makes no progress."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Report:
    """The one outcome of an ended Job. `result` is the runner's document, if there is one."""

    job: str
    job_uid: str
    pod: str | None
    time: datetime
    reason: Reason
    message: str
    result: RunResult | None = None
    cluster_id: str | None = None
    """The cluster that the Job says it works for."""

    @property
    def succeeded(self) -> bool:
        """Whether the runner proved that it did all it was to do."""
        return self.result is not None and self.result.succeeded


def ended(job: Object) -> Ended | None:
    """Return how a Job ended, or None if it has not: its conditions Complete and Failed are final."""
    for known in _conditions(job):
        if known.get("type") in {"Complete", "Failed"} and known.get("status") == "True":
            complete = known["type"] == "Complete"
            time = (job["status"].get("completionTime") if complete else None) or known.get(
                "lastTransitionTime"
            )
            return Ended(
                complete,
                _time(time) or _time(job["metadata"].get("creationTimestamp")) or _EPOCH,
                str(known.get("reason", "")),
                str(known.get("message", "")),
            )
    return None


def pods_of(job: Object, pods: Iterable[Object]) -> list[Object]:
    """Return the pods that belong to exactly this Job, the newest last."""
    uid = job["metadata"]["uid"]
    mine = [
        pod
        for pod in pods
        if any(owner.get("uid") == uid for owner in pod["metadata"].get("ownerReferences") or ())
    ]
    return sorted(
        mine, key=lambda pod: (pod["metadata"].get("creationTimestamp", ""), pod["metadata"]["name"])
    )


def has_result(pods: Iterable[Object]) -> bool:
    """Whether any of the pods has ended with a termination message."""
    return any((_terminated(pod) or {}).get("message") for pod in pods)


def trouble(pods: Sequence[Object]) -> Trouble | None:
    """Return why the newest pod of a running Job does not get on, or None if nothing is known."""
    if not pods:
        return None
    pod = pods[-1]
    name = pod["metadata"]["name"]
    for known in _conditions(pod):
        if known.get("type") == "PodScheduled" and known.get("status") == "False":
            why = known.get("message") or known.get("reason") or "no reason is given"
            return Trouble(Reason.JOB_NOT_SCHEDULABLE, f"Pod {name} cannot be scheduled: {why}")
    waiting = (_container(pod).get("state") or {}).get("waiting") or {}
    why = waiting.get("message") or waiting.get("reason")
    if waiting.get("reason") in _IMAGE_REASONS:
        return Trouble(Reason.IMAGE_PULL_FAILED, f"The image of pod {name} cannot be pulled: {why}")
    if waiting.get("reason") in _START_REASONS:
        return Trouble(Reason.POD_NOT_STARTED, f"The container of pod {name} cannot be started: {why}")
    return None


def report(job: Object, pods: Sequence[Object], of: Operation, before: Trouble | None = None) -> Report:
    """Return the outcome of an ended Job.

    `before` is the trouble that the Job was last seen in: when its deadline passes, its pods are
    deleted, and the cause with them. Raises ValueError if the Job has not ended.
    """
    end = ended(job)
    if end is None:
        raise ValueError(f"Job {job['metadata']['name']} has not ended")
    results = [(pod, _result(pod, of)) for pod in pods]
    # Of several pods (the Job was configured to retry) one that succeeded counts, else the last one.
    results.sort(key=lambda pair: pair[1] is not None and pair[1].succeeded)
    pod, result = results[-1] if results else (None, None)
    name = pod["metadata"]["name"] if pod is not None else None
    if result is not None:
        reason, message = result.reason, result.message
    else:
        reason, message = _explain(job, end, pod, before)
    return Report(
        job=job["metadata"]["name"],
        job_uid=job["metadata"]["uid"],
        pod=name,
        time=end.time,
        reason=reason,
        message=message,
        result=result,
        cluster_id=setting(job, Env.CLUSTER_ID),
    )


def operation(job: Object) -> str:
    """Return what a Job of ours does; empty for another one."""
    return str((job["metadata"].get("labels") or {}).get(Label.OPERATION.value, ""))


def setting(job: Object, name: Env) -> str | None:
    """Return a plain setting that a Job gives to its runner, or None."""
    template = ((job.get("spec") or {}).get("template") or {}).get("spec") or {}
    for container in template.get("containers") or ():
        for known in container.get("env") or ():
            if known.get("name") == name.value:
                return known.get("value") or None
    return None


def _explain(job: Object, end: Ended, pod: Object | None, before: Trouble | None) -> tuple[Reason, str]:
    """Say why a Job ended without a result."""
    name = job["metadata"]["name"]
    if end.reason == "DeadlineExceeded":
        limit = (job.get("spec") or {}).get("activeDeadlineSeconds")
        text = f"Job {name} was ended because it took longer than its {limit} s"
        cause = (trouble([pod]) if pod is not None else None) or before
        if cause is not None:
            return cause.reason, f"{text}: {cause.message}"
        where = f" (pod {pod['metadata']['name']})" if pod is not None else ""
        return Reason.DEADLINE_EXCEEDED, f"{text}{where}; raise activeDeadlineSeconds or see the pod's log"
    if pod is None:
        why = f": {end.message}" if end.message else ""
        return (
            Reason.NO_RESULT,
            f"Job {name} ended and its pod is gone, so that its result is not known{why}",
        )
    return _explain_pod(pod)


def _explain_pod(pod: Object) -> tuple[Reason, str]:
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    node = (pod.get("spec") or {}).get("nodeName", "its node")
    if status.get("reason") == "Evicted":
        return (
            Reason.EVICTED,
            f"Pod {name} was evicted from {node}: {status.get('message') or 'no reason given'}",
        )
    for known in _conditions(pod):
        if known.get("type") == "DisruptionTarget" and known.get("status") == "True":
            why = known.get("message") or known.get("reason")
            return Reason.EVICTED, f"Pod {name} was removed from {node}: {why}"
    if stuck := trouble([pod]):
        return stuck.reason, stuck.message
    terminated = _terminated(pod)
    if terminated is None:
        why = status.get("message") or status.get("reason") or "its container has not ended"
        return Reason.NO_RESULT, f"Pod {name} on {node} left no result: {why}"
    if terminated.get("reason") == "OOMKilled":
        return (
            Reason.OUT_OF_MEMORY,
            f"Pod {name} was killed: it used more memory than its limit. Raise resources.limits.memory",
        )
    text = "an unreadable result" if terminated.get("message") else "no result"
    namespace = pod["metadata"].get("namespace", "")
    code = terminated.get("exitCode")
    look = f"see `kubectl -n {namespace} logs {name}`"
    return Reason.NO_RESULT, f"Pod {name} on {node} ended with exit code {code} and left {text}; {look}"


def _result(pod: Object, operation: Operation) -> RunResult | None:
    message = (_terminated(pod) or {}).get("message")
    if not message:
        return None
    try:
        result = RunResult.from_termination_message(message)
    except ValueError:
        return None
    if result.operation is not operation:
        return None
    if operation is Operation.BACKUP and result.succeeded and result.backup is None:
        # Nothing is called successful without its proof.
        return None
    return result


def _terminated(pod: Object) -> Mapping[str, Any] | None:
    state = (_container(pod).get("state") or {}).get("terminated")
    return state if isinstance(state, dict) else None


def _container(pod: Object) -> Mapping[str, Any]:
    for known in (pod.get("status") or {}).get("containerStatuses") or ():
        if known.get("name") == contract.CONTAINER_NAME and isinstance(known, dict):
            return known
    return {}


def _conditions(obj: Object) -> Sequence[Mapping[str, Any]]:
    return (obj.get("status") or {}).get("conditions") or ()


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
