"""The columns of built-in kinds: what `kubectl get` and `-o wide` print."""

from datetime import datetime
from typing import Any

from kubedr_server.local.api.columns import (
    AGE,
    CREATED_AT,
    NAME,
    NONE,
    UNKNOWN,
    Cell,
    Column,
    Object,
    at,
    count,
    dig,
    since,
    text,
)


def _selector(obj: Object) -> str:
    selector = dig(obj, "spec.selector") or {}
    labels = selector.get("matchLabels", {} if "matchExpressions" in selector else selector)
    return ",".join(f"{key}={labels[key]}" for key in sorted(labels)) or NONE


def _templates(path: str) -> tuple[Column, ...]:
    def listed(field: str) -> Cell:
        return text(lambda obj: ",".join(str(each.get(field, "")) for each in dig(obj, path) or ()))

    return (Column("Containers", listed("name"), priority=1), Column("Images", listed("image"), priority=1))


_POD_TEMPLATE = _templates("spec.template.spec.containers")
_SELECTOR = Column("Selector", text(_selector), priority=1)


def pod_status(pod: Object) -> str:
    """Return the STATUS of a pod: its phase, or what a container says that explains more."""
    status = pod.get("status") or {}
    reason = str(status.get("reason") or status.get("phase") or "Unknown")
    running = False
    for container in reversed(status.get("containerStatuses") or []):
        state = container.get("state") or {}
        waiting, ended = state.get("waiting") or {}, state.get("terminated")
        if waiting.get("reason"):
            reason = waiting["reason"]
        elif ended is not None:
            signal = ended.get("signal")
            plain = f"Signal:{signal}" if signal else f"ExitCode:{ended.get('exitCode', 0)}"
            reason = ended.get("reason") or plain
        elif container.get("ready") and "running" in state:
            running = True
    if reason == "Completed" and running:
        reason = "Running"
    if dig(pod, "metadata.deletionTimestamp") and reason not in ("Succeeded", "Failed", "Completed", "Error"):
        reason = "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return reason


def _pod_ready(pod: Object) -> str:
    statuses = dig(pod, "status.containerStatuses") or []
    return f"{sum(bool(each.get('ready')) for each in statuses)}/{len(dig(pod, 'spec.containers') or ())}"


def _restarts(pod: Object, now: datetime) -> str:
    statuses = dig(pod, "status.containerStatuses") or []
    ended = [dig(each, "lastState.terminated.finishedAt") for each in statuses]
    last = max((str(moment) for moment in ended if moment), default="")
    total = sum(int(each.get("restartCount", 0)) for each in statuses)
    return f"{total} ({since(last, now)} ago)" if total and last else str(total)


def _job_status(job: Object) -> str:
    names = {each.get("type") for each in dig(job, "status.conditions") or () if each.get("status") == "True"}
    order = (("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended"),
             ("FailureTarget", "FailureTarget"), ("SuccessCriteriaMet", "SuccessCriteriaMet"))  # fmt: skip
    if dig(job, "metadata.deletionTimestamp"):
        return "Terminating"
    return next((shown for name, shown in order if name in names), "Running")


def _completions(job: Object) -> str:
    done = dig(job, "status.succeeded") or 0
    wanted = dig(job, "spec.completions")
    if wanted is not None:
        return f"{done}/{wanted}"
    parallel = dig(job, "spec.parallelism") or 0
    return f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"


def _job_duration(job: Object, now: datetime) -> str:
    start, end = dig(job, "status.startTime"), dig(job, "status.completionTime")
    if not start:
        return ""
    return since(start, datetime.fromisoformat(str(end)) if end else now)


