"""What a policy says of backups that were due and never began: its status, its condition Ready, an Event."""

from datetime import UTC, datetime
from typing import Any

from kubedr_server.api.conditions import EventReason
from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicy
from kubedr_server.controllers.conditions import whole_second
from kubedr_server.controllers.decision import Announcement
from kubedr_server.controllers.policy.missed import GRACE, Missed, Seen, look
from kubedr_server.manifests.cronjob import schedule_of
from kubedr_server.manifests.settings import RunnerSettings


def find(
    policy: MetadataBackupPolicy, seen: Seen | None, runner: RunnerSettings, now: datetime
) -> Missed | None:
    """Look for runs that were due and never began; None while none is due, or nothing is known."""
    if policy.spec.suspend or seen is None:
        return None
    since = policy.status.missed_checked_time
    if since is None or _is_moved(policy, runner) or since > now + GRACE:  # the last: a clock was set back
        return Missed(whole_second(now))
    spec = policy.spec
    return look(schedule_of(policy, runner), spec.time_zone, since, now, spec.starting_deadline_seconds, seen)


def fields(policy: MetadataBackupPolicy, found: Missed | None, runner: RunnerSettings) -> dict[str, Any]:
    """Return the status fields."""
    update: dict[str, Any] = {"effective_schedule": _shown_schedule(policy, runner)}
    if policy.spec.suspend:
        update["missed_checked_time"] = None
    elif found is not None:
        update["missed_checked_time"] = found.checked_until
        last = policy.status.last_missed_time
        if last is not None and last > found.checked_until and _is_moved(policy, runner):
            # What a clock that was wrong has told ahead says nothing of another schedule's times.
            update["last_missed_time"] = None
        if found.count:
            update["missed_runs"] = (policy.status.missed_runs or 0) + found.count
            update["last_missed_time"] = found.last
    return update


def sentence(
    policy: MetadataBackupPolicy, found: Missed | None, finished: datetime | None, now: datetime
) -> str | None:
    """Return what is wrong, if a run has not begun and no backup has finished since.

    `finished` is when the backup ended that is being told; else the status knows the last one.
    """
    if policy.spec.suspend:
        return None
    if found is not None and found.overdue is not None:
        return (
            f"a backup was due at {_shown(found.overdue)} and has not started: look whether the cluster's "
            "controller manager runs, and whether it can create Jobs in this namespace"
        )
    last = found.last if found is not None and found.last else policy.status.last_missed_time
    finished = finished or policy.status.backup_time
    # One that lies ahead was told by a clock that has been set back since.
    if last is None or last > now + GRACE or (finished is not None and finished >= last):
        return None
    return f"the backup that was due at {_shown(last)} never started"


def events(found: Missed | None) -> tuple[Announcement, ...]:
    """Return the Event about what a look has found."""
    if found is None or found.first is None or found.last is None:
        return ()
    if found.count == 1:
        text = f"the backup that was due at {_shown(found.first)} never started"
    else:
        text = f"{found.count} backups, due from {_shown(found.first)} to {_shown(found.last)}, never started"
    if found.because_busy == found.count:
        text += ": the one before was still running"
    elif found.because_busy:
        text += f"; for {found.because_busy} of them the one before was still running"
    return (Announcement("Warning", EventReason.BACKUP_MISSED, text),)


def _is_moved(policy: MetadataBackupPolicy, runner: RunnerSettings) -> bool:
    return policy.status.effective_schedule != _shown_schedule(policy, runner)


def _shown_schedule(policy: MetadataBackupPolicy, runner: RunnerSettings) -> str:
    zone = policy.spec.time_zone
    return schedule_of(policy, runner) + (f" {zone}" if zone else "")


def _shown(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
