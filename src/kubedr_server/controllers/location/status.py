"""A location's status: what was found, as conditions, and the summary of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubedr_server.api.backup_location import BackupLocation, BackupLocationStatus
from kubedr_server.api.base import Condition
from kubedr_server.api.conditions import ConditionType, Reason
from kubedr_server.controllers import conditions
from kubedr_server.controllers.conditions import ConditionStatus


@dataclass(frozen=True)
class Finding:
    """One condition before it has a time."""

    type: ConditionType
    status: ConditionStatus
    reason: str
    message: str

    def is_news(self, known: Sequence[Condition]) -> bool:
        """Whether it says something else than what is known, beyond other words."""
        before = conditions.find(known, self.type)
        return before is None or (before.status, before.reason) != (self.status, str(self.reason))


def with_findings(
    location: BackupLocation, now: datetime, findings: Sequence[Finding], **fields: Any
) -> BackupLocationStatus:
    """Return the status with these fields and conditions; the others stay."""
    generation = location.metadata.generation
    wanted = [
        conditions.condition(
            found.type, found.status, found.reason, found.message, generation=generation, now=now
        )
        for found in findings
    ]
    return location.status.model_copy(
        update={
            **fields,
            "observed_generation": generation,
            "conditions": conditions.merge(location.status.conditions, wanted),
        }
    )


def unready(
    location: BackupLocation, now: datetime, reason: str, message: str, both: bool = True, **fields: Any
) -> BackupLocationStatus:
    """Return the status of one that cannot be used. Without `both`, what is known of the repository stays."""
    ready = Finding(ConditionType.READY, "False", reason, message)
    known = conditions.find(location.status.conditions, ConditionType.INITIALIZED)
    if not both and known is not None:
        return with_findings(location, now, [ready], **fields)
    initialised = Finding(ConditionType.INITIALIZED, "False", reason, message)
    return with_findings(location, now, [initialised, ready], **fields)


def usable(
    location: BackupLocation, now: datetime, message: str, findings: Sequence[Finding] = (), **fields: Any
) -> BackupLocationStatus:
    """Return the status of one with an initialised repository. It is ready unless the last look failed."""
    healthy: Finding | Condition | None = next(
        (found for found in findings if found.type is ConditionType.HEALTHY),
        conditions.find(location.status.conditions, ConditionType.HEALTHY),
    )
    initialised = Finding(ConditionType.INITIALIZED, "True", Reason.READY, message)
    if healthy is not None and healthy.status == "False":
        ready = Finding(ConditionType.READY, "False", healthy.reason, healthy.message)
    else:
        ready = Finding(ConditionType.READY, "True", Reason.READY, message)
    return with_findings(location, now, [initialised, *findings, ready], **fields)


def place(location: BackupLocation) -> str:
    """Return where the repository is, for a sentence."""
    spec = location.spec
    return f"in bucket {spec.bucket_name}" if spec.repository is None else spec.repository
