"""The pod that a runner works in: what all operations have in common, and how little it may do."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from kubedr_server import contract
from kubedr_server.contract import Env, Operation
from kubedr_server.manifests.parts import Part, join, scratch, variable
from kubedr_server.manifests.settings import RunnerSettings

NON_ROOT = 65532
"""The user and group of every pod that need not read files of root."""

TERMINATION_GRACE_SECONDS = 60
"""Time for restic to remove its lock, and for the result to be written, when a pod is told to end."""

_REPORTING_MARGIN_SECONDS = 30


@dataclass(frozen=True)
class Placement:
    """Where and as whom a pod runs. The default suits an operation that only talks to the storage."""

    root: bool = False
    host_network: bool = False
    affinity: dict[str, Any] | None = None
    tolerations: list[dict[str, Any]] | None = None


def pod_spec(
    operation: Operation,
    part: Part,
    settings: RunnerSettings,
    deadline_seconds: int,
    placement: Placement | None = None,
    resources: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a runner's pod. `deadline_seconds` is its Job's activeDeadlineSeconds.

    The pod can read all of etcd, so it gets no token for the API server; it reports by its
    termination message.
    """
    placement = placement or Placement()
    whole = join((_common(deadline_seconds, settings), scratch(), part))
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "serviceAccountName": settings.service_account_name,
        # Variables such as MINIO_PORT, made of the namespace's Services, could be taken for settings.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": TERMINATION_GRACE_SECONDS,
        "securityContext": _pod_security(placement),
        "containers": [_container(operation, whole, settings, resources)],
        "volumes": list(whole.volumes),
    }
    if placement.host_network:
        pod["hostNetwork"] = True
        pod["dnsPolicy"] = "ClusterFirstWithHostNet"
    if placement.affinity is not None:
        pod["affinity"] = placement.affinity
    if placement.tolerations is not None:
        pod["tolerations"] = deepcopy(placement.tolerations)
    if settings.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    if settings.priority_class_name is not None:
        pod["priorityClassName"] = settings.priority_class_name
    return pod


def runner_deadline(job_deadline_seconds: int) -> int:
    """Return how long the runner may work: less than its Job, so that it can still report.

    When a Job's own deadline passes, its pods are deleted, and the result with them.
    """
    return job_deadline_seconds - min(_REPORTING_MARGIN_SECONDS, job_deadline_seconds // 4)


def _common(deadline_seconds: int, settings: RunnerSettings) -> Part:
    return Part(
        env=(
            # The Job's uid: one run, one id, also for a Job that was made by hand from the CronJob.
            {
                "name": Env.RUN_ID.value,
                "valueFrom": {
                    "fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/controller-uid']"}
                },
            },
            variable(Env.RESULT_PATH, contract.TERMINATION_MESSAGE_PATH),
            variable(Env.DEADLINE_SECONDS, str(runner_deadline(deadline_seconds))),
            variable(Env.CLUSTER_ID, settings.cluster_id),
        )
    )


def _container(
    operation: Operation, part: Part, settings: RunnerSettings, resources: dict[str, Any] | None
) -> dict[str, Any]:
    return {
        "name": contract.CONTAINER_NAME,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": contract.command(operation),
        "env": list(part.env),
        "volumeMounts": list(part.mounts),
        "resources": deepcopy(settings.resources if resources is None else resources),
        "terminationMessagePath": contract.TERMINATION_MESSAGE_PATH,
        # Never the log's end: what is not a result must not be taken for one.
        "terminationMessagePolicy": "File",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            # Not even DAC_READ_SEARCH for root: with it a process can open any file of the node by its
            # handle, past its mounts. Root reads what root owns; the runner names any file it cannot read.
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _pod_security(placement: Placement) -> dict[str, Any]:
    context: dict[str, Any] = {"seccompProfile": {"type": "RuntimeDefault"}}
    if placement.root:
        return {"runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": False, **context}
    return {
        "runAsUser": NON_ROOT,
        "runAsGroup": NON_ROOT,
        "runAsNonRoot": True,
        # Gives the user its Secrets (mode 0400 becomes 0440 for this group) and its volumes.
        "fsGroup": NON_ROOT,
        "fsGroupChangePolicy": "OnRootMismatch",
        **context,
    }