def _last_seen(event: Object, now: datetime) -> str:
    moment = dig(event, "series.lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return since(moment or _first(event), now) if moment or _first(event) else UNKNOWN


def _first(event: Object) -> Any:
    return event.get("firstTimestamp") or event.get("eventTime")


def _involved(event: Object) -> str:
    about = event.get("involvedObject") or {}
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def _source(event: Object) -> str:
    source = event.get("source") or {}
    component = source.get("component") or event.get("reportingComponent") or ""
    host = source.get("host") or ""
    return f"{component}, {host}" if host else str(component)


def _event_count(event: Object) -> str:
    return str(dig(event, "series.count") or event.get("count") or 1)


_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _modes(path: str) -> Cell:
    return text(lambda obj: ",".join(_MODES.get(mode, mode) for mode in dig(obj, path) or ()))


def _claim_phase(claim: Object) -> str:
    return (
        "Terminating" if dig(claim, "metadata.deletionTimestamp") else str(dig(claim, "status.phase") or "")
    )


def _ports(service: Object) -> str:
    ports = dig(service, "spec.ports") or ()
    return ",".join(f"{port.get('port')}/{port.get('protocol', 'TCP')}" for port in ports) or NONE


def _node_status(node: Object) -> str:
    ready: dict[str, Any] = next(
        (each for each in dig(node, "status.conditions") or () if each.get("type") == "Ready"), {}
    )
    shown = {"True": "Ready", "False": "NotReady"}.get(str(ready.get("status")), "Unknown")
    return f"{shown},SchedulingDisabled" if dig(node, "spec.unschedulable") else shown


def _roles(node: Object) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = dig(node, "metadata.labels") or {}
    return ",".join(sorted(k.removeprefix(prefix) for k in labels if k.startswith(prefix))) or NONE


def _of(total: str, ready: str) -> Cell:
    return text(lambda obj: f"{dig(obj, ready) or 0}/{dig(obj, total) or 0}")


_ROLE = Column("Role", text(lambda b: f"{dig(b, 'roleRef.kind')}/{dig(b, 'roleRef.name')}"))
_WEBHOOKS = (NAME, Column("Webhooks", count("webhooks"), kind="integer"), AGE)

BUILTIN_COLUMNS: dict[str, tuple[Column, ...]] = {
    "pods": (
        NAME,
        Column("Ready", text(_pod_ready)),
        Column("Status", text(pod_status)),
        Column("Restarts", _restarts),
        AGE,
        Column("IP", at("status.podIP", NONE), priority=1),
        Column("Node", at("spec.nodeName", NONE), priority=1),
        Column("Nominated Node", at("status.nominatedNodeName", NONE), priority=1),
        Column("Readiness Gates", text(lambda _: NONE), priority=1),
    ),
    "jobs.batch": (
        NAME,
        Column("Status", text(_job_status)),
        Column("Completions", text(_completions)),
        Column("Duration", _job_duration),
        AGE,
        *_POD_TEMPLATE,
        _SELECTOR,
    ),
    "cronjobs.batch": (
        NAME,
        Column("Schedule", at("spec.schedule")),
        Column("Timezone", at("spec.timeZone", NONE)),
        Column("Suspend", text(lambda c: str(bool(dig(c, "spec.suspend"))).title()), kind="boolean"),
        Column("Active", count("status.active"), kind="integer"),
        Column(
            "Last Schedule",
            lambda c, now: (
                since(dig(c, "status.lastScheduleTime"), now) if dig(c, "status.lastScheduleTime") else NONE
            ),
        ),
        AGE,
        *_templates("spec.jobTemplate.spec.template.spec.containers"),
        Column("Selector", text(lambda _: NONE), priority=1),
    ),
    "events": (
        Column("Last Seen", _last_seen),
        Column("Type", at("type")),
        Column("Reason", at("reason")),
        Column("Object", text(_involved)),
        Column("Subobject", at("involvedObject.fieldPath"), priority=1),
        Column("Source", text(_source), priority=1),
        Column("Message", text(lambda e: str(e.get("message") or "").strip())),
        Column("First Seen", lambda e, now: since(_first(e), now), priority=1),
        Column("Count", text(_event_count), priority=1),
        Column("Name", at("metadata.name"), form="name", priority=1),
    ),
    "namespaces": (NAME, Column("Status", at("status.phase")), AGE),
    "secrets": (NAME, Column("Type", at("type")), Column("Data", count("data")), AGE),
    "configmaps": (
        NAME,
        Column("Data", text(lambda c: len(c.get("data") or ()) + len(c.get("binaryData") or ()))),
        AGE,
    ),
    "persistentvolumeclaims": (
        NAME,
        Column("Status", text(_claim_phase)),
        Column("Volume", at("spec.volumeName")),
        Column("Capacity", at("status.capacity.storage")),
        Column("Access Modes", _modes("status.accessModes")),
        Column("StorageClass", at("spec.storageClassName")),
        Column("VolumeAttributesClass", at("spec.volumeAttributesClassName", "<unset>")),
        AGE,
        Column("VolumeMode", at("spec.volumeMode", "<unset>"), priority=1),
    ),
    "persistentvolumes": (
        NAME,
        Column("Capacity", at("spec.capacity.storage")),
        Column("Access Modes", _modes("spec.accessModes")),
        Column("Reclaim Policy", at("spec.persistentVolumeReclaimPolicy")),
        Column("Status", at("status.phase")),
        Column(
            "Claim",
            text(
                lambda v: (
                    f"{dig(v, 'spec.claimRef.namespace')}/{dig(v, 'spec.claimRef.name')}"
                    if dig(v, "spec.claimRef")
                    else ""
                )
            ),
        ),
        Column("StorageClass", at("spec.storageClassName")),
        Column("VolumeAttributesClass", at("spec.volumeAttributesClassName", "<unset>")),
        Column("Reason", at("status.reason")),
        AGE,
        Column("VolumeMode", at("spec.volumeMode", "<unset>"), priority=1),
    ),
    "nodes": (
        NAME,
        Column("Status", text(_node_status)),
        Column("Roles", text(_roles)),
        AGE,
        Column("Version", at("status.nodeInfo.kubeletVersion")),
    ),
    "serviceaccounts": (NAME, AGE),
    "services": (
        NAME,
        Column("Type", at("spec.type")),
        Column("Cluster-IP", at("spec.clusterIP", NONE)),
        Column("External-IP", at("spec.externalName", NONE)),
        Column("Port(s)", text(_ports)),
        AGE,
        _SELECTOR,
    ),
    "deployments.apps": (
        NAME,
        Column("Ready", _of("spec.replicas", "status.readyReplicas")),
        Column("Up-to-date", at("status.updatedReplicas", 0)),
        Column("Available", at("status.availableReplicas", 0)),
        AGE,
        *_POD_TEMPLATE,
        _SELECTOR,
    ),
    "replicasets.apps": (
        NAME,
        Column("Desired", at("spec.replicas", 0), kind="integer"),
        Column("Current", at("status.replicas", 0), kind="integer"),
        Column("Ready", at("status.readyReplicas", 0), kind="integer"),
        AGE,
        *_POD_TEMPLATE,
        _SELECTOR,
    ),
    "statefulsets.apps": (
        NAME,
        Column("Ready", _of("spec.replicas", "status.readyReplicas")),
        AGE,
        *_POD_TEMPLATE,
    ),
    "leases.coordination.k8s.io": (NAME, Column("Holder", at("spec.holderIdentity")), AGE),
    "customresourcedefinitions.apiextensions.k8s.io": (NAME, CREATED_AT),
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _WEBHOOKS,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _WEBHOOKS,
    "roles.rbac.authorization.k8s.io": (NAME, CREATED_AT),
    "clusterroles.rbac.authorization.k8s.io": (NAME, CREATED_AT),
    "rolebindings.rbac.authorization.k8s.io": (NAME, _ROLE, AGE),
    "clusterrolebindings.rbac.authorization.k8s.io": (NAME, _ROLE, AGE),
    "poddisruptionbudgets.policy": (
        NAME,
        Column("Min Available", text(lambda p: str(dig(p, "spec.minAvailable") or "N/A"))),
        Column("Max Unavailable", text(lambda p: str(dig(p, "spec.maxUnavailable") or "N/A"))),
        Column("Allowed Disruptions", at("status.disruptionsAllowed", 0), kind="integer"),
        AGE,
    ),
    "priorityclasses.scheduling.k8s.io": (
        NAME,
        Column("Value", at("value", 0), kind="integer"),
        Column("Global-Default", at("globalDefault", False), kind="boolean"),
        AGE,
        Column("PreemptionPolicy", at("preemptionPolicy")),
    ),
    "limitranges": (NAME, CREATED_AT),
}
DEFAULT_COLUMNS = (NAME, AGE)
