"""How the outcome of one ended backup is told: record, status, Event, and last a mark on the Job.

The mark says that all of it was done. Should the process end in between, or the mark not be written, the
Job is told again: the names of the record and of the Event follow from what they tell, and `status.lastJob`
says that the status (with its count of failures) has this outcome already, so that nothing is told or
counted twice.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubedr_server.api.conditions import EventReason
from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicy
from kubedr_server.contract import BackupResult
from kubedr_server.controllers.conditions import whole_second
from kubedr_server.controllers.decision import Announcement, Merge, Object, Write
from kubedr_server.controllers.jobs import Report
from kubedr_server.controllers.policy import record
from kubedr_server.controllers.policy.state import Untold
from kubedr_server.controllers.settings import TOLD_ANNOTATION
from kubedr_server.kube.resources import JOBS
from kubedr_server.manifests.labels import Label, subject_name


@dataclass(frozen=True)
class Told:
    """The parts of a decision that tell one outcome. `fields` are the policy's status fields."""

    before: tuple[Write, ...]
    fields: dict[str, Any]
    events: tuple[Announcement, ...]
    after: tuple[Write, ...]
    counted: Report | None


def is_told(job: Object) -> bool:
    """Whether a Job's outcome has been told wholly."""
    return TOLD_ANNOTATION in (job["metadata"].get("annotations") or {})


def tell(untold: Untold, policy: MetadataBackupPolicy, now: datetime) -> Told:
    """Return what tells an outcome: all of it, or what the status does not have yet."""
    report, job = untold.report, untold.run.job
    outcome = "Completed" if report.succeeded else "Failed"
    mark = Merge(
        JOBS,
        job["metadata"]["namespace"],
        report.job,
        {"metadata": {"uid": report.job_uid, "annotations": {TOLD_ANNOTATION: outcome}}},
    )
    event = (
        Announcement("Normal", EventReason.BACKUP_SUCCEEDED, report.message, report.job_uid)
        if report.succeeded
        else Announcement("Warning", EventReason.BACKUP_FAILED, report.message, report.job_uid)
    )
    if policy.status.last_job == report.job_uid:
        return Told((), {}, (event,), (mark,), None)
    before: tuple[Write, ...] = ()
    fields = _common(report, outcome)
    backup = report.result.backup if report.succeeded and report.result is not None else None
    if backup is not None and untold.slot is not None:
        # The destination of the time when the Job was made: the policy may name another one by now.
        location = subject_name(job["metadata"], Label.LOCATION) or policy.spec.destination
        made = job["metadata"].get("creationTimestamp")
        job_made = datetime.fromisoformat(made) if made else None
        before = record.writes(policy, location, report, backup, untold.slot, now, job_made)
        fields |= _success(report, backup, untold.slot.name)
    else:
        fields |= {
            "backup_error_message": report.message,
            "consecutive_failures": (policy.status.consecutive_failures or 0) + 1,
        }
    return Told(before, fields, (event,), (mark,), report)


def _common(report: Report, outcome: str) -> dict[str, Any]:
    return {
        "backup_status": outcome,
        "backup_time": whole_second(report.time),
        "backup_error_message": None,
        "backup_pod": report.pod,
        "last_job": report.job_uid,
    }


def _success(report: Report, backup: BackupResult, record_name: str) -> dict[str, Any]:
    return {
        "files_new": backup.files_new,
        "files_changed": backup.files_changed,
        "data_added": backup.data_added,
        "total_bytes_processed": backup.total_bytes_processed,
        "total_duration_secs": f"{backup.total_duration_secs:.3f}",
        "snapshot_id": backup.snapshot_id,
        "mbr_name": record_name,
        "last_success_time": whole_second(report.time),
        "consecutive_failures": 0,
    }
