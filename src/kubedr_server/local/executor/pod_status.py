"""A pod's status as a kubelet writes it: pure builders, so that each state can be read in one place."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubedr_server.local.executor.objects import Object, condition_of, stamp, uid_of

HOST_IP = "127.0.0.1"
MAX_TERMINATION_MESSAGE = 4096
KILLED = 137


@dataclass(frozen=True)
class Termination:
    """How a container ended. `pod_reason` and `pod_message` are set where the pod itself was ended."""

    exit_code: int
    reason: str
    message: str
    started: datetime
    finished: datetime
    pod_reason: str = ""
    pod_message: str = ""

    @property
    def phase(self) -> str:
        """The pod's last phase."""
        return "Failed" if self.exit_code or self.pod_reason else "Succeeded"


def scheduled(pod: Object, now: datetime) -> Object:
    """Return the status of a pod that a node was found for."""
    status: dict[str, Any] = {"phase": "Pending"}
    return _with_conditions(pod, status, {"PodScheduled": ("True", "", "")}, now)


def unschedulable(pod: Object, message: str, now: datetime) -> Object:
    """Return the status of a pod that fits no node."""
    status: dict[str, Any] = {"phase": "Pending"}
    return _with_conditions(pod, status, {"PodScheduled": ("False", "Unschedulable", message)}, now)


def waiting(pod: Object, reason: str, message: str, now: datetime) -> Object:
    """Return the status of a pod whose container cannot start yet."""
    state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
    return _status(pod, "Pending", state, now, ready=False, started=False)


def running(pod: Object, began: datetime, now: datetime) -> Object:
    """Return the status of a pod whose program runs."""
    return _status(pod, "Running", {"running": {"startedAt": stamp(began)}}, now, ready=True, started=True)


def ended(pod: Object, end: Termination, now: datetime) -> Object:
    """Return the last status of a pod."""
    state = {
        "terminated": {
            "exitCode": end.exit_code,
            "reason": end.reason,
            "startedAt": stamp(end.started),
            "finishedAt": stamp(end.finished),
            "containerID": _container_id(pod),
            **({"message": end.message} if end.message else {}),
        }
    }
    status = _status(pod, end.phase, state, now, ready=False, started=False)
    if end.pod_reason:
        status |= {"reason": end.pod_reason, "message": end.pod_message}
    return status


def never_started(pod: Object, reason: str, message: str, now: datetime) -> Object:
    """Return the last status of a pod that was ended before its container was started."""
    status = waiting(pod, "ContainerCreating", "", now)
    return {**status, "phase": "Failed", "reason": reason, "message": message}


def _status(
    pod: Object, phase: str, state: dict[str, Any], now: datetime, *, ready: bool, started: bool
) -> Object:
    old = pod.get("status") or {}
    container = pod["spec"]["containers"][0]
    name, image = container["name"], container["image"]
    why = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase, "ContainersNotReady")
    unready = (
        "False",
        why,
        "" if why != "ContainersNotReady" else f"containers with unready status: [{name}]",
    )
    readiness = ("True", "", "") if ready else unready
    entry: dict[str, Any] = {
        "name": name,
        "image": image,
        "imageID": "",
        "ready": ready,
        "started": started,
        "restartCount": 0,
        "state": state,
        "lastState": {},
    }
    if "waiting" not in state:
        entry["containerID"] = _container_id(pod)
    status: dict[str, Any] = {
        "phase": phase,
        "hostIP": HOST_IP,
        "hostIPs": [{"ip": HOST_IP}],
        "podIP": HOST_IP,
        "podIPs": [{"ip": HOST_IP}],
        "startTime": old.get("startTime") or stamp(now),
        "qosClass": old.get("qosClass") or "BestEffort",
        "containerStatuses": [entry],
    }
    conditions = {
        "PodReadyToStartContainers": ("True" if ready else "False", "", ""),
        "Initialized": ("True", "PodCompleted" if phase == "Succeeded" else "", ""),
        "Ready": readiness,
        "ContainersReady": readiness,
        "PodScheduled": ("True", "", ""),
    }
    return _with_conditions(pod, status, conditions, now)


def _with_conditions(
    pod: Object, status: dict[str, Any], wanted: dict[str, tuple[str, str, str]], now: datetime
) -> Object:
    conditions = []
    for name, (value, reason, message) in wanted.items():
        old = condition_of(pod, name)
        since = old["lastTransitionTime"] if old and old["status"] == value else stamp(now)
        condition = {"type": name, "status": value, "lastProbeTime": None, "lastTransitionTime": since}
        if reason:
            condition["reason"] = reason
        if message:
            condition["message"] = message
        conditions.append(condition)
    return {**status, "conditions": conditions}


def _container_id(pod: Object) -> str:
    return f"process://{uid_of(pod)}"
