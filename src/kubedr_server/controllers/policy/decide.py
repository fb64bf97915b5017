"""What to do about a policy now. Pure: see `PolicyState` for all that it depends on.

The CronJob exists while the location exists, initialised or not: a backup that is due and cannot
be stored is a failed backup that is told, not one that silently never was. If the location is gone, the
CronJob is suspended, not deleted, because deleting it would end a backup that is under way.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kubedr_server.api.base import Condition
from kubedr_server.api.conditions import ConditionType, Reason
from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicy, MetadataBackupPolicyStatus
from kubedr_server.controllers import conditions, retention, schedule
from kubedr_server.controllers.conditions import ConditionStatus
from kubedr_server.controllers.decision import Apply, Decision, Delete, Merge, Write
from kubedr_server.controllers.jobs import Report
from kubedr_server.controllers.policy import cronjob, drill, neglect, tell
from kubedr_server.controllers.policy.state import PolicyState
from kubedr_server.controllers.run import trouble
from kubedr_server.kube.resources import CRONJOBS, METADATA_BACKUP_RECORDS
from kubedr_server.manifests.cronjob import backup_cronjob, schedule_of
from kubedr_server.manifests.settings import RunnerSettings

_AFTER_SCHEDULE_SECONDS = 15.0
"""How long after a backup is due its Job should be there: then the next time is worked out anew."""


@dataclass(frozen=True)
class PolicyDecision(Decision):
    """A decision, and what is to be counted once it is carried out."""

    status: MetadataBackupPolicyStatus = field(default_factory=MetadataBackupPolicyStatus)
    counted: Report | None = None
    """The outcome that this decision tells for the first time."""


@dataclass(frozen=True)
class _Finding:
    """One condition before it has a time."""

    type: ConditionType
    status: ConditionStatus
    reason: str
    message: str


def decide(state: PolicyState, runner: RunnerSettings, now: datetime) -> PolicyDecision:
    """Return what to do about a policy now."""
    policy = state.policy
    destination = _destination(state)
    scheduled, cron_writes = _schedule(state, runner)
    told = tell.tell(state.untold, policy, now) if state.untold is not None else None
    backed_up = _backup(state, told)
    found = neglect.find(policy, state.seen, runner, now)
    finished = told.fields.get("backup_time") if told else None
    ready = _ready(state, destination, scheduled, backed_up, neglect.sentence(policy, found, finished, now))
    drilled = drill.decide(policy, state.location, state.drills, runner, now)
    findings = [destination, scheduled, backed_up, ready, *_drill_finding(policy, drilled)]
    next_due = None
    if scheduled.status == "True" and not policy.spec.suspend:
        next_due = schedule.next_time(schedule_of(policy, runner), policy.spec.time_zone, now)
    live_status: dict[str, Any] = dict((state.cronjob or {}).get("status") or {})
    last_due = live_status.get("lastScheduleTime")
    update: dict[str, Any] = {
        **(told.fields if told else {}),
        **neglect.fields(policy, found, runner),
        **drilled.fields,
        "observed_generation": policy.metadata.generation,
        "next_schedule_time": next_due,
        "last_schedule_time": datetime.fromisoformat(last_due)
        if last_due
        else policy.status.last_schedule_time,
        "conditions": conditions.merge(
            policy.status.conditions,
            [_made(finding, policy.metadata.generation, now) for finding in findings],
        ),
    }
    wakes = [] if next_due is None else [(next_due - now).total_seconds() + _AFTER_SCHEDULE_SECONDS]
    if found is not None and found.look_again is not None:
        wakes.append(max(0.0, (found.look_again - now).total_seconds()))
    if drilled.wake_at is not None:
        wakes.append(max(0.0, (drilled.wake_at - now).total_seconds()))
    return PolicyDecision(
        before=(*cron_writes, *(told.before if told else ()), *drilled.before),
        status=policy.status.model_copy(update=update),
        events=(*(told.events if told else ()), *neglect.events(found), *drilled.events),
        after=(*(told.after if told else ()), *drilled.after, *_expire(state)),
        wake_after=0.0 if state.more_untold else min(wakes, default=None),
        counted=told.counted if told else None,
    )


def _drill_finding(policy: MetadataBackupPolicy, drilled: drill.DrillDecision) -> tuple[_Finding, ...]:
    """Return the condition RestoreVerified, where there is, or was, a schedule of drills."""
    type_ = ConditionType.RESTORE_VERIFIED
    known = conditions.find(policy.status.conditions, type_)
    if drilled.condition is not None:
        return (_Finding(type_, *drilled.condition),)
    if known is not None:
        return (_Finding(type_, known.status, known.reason, known.message),)
    if policy.spec.drill_schedule is None:
        return ()
    return (_Finding(type_, "Unknown", Reason.NOT_CHECKED_YET, "no drill has finished yet"),)


def _destination(state: PolicyState) -> _Finding:
    name, location = state.policy.spec.destination, state.location
    type_ = ConditionType.DESTINATION_READY
    if location is None:
        return _Finding(type_, "False", Reason.NOT_FOUND, f"BackupLocation {name} does not exist; create it")
    ready = conditions.find(location.status.conditions, ConditionType.READY)
    if ready is None:
        return _Finding(type_, "False", Reason.PENDING, f"BackupLocation {name} has not been looked at yet")
    if ready.status != "True":
        return _Finding(
            type_, "False", Reason.NOT_READY, f"BackupLocation {name} is not ready: {ready.message}"
        )
    return _Finding(type_, "True", Reason.READY, f"BackupLocation {name} is ready")


def _schedule(state: PolicyState, runner: RunnerSettings) -> tuple[_Finding, tuple[Write, ...]]:
    """Return the condition Scheduled, and what makes the CronJob so."""
    policy, live, type_ = state.policy, state.cronjob, ConditionType.SCHEDULED
    name = live["metadata"]["name"] if live else ""
    owner = cronjob.foreign_owner(live, policy) if live else None
    if owner is not None:
        text = (
            f"CronJob {name} belongs to {owner} and is left alone; rename the policy, or delete the CronJob"
        )
        return _Finding(type_, "False", Reason.CONFLICT, text), ()
    if state.location is None:
        return _without_location(state)
    wanted = cronjob.stamped(backup_cronjob(policy, state.location, runner))
    name = wanted["metadata"]["name"]
    is_same = live is not None and cronjob.difference(live, wanted, state.settled) is None
    writes = () if is_same else (Apply(CRONJOBS, wanted),)
    if policy.spec.suspend:
        text = f"CronJob {name} is suspended, as the spec says"
        return _Finding(type_, "True", Reason.SUSPENDED, text), writes
    return _Finding(type_, "True", Reason.SYNCED, f"CronJob {name} is what the spec says"), writes


def _without_location(state: PolicyState) -> tuple[_Finding, tuple[Write, ...]]:
    destination, live = state.policy.spec.destination, state.cronjob
    if live is None:
        text = f"the CronJob is made once BackupLocation {destination} exists"
        return _Finding(ConditionType.SCHEDULED, "False", Reason.NOT_FOUND, text), ()
    metadata = live["metadata"]
    text = f"CronJob {metadata['name']} is suspended until BackupLocation {destination} exists again"
    writes: tuple[Write, ...] = ()
    if not (live.get("spec") or {}).get("suspend"):
        body = {"metadata": {"uid": metadata["uid"]}, "spec": {"suspend": True}}
        writes = (Merge(CRONJOBS, metadata["namespace"], metadata["name"], body),)
    return _Finding(ConditionType.SCHEDULED, "False", Reason.NOT_FOUND, text), writes


def _backup(state: PolicyState, told: tell.Told | None) -> _Finding:
    """Return the condition BackupSucceeded: the last finished backup, or what was known before."""
    if told is not None and told.counted is not None:
        report = told.counted
        status: ConditionStatus = "True" if report.succeeded else "False"
        return _Finding(ConditionType.BACKUP_SUCCEEDED, status, report.reason, report.message)
    known = conditions.find(state.policy.status.conditions, ConditionType.BACKUP_SUCCEEDED)
    if known is None:
        return _Finding(
            ConditionType.BACKUP_SUCCEEDED, "Unknown", Reason.NO_BACKUP_YET, "no backup has finished yet"
        )
    return _Finding(ConditionType.BACKUP_SUCCEEDED, known.status, known.reason, known.message)


def _ready(
    state: PolicyState,
    destination: _Finding,
    scheduled: _Finding,
    backed_up: _Finding,
    neglected: str | None,
) -> _Finding:
    """Return the summary: the first thing that is wrong, else that all is well."""
    # Without a location, the destination says more than its consequence for the CronJob.
    for part in (destination, scheduled):
        if part.status != "True":
            return _Finding(ConditionType.READY, "False", part.reason, part.message)
    known = state.policy.status.conditions
    stuck = trouble(state.active[-1], known, ConditionType.READY) if state.active else None
    if stuck is not None:
        return _Finding(ConditionType.READY, "False", stuck.reason, stuck.message)
    if backed_up.status == "False":
        return _Finding(ConditionType.READY, "False", backed_up.reason, backed_up.message)
    if neglected is not None:
        return _Finding(ConditionType.READY, "False", Reason.MISSED, neglected)
    if scheduled.reason == Reason.SUSPENDED:
        return _Finding(ConditionType.READY, "True", Reason.SUSPENDED, scheduled.message)
    text = "no backup has finished yet" if backed_up.status == "Unknown" else backed_up.message
    return _Finding(ConditionType.READY, "True", Reason.READY, text)


def _expire(state: PolicyState) -> tuple[Write, ...]:
    """Return the deletion of what no retention rule keeps. The records' own controller does the rest."""
    return tuple(
        Delete(METADATA_BACKUP_RECORDS, record.metadata.namespace, record.metadata.name, record.metadata.uid)
        for record in retention.expired(
            state.records, retention.Keep.of(state.policy.spec), state.policy.status.mbr_name
        )
    )


def _made(finding: _Finding, generation: int, now: datetime) -> Condition:
    return conditions.condition(
        finding.type, finding.status, finding.reason, finding.message, generation=generation, now=now
    )
