"""The defaults of built-in kinds: the part that kubectl and controllers see."""

import base64
from collections.abc import Callable, Mapping
from typing import Any

Object = dict[str, Any]
Old = Mapping[str, Any] | None


def default_builtin(qualified: str, obj: Object, old: Old) -> None:
    """Fill in an object's defaults in place."""
    default = _DEFAULTS.get(qualified)
    if default is not None:
        default(obj, old)


def _set(obj: Object, **values: Any) -> None:
    for name, value in values.items():
        obj.setdefault(name, value)


def _probe(probe: Object) -> None:
    _set(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    if "httpGet" in probe:
        _set(probe["httpGet"], path="/", scheme="HTTP")


def _container(container: Object) -> None:
    _set(
        container,
        resources={},
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
    )
    if "imagePullPolicy" not in container:
        image = str(container.get("image", ""))
        tag = image.rpartition("/")[2].partition(":")[2]
        latest = "@" not in image and tag in ("", "latest")
        container["imagePullPolicy"] = "Always" if latest else "IfNotPresent"
    for port in container.get("ports") or []:
        _set(port, protocol="TCP")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            _probe(container[name])
    for variable in container.get("env") or []:
        field = (variable.get("valueFrom") or {}).get("fieldRef")
        if field is not None:
            _set(field, apiVersion="v1")
    resources = container["resources"]
    if resources.get("limits"):
        requests = resources.setdefault("requests", {})
        for name, value in resources["limits"].items():
            requests.setdefault(name, value)


def pod_spec(spec: Object) -> None:
    """Default a PodSpec."""
    _set(spec, restartPolicy="Always", terminationGracePeriodSeconds=30, dnsPolicy="ClusterFirst",
         securityContext={}, schedulerName="default-scheduler")  # fmt: skip
    if "serviceAccount" in spec or "serviceAccountName" in spec:
        name = spec.get("serviceAccountName") or spec.get("serviceAccount")
        spec["serviceAccountName"] = spec["serviceAccount"] = name
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        _container(container)
        if spec.get("hostNetwork"):
            for port in container.get("ports") or []:
                port.setdefault("hostPort", port.get("containerPort"))
    for volume in spec.get("volumes") or []:
        _volume(volume)


def _volume(volume: Object) -> None:
    for source in ("secret", "configMap", "projected", "downwardAPI"):
        if source in volume:
            volume[source].setdefault("defaultMode", 420)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")
    if set(volume) == {"name"}:
        volume["emptyDir"] = {}
    for item in (volume.get("downwardAPI") or {}).get("items") or []:
        if "fieldRef" in item:
            item["fieldRef"].setdefault("apiVersion", "v1")


def _pod(pod: Object, old: Old) -> None:
    spec = pod.setdefault("spec", {})
    pod_spec(spec)
    _set(spec, enableServiceLinks=True)
    if old is None:
        _set(spec, serviceAccountName="default", serviceAccount="default",
             preemptionPolicy="PreemptLowerPriority", priority=0)  # fmt: skip
        tolerated = {each.get("key") for each in spec.setdefault("tolerations", [])}
        spec["tolerations"] += [
            {"effect": "NoExecute", "key": key, "operator": "Exists", "tolerationSeconds": 300}
            for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
            if key not in tolerated
        ]
        pod["status"] = {"phase": "Pending", "qosClass": _qos(spec)}


def _qos(spec: Object) -> str:
    resources = [container.get("resources") or {} for container in spec.get("containers") or []]
    if not any(each.get("limits") or each.get("requests") for each in resources):
        return "BestEffort"
    guaranteed = all(
        {"cpu", "memory"} <= set(each.get("limits") or {}) and each.get("limits") == each.get("requests")
        for each in resources
    )
    return "Guaranteed" if guaranteed else "Burstable"


CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
JOB_NAME = "batch.kubernetes.io/job-name"


def _job_spec(spec: Object) -> None:
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    limit = 2**31 - 1 if "backoffLimitPerIndex" in spec else 6
    _set(
        spec,
        parallelism=1,
        backoffLimit=limit,
        completionMode="NonIndexed",
        suspend=False,
        manualSelector=False,
    )
    _set(spec, podReplacementPolicy="Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed")
    template = spec.setdefault("template", {})
    pod_spec(template.setdefault("spec", {}))


def _job(job: Object, old: Old) -> None:
    spec = job.setdefault("spec", {})
    labels = job["metadata"].get("labels")
    _job_spec(spec)
    spec["template"].setdefault("metadata", {})
    uid = job["metadata"].get("uid")
    if old is None and uid:
        job["status"] = {}
        if not spec["manualSelector"]:
            _select_by_uid(spec, str(uid), str(job["metadata"].get("name", "")))
        if not labels:
            job["metadata"]["labels"] = dict(spec["template"]["metadata"].get("labels") or {})


def _select_by_uid(spec: Object, uid: str, name: str) -> None:
    template_meta = spec["template"].setdefault("metadata", {})
    labels = template_meta.setdefault("labels", {})
    labels |= {JOB_NAME: name, "job-name": name, CONTROLLER_UID: uid, "controller-uid": uid}
    spec["selector"] = {"matchLabels": {CONTROLLER_UID: uid}}


def _cronjob(cronjob: Object, old: Old) -> None:
    spec = cronjob.setdefault("spec", {})
    _set(
        spec, concurrencyPolicy="Allow", suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1
    )
    job_template = spec.setdefault("jobTemplate", {})
    _set(job_template, metadata={}, spec={})
    # As the real server does: only the pod's part of a Job's template is defaulted here.
    template = job_template["spec"].setdefault("template", {})
    _set(template, metadata={}, spec={})
    pod_spec(template["spec"])
    if old is None:
        cronjob["status"] = {}


def _secret(secret: Object, _old: Old) -> None:
    _set(secret, type="Opaque")
    text = secret.pop("stringData", None)
    if text:
        data = secret.setdefault("data", {})
        for name, value in text.items():
            data[name] = base64.b64encode(str(value).encode()).decode()
    for name, value in (secret.get("data") or {}).items():
        if value is None:
            secret["data"][name] = ""


def _namespace(namespace: Object, old: Old) -> None:
    meta = namespace["metadata"]
    if meta.get("name"):
        meta.setdefault("labels", {})["kubernetes.io/metadata.name"] = meta["name"]
    if old is None:
        namespace["spec"] = {"finalizers": ["kubernetes"]}
        namespace["status"] = {"phase": "Active"}


def _event(event: Object, _old: Old) -> None:
    _set(event, source={}, type="Normal", firstTimestamp=None, lastTimestamp=None, eventTime=None,
         reportingComponent="", reportingInstance="")  # fmt: skip
    if event["source"].get("component") and not event["reportingComponent"]:
        event["reportingComponent"] = event["source"]["component"]


def _claim(claim: Object, old: Old) -> None:
    spec = claim.setdefault("spec", {})
    _set(spec, volumeMode="Filesystem")
    if old is None:
        claim["status"] = {"phase": "Pending"}


def _service(service: Object, old: Old) -> None:
    spec = service.setdefault("spec", {})
    _set(spec, sessionAffinity="None", type="ClusterIP")
    for port in spec.get("ports") or []:
        _set(port, protocol="TCP", targetPort=port.get("port"))
    if old is None:
        service["status"] = {"loadBalancer": {}}
        if spec["type"] != "ExternalName":
            _set(spec, clusterIP="None", clusterIPs=["None"], internalTrafficPolicy="Cluster",
                 ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")  # fmt: skip
    else:
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            if name in old.get("spec", {}):
                spec.setdefault(name, old["spec"][name])


def _deployment(deployment: Object, old: Old) -> None:
    spec = deployment.setdefault("spec", {})
    _set(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600, strategy={})
    strategy = spec["strategy"]
    _set(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _set(strategy.setdefault("rollingUpdate", {}), maxUnavailable="25%", maxSurge="25%")
    pod_spec(spec.setdefault("template", {}).setdefault("spec", {}))
    if old is None:
        deployment["status"] = {}


def _webhooks(configuration: Object, _old: Old) -> None:
    for webhook in configuration.get("webhooks") or []:
        _set(webhook, failurePolicy="Fail", matchPolicy="Equivalent", namespaceSelector={}, objectSelector={},
             timeoutSeconds=10)  # fmt: skip
        if configuration.get("kind") == "MutatingWebhookConfiguration":
            _set(webhook, reinvocationPolicy="Never")
        for rule in webhook.get("rules") or []:
            _set(rule, scope="*")
        service = (webhook.get("clientConfig") or {}).get("service")
        if service is not None:
            _set(service, port=443)


def _crd(crd: Object, old: Old) -> None:
    spec = crd.setdefault("spec", {})
    names = spec.setdefault("names", {})
    kind = str(names.get("kind", ""))
    _set(names, singular=kind.lower(), listKind=f"{kind}List" if kind else "")
    _set(spec, conversion={"strategy": "None"})
    if old is None:
        stored = [v.get("name") for v in spec.get("versions") or [] if v.get("storage")]
        crd["status"] = {
            "conditions": [],
            "acceptedNames": {"kind": "", "plural": ""},
            "storedVersions": stored,
        }


def _role_binding(binding: Object, _old: Old) -> None:
    for subject in binding.get("subjects") or []:
        if subject.get("kind") in ("User", "Group"):
            _set(subject, apiGroup="rbac.authorization.k8s.io")


_DEFAULTS: dict[str, Callable[[Object, Old], None]] = {
    "pods": _pod,
    "jobs.batch": _job,
    "cronjobs.batch": _cronjob,
    "secrets": _secret,
    "namespaces": _namespace,
    "events": _event,
    "persistentvolumeclaims": _claim,
    "services": _service,
    "deployments.apps": _deployment,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
    "customresourcedefinitions.apiextensions.k8s.io": _crd,
    "rolebindings.rbac.authorization.k8s.io": _role_binding,
    "clusterrolebindings.rbac.authorization.k8s.io": _role_binding,
}
