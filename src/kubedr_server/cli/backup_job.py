"""The Job of a backup that somebody asks for: the one that `kubectl create job --from=cronjob/…` makes."""

import random
from collections.abc import Mapping
from typing import Any, Final

from kubedr_server.api.names import MAX_JOB_NAME

MANUAL: Final = {"cronjob.kubernetes.io/instantiate": "manual"}
"""What kubectl writes on a Job that it makes from a CronJob."""

_MIDDLE: Final = "-manual-"
# As in the names that Kubernetes itself generates: no vowels, so no words, and no look-alikes.
_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"
_RANDOM_LENGTH: Final = 5


def new_name(policy: str, rng: random.Random) -> str:
    """Return a name for a Job of a policy, such as `nightly-manual-x7k2p`: readable, and never too long."""
    room = MAX_JOB_NAME - len(_MIDDLE) - _RANDOM_LENGTH
    kept = policy[:room].rstrip("-.").replace(".", "-")
    return f"{kept}{_MIDDLE}{''.join(rng.choices(_LETTERS, k=_RANDOM_LENGTH))}"


def job_from(cronjob: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the Job of this name that runs a CronJob's template now.

    The CronJob controls it, so that it is one of the policy's backups like those of the schedule: the
    controllers tell its outcome, and the CronJob's history limits remove it. `blockOwnerDeletion` is left
    out as kubectl does: it would take the permission to change the CronJob's finalizers.
    """
    template = cronjob["spec"]["jobTemplate"]
    metadata = template.get("metadata") or {}
    owner = cronjob["metadata"]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": owner["namespace"],
            "annotations": {**MANUAL, **(metadata.get("annotations") or {})},
            "labels": dict(metadata.get("labels") or {}),
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1",
                    "kind": "CronJob",
                    "name": owner["name"],
                    "uid": owner["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": template["spec"],
    }
