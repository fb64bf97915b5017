"""Judging built-in kinds: the mistakes that people make, in the API server's words."""

import base64
import binascii
import re
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kubedr_server.local.api.crd_rules import crd_errors
from kubedr_server.local.api.cron_rules import schedule_mistake
from kubedr_server.local.api.errors import (
    FieldError,
    duplicate,
    forbidden,
    invalid,
    required,
    unsupported,
)
from kubedr_server.local.api.metadata import DNS_LABEL_MESSAGE, is_dns_label, is_dns_subdomain

Object = Mapping[str, Any]
Old = Mapping[str, Any] | None
_CRON_NAME = 52
_SECRET_LIMIT = 1024 * 1024
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_KEY_MESSAGE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
    "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


def builtin_errors(qualified: str, obj: Object, old: Old) -> list[FieldError]:
    """Return what is wrong with an object of a built-in kind."""
    rules = _RULES.get(qualified)
    return list(rules(obj, old)) if rules is not None else []


def _not_negative(spec: Object, path: str, *names: str) -> Iterator[FieldError]:
    for name in names:
        value = spec.get(name)
        if isinstance(value, int) and value < 0:
            yield invalid(f"{path}.{name}", value, "must be greater than or equal to 0")


def _one_of(value: Any, path: str, choices: tuple[str, ...]) -> Iterator[FieldError]:
    if value is not None and value not in choices:
        yield unsupported(path, value, choices)


def pod_spec_errors(spec: Object, path: str) -> Iterator[FieldError]:
    """Return what is wrong with a PodSpec."""
    volumes: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or []):
        where, name = f"{path}.volumes[{index}]", str(volume.get("name", ""))
        yield from _label_errors(name, f"{where}.name")
        if name in volumes:
            yield duplicate(f"{where}.name", name)
        volumes.add(name)
        sources = [key for key in volume if key != "name"]
        if len(sources) > 1:
            for extra in sources[1:]:
                yield forbidden(f"{where}.{extra}", "may not specify more than 1 volume type")
    containers = spec.get("containers") or []
    if not containers:
        yield required(f"{path}.containers")
    names: set[str] = set()
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(kind) or []):
            yield from _container_errors(container, f"{path}.{kind}[{index}]", volumes, names)
    choices = ("Always", "OnFailure", "Never")
    yield from _one_of(spec.get("restartPolicy"), f"{path}.restartPolicy", choices)
    dns = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
    yield from _one_of(spec.get("dnsPolicy"), f"{path}.dnsPolicy", dns)


def _label_errors(name: str, path: str) -> Iterator[FieldError]:
    if not name:
        yield required(path)
    elif not is_dns_label(name):
        yield invalid(path, name, DNS_LABEL_MESSAGE)


def _container_errors(
    container: Object, path: str, volumes: set[str], names: set[str]
) -> Iterator[FieldError]:
    name, image = str(container.get("name", "")), str(container.get("image", ""))
    yield from _label_errors(name, f"{path}.name")
    if name and name in names:
        yield duplicate(f"{path}.name", name)
    names.add(name)
    if not image:
        yield required(f"{path}.image")
    elif image != image.strip():
        yield invalid(f"{path}.image", image, "must not have leading or trailing whitespace")
    pulls = ("Always", "IfNotPresent", "Never")
    yield from _one_of(container.get("imagePullPolicy"), f"{path}.imagePullPolicy", pulls)
    mounted: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or []):
        where, volume, at = f"{path}.volumeMounts[{index}]", mount.get("name", ""), mount.get("mountPath", "")
        if not volume:
            yield required(f"{where}.name")
        elif volume not in volumes:
            yield FieldError("FieldValueNotFound", f"{where}.name", f'Not found: "{volume}"')
        if not at:
            yield required(f"{where}.mountPath")
        elif at in mounted:
            yield invalid(f"{where}.mountPath", at, "must be unique")
        mounted.add(at)
    for index, variable in enumerate(container.get("env") or []):
        if not variable.get("name"):
            yield required(f"{path}.env[{index}].name")
        elif variable.get("value") and variable.get("valueFrom"):
            where = f"{path}.env[{index}].valueFrom"
            yield invalid(where, "", "may not be specified when `value` is not empty")


def _pod(pod: Object, old: Old) -> Iterator[FieldError]:
    spec = pod.get("spec") or {}
    yield from pod_spec_errors(spec, "spec")
    before = dict((old or {}).get("spec") or {})
    if not before.get("nodeName") and spec.get("nodeName"):
        before["nodeName"] = spec["nodeName"]  # what binds a pod to its node
    if old is not None and _pod_core(spec) != _pod_core(before):
        yield forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,"
            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions "
            "to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it "
            "was previously negative)",
        )


