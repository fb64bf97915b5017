"""What the builders need to know beside the custom resources. The server reads it once, at start-up."""

from dataclasses import dataclass, field
from typing import Any


def _default_resources() -> dict[str, Any]:
    return {"requests": {"cpu": "100m", "memory": "128Mi"}}


@dataclass(frozen=True)
class RunnerSettings:
    """How this installation runs its pods."""

    image: str
    """The backup image, by tag or digest."""

    cluster_id: str
    """The uid of the cluster's kube-system namespace; every snapshot is tagged with it."""

    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    service_account_name: str = "kubedr-runner"
    """An account of the pods' own, in each resource's namespace: it needs no permission, and no token of it
    is mounted."""

    priority_class_name: str | None = None

    job_deadline_seconds: int = 600
    """How long an initialisation, a look at the repository or the forgetting of a snapshot may take."""

    maintenance_deadline_seconds: int = 6 * 3600
    """How long a check or a prune of a repository may take."""

    restore_deadline_seconds: int = 6 * 3600
    """How long a restore may take."""

    ttl_seconds_after_finished: int = 3600
    """How long a finished Job that no CronJob counts stays to be looked at."""

    resources: dict[str, Any] = field(default_factory=_default_resources)
    """Requests and limits of a container whose policy names none."""
