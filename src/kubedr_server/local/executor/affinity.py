"""Whether a pod may run on a node: nodeName, nodeSelector, required node affinity, taints. Pure."""

from collections.abc import Mapping

from kubedr_server.local.executor.objects import Object, name_of

_REPELLING = {"NoSchedule", "NoExecute"}


def refusal(pod: Object, node: Object) -> str | None:
    """Return why the pod cannot run on the node, in the scheduler's words, or None if it can."""
    spec, labels = pod["spec"], node["metadata"].get("labels") or {}
    selector = spec.get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in selector.items()):
        return "node(s) didn't match Pod's node affinity/selector"
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    # The terms of a selector are alternatives; the expressions of a term all have to hold.
    if required is not None and not any(
        _term_matches(term, node, labels) for term in required.get("nodeSelectorTerms") or []
    ):
        return "node(s) didn't match Pod's node affinity/selector"
    node_spec = node.get("spec") or {}
    if node_spec.get("unschedulable"):
        return "node(s) were unschedulable"
    for taint in node_spec.get("taints") or []:
        if taint["effect"] in _REPELLING and not any(
            _tolerates(toleration, taint) for toleration in spec.get("tolerations") or []
        ):
            return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value') or ''}}}"
    return None


def _term_matches(term: Object, node: Object, labels: Mapping[str, str]) -> bool:
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not fields:
        return False  # an empty term matches nothing
    names = {"metadata.name": name_of(node)}
    return all(_holds(each, labels) for each in expressions) and all(_holds(each, names) for each in fields)


def _holds(expression: Object, labels: Mapping[str, str]) -> bool:
    key, operator, values = expression["key"], expression["operator"], expression.get("values") or []
    value = labels.get(key)
    match operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            try:
                number, limit = int(value or ""), int(values[0])
            except (ValueError, IndexError):
                return False
            return number > limit if operator == "Gt" else number < limit
        case _:
            return False


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("key") in (None, ""):
        return toleration.get("operator") == "Exists"
    if toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return (toleration.get("value") or "") == (taint.get("value") or "")