def _pod_core(spec: Object) -> dict[str, Any]:
    """Return the part of a pod's spec that never changes."""
    core = {k: v for k, v in spec.items() if k not in ("activeDeadlineSeconds", "tolerations")}
    for kind in ("containers", "initContainers"):
        if kind in core:
            core[kind] = [{k: v for k, v in each.items() if k != "image"} for each in core[kind]]
    return core


def _job_spec(spec: Object, path: str) -> Iterator[FieldError]:
    yield from _not_negative(spec, path, "parallelism", "completions", "activeDeadlineSeconds",
                             "backoffLimit", "ttlSecondsAfterFinished")  # fmt: skip
    modes = ("NonIndexed", "Indexed")
    yield from _one_of(spec.get("completionMode"), f"{path}.completionMode", modes)
    pod, where = (spec.get("template") or {}).get("spec") or {}, f"{path}.template.spec"
    yield from pod_spec_errors(pod, where)
    if pod.get("restartPolicy") == "Always":
        yield required(f"{where}.restartPolicy", 'valid values: "OnFailure", "Never"')


def _job(job: Object, old: Old) -> Iterator[FieldError]:
    spec = job.get("spec") or {}
    yield from _job_spec(spec, "spec")
    if old is None:
        return
    before = old.get("spec") or {}
    if before.get("completionMode") != "Indexed" and before.get("completions") != spec.get("completions"):
        yield invalid("spec.completions", spec.get("completions"), "field is immutable")
    suspended = bool(before.get("suspend")) and not (old.get("status") or {}).get("startTime")
    for name in (
        "selector",
        "template",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
    ):
        mine, theirs = spec.get(name), before.get(name)
        if name == "template" and suspended:
            mine, theirs = _schedulable(mine or {}), _schedulable(theirs or {})
        if mine != theirs:
            yield invalid(f"spec.{name}", spec.get(name), "field is immutable")


