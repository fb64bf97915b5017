"""What a Job's controller knows of its pods: which count, which run, and what a new one looks like."""

import copy
import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kubedr_server.local.executor.objects import (
    Object,
    controller_reference,
    has_condition,
    is_deleted,
    moment,
    name_of,
    namespace_of,
    uid_of,
)

TRACKING_FINALIZER = "batch.kubernetes.io/job-tracking"
"""Keeps a pod until its outcome is counted in its Job's status, whoever deletes it."""

CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
JOB_NAME = "batch.kubernetes.io/job-name"
# The same two under the names that they had before Kubernetes 1.27.
LEGACY_CONTROLLER_UID = "controller-uid"
LEGACY_JOB_NAME = "job-name"

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_MAX_PREFIX = 58


@dataclass(frozen=True)
class JobPods:
    """A Job's pods, sorted by what they mean to it. A pod is in one of the first four lists."""

    active: list[Object] = field(default_factory=list)
    terminating: list[Object] = field(default_factory=list)
    succeeded: list[Object] = field(default_factory=list)
    failed: list[Object] = field(default_factory=list)
    ready: int = 0

    @classmethod
    def of(cls, pods: list[Object]) -> "JobPods":
        """Sort pods by phase and deletion."""
        found = cls(ready=sum(has_condition(pod, "Ready") and not is_finished(pod) for pod in pods))
        for pod in pods:
            phase = phase_of(pod)
            if phase == "Succeeded":
                found.succeeded.append(pod)
            elif phase == "Failed":
                found.failed.append(pod)
            elif is_deleted(pod):
                found.terminating.append(pod)
            else:
                found.active.append(pod)
        return found


def phase_of(pod: Object) -> str:
    """Return `status.phase`, which is Pending before anything was written."""
    return str((pod.get("status") or {}).get("phase") or "Pending")


def is_finished(pod: Object) -> bool:
    """Whether none of the pod's containers will ever run again."""
    return phase_of(pod) in {"Succeeded", "Failed"}


def is_tracked(pod: Object) -> bool:
    """Whether the pod's outcome is yet to be counted."""
    return TRACKING_FINALIZER in (pod["metadata"].get("finalizers") or ())


def finished_at(pod: Object) -> datetime | None:
    """Return when the pod's last container ended."""
    ends = [
        ended
        for status in (pod.get("status") or {}).get("containerStatuses") or []
        if (ended := moment(((status.get("state") or {}).get("terminated") or {}).get("finishedAt")))
    ]
    return max(ends, default=None)


def exit_code(pod: Object) -> tuple[str, int] | None:
    """Return the name and the exit code of the first container that failed."""
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        code = ((status.get("state") or {}).get("terminated") or {}).get("exitCode")
        if code:
            return str(status["name"]), int(code)
    return None


def labels(job: Object) -> dict[str, str]:
    """Return the labels that tell a Job's pods from all others."""
    return {
        CONTROLLER_UID: uid_of(job),
        LEGACY_CONTROLLER_UID: uid_of(job),
        JOB_NAME: name_of(job),
        LEGACY_JOB_NAME: name_of(job),
    }


def free_names(job: Object, pods: list[Object], ended: int, count: int) -> list[str]:
    """Return the names of the next pods. A name follows from the Job and the pod's number.

    So a creation whose answer was lost cannot be repeated under another name: two pods would be
    two writers.
    """
    taken = {name_of(pod) for pod in pods}
    prefix = name_of(job)[:_MAX_PREFIX]
    names: list[str] = []
    while len(names) < count:
        name = f"{prefix}-{_suffix(uid_of(job), ended)}"
        if name not in taken:
            names.append(name)
        ended += 1
    return names


def new_pod(job: Object, name: str) -> Object:
    """Build a pod from a Job's template."""
    template = job["spec"]["template"]
    meta: dict[str, Any] = template.get("metadata") or {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace_of(job),
            "labels": {**(meta.get("labels") or {}), **labels(job)},
            "annotations": dict(meta.get("annotations") or {}),
            "finalizers": [*(meta.get("finalizers") or []), TRACKING_FINALIZER],
            "ownerReferences": [controller_reference(job, "batch/v1", "Job")],
        },
        "spec": copy.deepcopy(template["spec"]),
    }


def _suffix(uid: str, attempt: int) -> str:
    number = int.from_bytes(hashlib.sha256(f"{uid}/{attempt}".encode()).digest()[:8], "big")
    letters = []
    for _ in range(5):
        number, index = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[index])
    return "".join(letters)
