"""A Job's podFailurePolicy: what a failed pod means, by its exit code or its conditions."""

from dataclasses import dataclass
from typing import Literal

from kubedr_server.local.executor.job_pods import exit_code
from kubedr_server.local.executor.objects import Object, condition_of, name_of, namespace_of


@dataclass(frozen=True)
class Verdict:
    """What the first rule that matches says. FailIndex is only for Indexed Jobs and counts as Count."""

    action: Literal["FailJob", "Ignore", "Count"]
    message: str = ""


COUNT = Verdict("Count")


def judge(job: Object, pod: Object) -> Verdict:
    """Apply the Job's rules to a failed pod. Without a rule that matches, the failure counts."""
    for index, rule in enumerate((job["spec"].get("podFailurePolicy") or {}).get("rules") or []):
        matched = _by_exit_code(rule, pod) or _by_condition(rule, pod)
        if matched is None:
            continue
        action = rule["action"]
        if action == "FailJob":
            return Verdict("FailJob", f"{matched} matching FailJob rule at index {index}")
        return Verdict("Ignore") if action == "Ignore" else COUNT
    return COUNT


def _by_exit_code(rule: Object, pod: Object) -> str | None:
    wanted, failed = rule.get("onExitCodes"), exit_code(pod)
    if not wanted or failed is None:
        return None
    container, code = failed
    if wanted.get("containerName") not in (None, container):
        return None
    if (code in wanted["values"]) != (wanted["operator"] == "In"):
        return None
    return f"Container {container} for pod {namespace_of(pod)}/{name_of(pod)} failed with exit code {code}"


def _by_condition(rule: Object, pod: Object) -> str | None:
    for pattern in rule.get("onPodConditions") or []:
        condition = condition_of(pod, pattern["type"])
        if condition and condition["status"] == pattern.get("status", "True"):
            return f"Pod {namespace_of(pod)}/{name_of(pod)} has condition {pattern['type']}"
    return None