_FIXED = ("selector", "template", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy")


def _schedulable(template: Object) -> dict[str, Any]:
    """Return a template without what a queueing controller may still set while a Job is suspended."""
    pod = {k: v for k, v in (template.get("spec") or {}).items()
           if k not in ("nodeSelector", "affinity", "tolerations", "schedulingGates")}  # fmt: skip
    return {"spec": pod}


def _cronjob(cronjob: Object, old: Old) -> Iterator[FieldError]:
    spec = cronjob.get("spec") or {}
    name, schedule = cronjob["metadata"].get("name", ""), str(spec.get("schedule", ""))
    if not schedule:
        yield required("spec.schedule")
    elif old is None or (old.get("spec") or {}).get("schedule") != schedule:
        if "TZ" in schedule:
            why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
            yield invalid("spec.schedule", schedule, why)
        else:
            mistake = schedule_mistake(schedule)
            if mistake:
                yield invalid("spec.schedule", schedule, mistake)
    yield from _not_negative(spec, "spec", "startingDeadlineSeconds", "successfulJobsHistoryLimit",
                             "failedJobsHistoryLimit")  # fmt: skip
    zone = spec.get("timeZone")
    if zone is not None and (old is None or (old.get("spec") or {}).get("timeZone") != zone):
        yield from _zone_errors(str(zone))
    policies = ("Allow", "Forbid", "Replace")
    yield from _one_of(spec.get("concurrencyPolicy"), "spec.concurrencyPolicy", policies)
    yield from _job_spec((spec.get("jobTemplate") or {}).get("spec") or {}, "spec.jobTemplate.spec")
    if old is None and len(name) > _CRON_NAME:
        yield invalid("metadata.name", name, f"must be no more than {_CRON_NAME} characters")


def _zone_errors(zone: str) -> Iterator[FieldError]:
    path = "spec.timeZone"
    if not zone:
        yield invalid(path, zone, "timeZone must be nil or non-empty string")
        return
    if zone.lower() == "local":
        yield invalid(
            path, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        )
        return
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        yield invalid(path, zone, f"unknown time zone {zone}")


def _keys(data: Object, path: str) -> Iterator[FieldError]:
    for key in sorted(data):
        if not _KEY.fullmatch(key):
            yield invalid(f"{path}[{key}]", key, _KEY_MESSAGE)


def _immutable(obj: Object, old: Old, *names: str) -> Iterator[FieldError]:
    if old is None or not old.get("immutable"):
        return
    if not obj.get("immutable"):
        yield forbidden("immutable", "field is immutable when `immutable` is set")
    for name in names:
        if obj.get(name) != old.get(name):
            yield forbidden(name, "field is immutable when `immutable` is set")


def _secret(secret: Object, old: Old) -> Iterator[FieldError]:
    data = secret.get("data") or {}
    yield from _keys(data, "data")
    size = 0
    for value in data.values():
        try:
            size += len(base64.b64decode(str(value), validate=True))
        except (ValueError, binascii.Error):
            continue  # told when the body was read
    if size > _SECRET_LIMIT:
        yield FieldError("FieldValueTooLong", "data", f"Too long: may not be more than {_SECRET_LIMIT} bytes")
    if old is not None and secret.get("type") != old.get("type"):
        yield invalid("type", secret.get("type"), "field is immutable")
    yield from _immutable(secret, old, "data")


def _config_map(config: Object, old: Old) -> Iterator[FieldError]:
    yield from _keys(config.get("data") or {}, "data")
    yield from _keys(config.get("binaryData") or {}, "binaryData")
    yield from _immutable(config, old, "data", "binaryData")


def _claim(claim: Object, old: Old) -> Iterator[FieldError]:
    spec = claim.get("spec") or {}
    if not spec.get("accessModes"):
        yield required("spec.accessModes", "at least 1 access mode is required")
    if "storage" not in ((spec.get("resources") or {}).get("requests") or {}):
        yield required("spec.resources[storage]")
    if old is not None:
        fixed = {
            k: v for k, v in spec.items() if k not in ("resources", "volumeName", "volumeAttributesClassName")
        }
        before = {k: v for k, v in (old.get("spec") or {}).items() if k in fixed}
        if any(fixed[name] != before.get(name) for name in fixed):
            yield forbidden("spec", "spec is immutable after creation except resources.requests and "
                                    "volumeAttributesClassName for bound claims")  # fmt: skip


def _event(event: Object, _old: Old) -> Iterator[FieldError]:
    namespace = (event.get("involvedObject") or {}).get("namespace", "")
    own = event["metadata"].get("namespace", "")
    if namespace != own and not (not namespace and own == "default"):
        yield invalid("involvedObject.namespace", namespace, "does not match event.namespace")


def _lease(lease: Object, _old: Old) -> Iterator[FieldError]:
    spec = lease.get("spec") or {}
    seconds, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if isinstance(seconds, int) and seconds <= 0:
        yield invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0")
    if isinstance(transitions, int) and transitions < 0:
        yield invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0")


def _webhooks(configuration: Object, _old: Old) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, webhook in enumerate(configuration.get("webhooks") or []):
        path, name = f"webhooks[{index}]", str(webhook.get("name", ""))
        if not is_dns_subdomain(name) or name.count(".") < 2:
            yield invalid(
                f"{path}.name", name, "should be a domain with at least three segments separated by dots"
            )
        if name in seen:
            yield duplicate(f"{path}.name", name)
        seen.add(name)
        if not webhook.get("admissionReviewVersions"):
            yield required(f"{path}.admissionReviewVersions", "must specify one of v1, v1beta1")
        effects = ("None", "NoneOnDryRun")
        if "sideEffects" not in webhook:
            yield required(f"{path}.sideEffects", "must specify one of None, NoneOnDryRun")
        yield from _one_of(webhook.get("sideEffects"), f"{path}.sideEffects", effects)
        yield from _one_of(webhook.get("failurePolicy"), f"{path}.failurePolicy", ("Fail", "Ignore"))
        seconds = webhook.get("timeoutSeconds", 10)
        if not 1 <= seconds <= 30:
            yield invalid(
                f"{path}.timeoutSeconds", seconds, "the timeout value must be between 1 and 30 seconds"
            )
        client = webhook.get("clientConfig") or {}
        if ("url" in client) == ("service" in client):
            yield required(f"{path}.clientConfig", "exactly one of url or service is required")
        elif "url" in client and not str(client["url"]).startswith("https://"):
            yield invalid(f"{path}.clientConfig.url", client["url"], "'https' is the only allowed URL scheme")


_RULES: dict[str, Callable[[Object, Old], Iterator[FieldError]]] = {
    "pods": _pod,
    "jobs.batch": _job,
    "cronjobs.batch": _cronjob,
    "secrets": _secret,
    "configmaps": _config_map,
    "persistentvolumeclaims": _claim,
    "events": _event,
    "leases.coordination.k8s.io": _lease,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
    "customresourcedefinitions.apiextensions.k8s.io": lambda crd, old: iter(crd_errors(crd, old)),
}
