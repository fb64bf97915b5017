"""A policy's drills: when one is due, its Job, and how its outcome is told.

A drill brings the newest good backup back into an etcd of its own, by the snapshot's id. It is held when it
is due, or as soon after as there is a backup and no other drill runs. Its outcome stands on the policy and
on the record of the backup that was brought back.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kubedr_server.api import cron_times
from kubedr_server.api.backup_location import BackupLocation
from kubedr_server.api.conditions import ConditionType, EventReason
from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicy
from kubedr_server.api.metadata_backup_record import MetadataBackupRecord
from kubedr_server.contract import Operation
from kubedr_server.controllers import conditions, jobs
from kubedr_server.controllers.conditions import whole_second
from kubedr_server.controllers.decision import Announcement, Create, Merge, Write
from kubedr_server.controllers.jobs import Report
from kubedr_server.controllers.run import Run, remembered
from kubedr_server.controllers.settings import TOLD_ANNOTATION
from kubedr_server.kube.resources import JOBS, METADATA_BACKUP_RECORDS
from kubedr_server.manifests.jobs import drill_job
from kubedr_server.manifests.labels import Label, subject_name
from kubedr_server.manifests.settings import RunnerSettings


@dataclass(frozen=True)
class DrillState:
    """What a decision about a policy's drills depends on, beside the policy and its location."""

    runs: tuple[Run, ...] = ()
    """The policy's drills that are not told, the oldest first."""

    record: MetadataBackupRecord | None = None
    """The record that the first of them brought back; without one, that of the newest good backup."""


@dataclass(frozen=True)
class DrillDecision:
    """The part of a policy's decision that is about drills."""

    before: tuple[Write, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)
    condition: tuple[conditions.ConditionStatus, str, str] | None = None
    """Status, reason and message of the condition RestoreVerified; None if it stays as it is."""

    events: tuple[Announcement, ...] = ()
    after: tuple[Write, ...] = ()
    wake_at: datetime | None = None


def decide(
    policy: MetadataBackupPolicy,
    location: BackupLocation | None,
    state: DrillState,
    runner: RunnerSettings,
    now: datetime,
) -> DrillDecision:
    """Return what to do about a policy's drills now."""
    if state.runs and jobs.ended(state.runs[0].job) is not None:
        return _told(policy, state.runs[0], state.record, now)
    schedule = policy.spec.drill_schedule
    if schedule is None or policy.spec.suspend:
        return DrillDecision(fields={"next_drill_time": None})
    due = _due(policy, schedule, now)
    waiting = DrillDecision(fields={"next_drill_time": due}, wake_at=due)
    if due is None or now < due:
        return waiting
    if state.runs or location is None or state.record is None:
        # It is held as soon as it can be: a change of any of them comes here again.
        return DrillDecision(fields={"next_drill_time": due})
    if state.record.metadata.deletion_timestamp is not None:
        return DrillDecision(fields={"next_drill_time": due})
    job = drill_job(policy, location, state.record, runner, str(int(due.timestamp()) // 60))
    following = _next(schedule, now)
    return DrillDecision(
        before=(Create(JOBS, job),), fields={"next_drill_time": following}, wake_at=following
    )


def _due(policy: MetadataBackupPolicy, schedule: str, now: datetime) -> datetime | None:
    """Return when the next drill is due: as noted, unless the spec or the clock was changed since."""
    noted, following = policy.status.next_drill_time, _next(schedule, now)
    if noted is None or policy.status.observed_generation != policy.metadata.generation:
        return following
    return noted if following is None else min(noted, following)


def _next(schedule: str, now: datetime) -> datetime | None:
    try:
        return cron_times.parse(schedule, cron_times.zone_of(None))(now)
    except cron_times.ScheduleError:
        return None  # stored while no webhook was up


def _told(
    policy: MetadataBackupPolicy, run: Run, record: MetadataBackupRecord | None, now: datetime
) -> DrillDecision:
    before = remembered(policy.status.conditions, ConditionType.RESTORE_VERIFIED, run.name)
    report = jobs.report(run.job, run.pods, Operation.DRILL, before)
    outcome = "Completed" if report.succeeded else "Failed"
    mark = Merge(
        JOBS,
        run.job["metadata"]["namespace"],
        run.name,
        {"metadata": {"uid": run.uid, "annotations": {TOLD_ANNOTATION: outcome}}},
    )
    time = whole_second(report.time)
    name = subject_name(run.job["metadata"], Label.RECORD)
    status = policy.status
    if (status.drill_time, status.drill_mbr_name, status.drill_status) == (time, name, outcome):
        return DrillDecision(after=(mark,))
    seconds = _seconds(report)
    fields: dict[str, Any] = {
        "drill_status": outcome,
        "drill_time": time,
        "drill_mbr_name": name,
        "drill_error_message": None if report.succeeded else report.message,
    }
    if report.succeeded:
        fields["recovery_duration_secs"] = seconds
        event = Announcement("Normal", EventReason.DRILL_SUCCEEDED, report.message)
    else:
        event = Announcement("Warning", EventReason.DRILL_FAILED, report.message)
    verdict: conditions.ConditionStatus = "True" if report.succeeded else "False"
    return DrillDecision(
        before=_on_record(record, report, verdict, seconds, now),
        fields=fields,
        condition=(verdict, report.reason, report.message),
        events=(event,),
        after=(mark,),
    )


def _on_record(
    record: MetadataBackupRecord | None,
    report: Report,
    verdict: conditions.ConditionStatus,
    seconds: str | None,
    now: datetime,
) -> tuple[Write, ...]:
    if record is None:
        return ()
    metadata = record.metadata
    condition = conditions.condition(
        ConditionType.RESTORE_VERIFIED,
        verdict,
        report.reason,
        report.message,
        generation=metadata.generation,
        now=now,
    )
    update: dict[str, Any] = {
        "drill_time": whole_second(report.time),
        "conditions": conditions.merge(record.status.conditions, [condition]),
    }
    if seconds is not None:
        update["recovery_duration_secs"] = seconds
    status = record.status.model_copy(update=update)
    body = {"metadata": {"resourceVersion": metadata.resource_version}, "status": status.to_wire()}
    return (Merge(METADATA_BACKUP_RECORDS, metadata.namespace, metadata.name, body, "status"),)


def _seconds(report: Report) -> str | None:
    result = report.result.drill if report.result is not None else None
    return f"{result.recovery_duration_secs:.3f}" if result is not None else None
