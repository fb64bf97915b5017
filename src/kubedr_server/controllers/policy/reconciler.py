"""Gathers a policy's state, and carries out what is decided."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from kubedr_server.api.backup_location import BackupLocation
from kubedr_server.api.conditions import ConditionType
from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicy, MetadataBackupPolicyStatus
from kubedr_server.api.metadata_backup_record import MetadataBackupRecord
from kubedr_server.api.names import RECORD_PREFIX, backup_cronjob_name, label_value
from kubedr_server.contract import Operation
from kubedr_server.controllers import conditions, jobs, retention, schedule
from kubedr_server.controllers.cluster import POLICY, scoped
from kubedr_server.controllers.decision import Object
from kubedr_server.controllers.jobs import Report
from kubedr_server.controllers.outcome import Done, Outcome
from kubedr_server.controllers.policy import missed, tell
from kubedr_server.controllers.policy.cronjob import Settled, settled
from kubedr_server.controllers.policy.decide import PolicyDecision, decide
from kubedr_server.controllers.policy.drill import DrillState
from kubedr_server.controllers.policy.record import ID_LENGTHS, Slot, is_record_of
from kubedr_server.controllers.policy.state import PolicyState, Untold
from kubedr_server.controllers.reconciler import Context, Read, outcome, read
from kubedr_server.controllers.run import Run, confirm, remembered, runs_of
from kubedr_server.controllers.settings import FOREIGN_LABEL
from kubedr_server.kube import errors
from kubedr_server.kube.cache import Key
from kubedr_server.kube.resources import (
    BACKUP_LOCATIONS,
    CRONJOBS,
    JOBS,
    METADATA_BACKUP_POLICIES,
    METADATA_BACKUP_RECORDS,
)
from kubedr_server.manifests.cronjob import schedule_of
from kubedr_server.manifests.labels import Label, subject_name
from kubedr_server.ops.backup_metrics import BackupMetrics


class PolicyReconciler:
    """Keeps a policy's CronJob and records, and tells the outcome of its backups."""

    resource = METADATA_BACKUP_POLICIES

    def __init__(self, context: Context, metrics: BackupMetrics) -> None:
        self._context = context
        self._metrics = metrics
        self._settled: dict[Key, Settled | None] = {}
        self._uncounted: dict[Key, Report] = {}
        """Outcomes that are being told: they count once the status has them, whatever fails in between."""

        self._since = context.clock()

    async def reconcile(self, key: Key) -> Outcome:
        """Make one policy so."""
        context = self._context
        found = await read(context.cluster, METADATA_BACKUP_POLICIES, MetadataBackupPolicy, key)
        if found is None:
            self._settled.pop(key, None)
            self._uncounted.pop(key, None)
            self._metrics.remove(key.namespace, key.name)
            return Done()
        policy = found.model
        if policy.metadata.deletion_timestamp is not None:
            # Its CronJob is its own and goes with it. Its records stay.
            return Done()
        # A clock may be set back: what is begun from then on is watched all the same.
        self._since = min(self._since, context.clock())
        # A policy that was never looked at has no CronJob yet. If another owner has one of that name, the API
        # server does not let us have it, too.
        is_new = policy.status.observed_generation is None
        try:
            return await self._settle(key, found, ask=not is_new)
        except errors.Invalid:
            if not is_new:
                raise
            return await self._settle(key, found, ask=True)

    async def _settle(self, key: Key, found: Read[MetadataBackupPolicy], *, ask: bool) -> Outcome:
        """Make a policy so. `ask` the API server for a CronJob that is not in the cache."""
        context = self._context
        state = await self._gather(key, found.model, ask=ask)
        decision = decide(state, context.settings.runner, context.clock())
        if decision.counted is not None:
            self._uncounted[key] = decision.counted
        applied = await context.writer.carry_out(decision, METADATA_BACKUP_POLICIES, found.raw)
        for wanted, answer in applied:
            self._settled[key] = settled(wanted, answer)
        self._count(key, decision.status)
        self._show(key, found.model, decision)
        return outcome(decision)

    async def _gather(self, key: Key, policy: MetadataBackupPolicy, *, ask: bool) -> PolicyState:
        cluster, namespace = self._context.cluster, key.namespace
        location = cluster.cached(BACKUP_LOCATIONS, Key(namespace, policy.spec.destination))
        cronjob = await self._cronjob(Key(namespace, backup_cronjob_name(policy.metadata.name)), ask=ask)
        runs = runs_of(cluster, cronjob["metadata"]["uid"], Operation.BACKUP) if cronjob else ()
        untold, more = await self._first_untold(runs, policy)
        active = [run for run in runs if jobs.ended(run.job) is None]
        active.sort(key=lambda run: run.job["metadata"].get("creationTimestamp", ""))
        return PolicyState(
            policy=policy,
            location=BackupLocation.model_validate(location) if location else None,
            cronjob=cronjob,
            settled=self._settled.get(key),
            untold=untold,
            more_untold=more,
            active=tuple(active),
            drills=await self._drills(policy),
            seen=self._seen(key, policy, cronjob, runs, location),
            records=await self._records(key, policy),
        )

    async def _drills(self, policy: MetadataBackupPolicy) -> DrillState:
        cluster, namespace = self._context.cluster, policy.metadata.namespace
        untold: list[Run] = []
        for known in runs_of(cluster, policy.metadata.uid, Operation.DRILL):
            job = await cluster.fresh(JOBS, Key(namespace, known.name))
            if job is not None and job["metadata"]["uid"] == known.uid and not tell.is_told(job):
                untold.append(await confirm(cluster, known))
        untold.sort(key=lambda run: run.job["metadata"].get("creationTimestamp", ""))
        if not untold and policy.spec.drill_schedule is None:
            return DrillState()
        name = subject_name(untold[0].job["metadata"], Label.RECORD) if untold else policy.status.mbr_name
        raw = await cluster.fresh(METADATA_BACKUP_RECORDS, Key(namespace, name)) if name else None
        return DrillState(tuple(untold), MetadataBackupRecord.model_validate(raw) if raw else None)

    def _seen(
        self,
        key: Key,
        policy: MetadataBackupPolicy,
        cronjob: Object | None,
        runs: tuple[Run, ...],
        location: Object | None,
    ) -> missed.Seen | None:
        if cronjob is None:
            return missed.Seen(frozenset(), self._since)
        known = [run.job for run in runs]
        since = policy.status.missed_checked_time
        recorded: tuple[datetime, ...] = ()
        if since is not None and since < self._since:
            found = self._context.cluster.by(METADATA_BACKUP_RECORDS, POLICY, scoped(key.namespace, key.name))
            times = [
                (record.get("status") or {}).get("backupTime")
                for record in found
                if FOREIGN_LABEL not in (record["metadata"].get("labels") or {})
            ]
            recorded = tuple(datetime.fromisoformat(time) for time in times if time)
        seen_at = ((location or {}).get("status") or {}).get("catalogueTime")
        return missed.Seen(
            missed.times_of(known, cronjob),
            self._since,
            recorded,
            datetime.fromisoformat(seen_at) if seen_at else None,
            missed.windows(known),
            policy.status.last_missed_time,
        )

    async def _cronjob(self, key: Key, *, ask: bool) -> dict[str, Any] | None:
        """Return the CronJob of that name; one that is not labelled as ours is not in the cache."""
        cluster = self._context.cluster
        known = await cluster.fresh(CRONJOBS, key)
        return await cluster.live(CRONJOBS, key) if known is None and ask else known

    async def _first_untold(
        self, runs: tuple[Run, ...], policy: MetadataBackupPolicy
    ) -> tuple[Untold | None, bool]:
        """Return the first to have ended of the Jobs that are not told, and whether there are more."""
        ends = [(end.time, run.uid, run) for run in runs if (end := jobs.ended(run.job)) is not None]
        waiting = [
            run for _, _, run in sorted(ends, key=lambda entry: entry[:2]) if not tell.is_told(run.job)
        ]
        cluster = self._context.cluster
        for index, known in enumerate(waiting):
            # Our own mark on it may be newer than the cache.
            job = await cluster.fresh(JOBS, Key(known.job["metadata"]["namespace"], known.name))
            if job is None or job["metadata"]["uid"] != known.uid or tell.is_told(job):
                continue
            run = await confirm(cluster, known)
            before = remembered(policy.status.conditions, ConditionType.READY, run.name)
            report = jobs.report(run.job, run.pods, Operation.BACKUP, before)
            slot = None
            if report.succeeded and report.result is not None and report.result.backup is not None:
                slot = await self._slot(policy.metadata.namespace, report.result.backup.snapshot_id)
            return Untold(run, report, slot), index + 1 < len(waiting)
        return None, False

    async def _slot(self, namespace: str, snapshot_id: str) -> Slot:
        """Return the shortest name for a snapshot's record that is free, or taken by that very record."""
        for length in ID_LENGTHS:
            short = snapshot_id[:length]
            found = await self._context.cluster.live(
                METADATA_BACKUP_RECORDS, Key(namespace, RECORD_PREFIX + short)
            )
            if found is None or is_record_of(found, snapshot_id):
                return Slot(short, found)
        raise errors.Conflict(f"every record name for snapshot {snapshot_id} is taken by another snapshot")

    async def _records(self, key: Key, policy: MetadataBackupPolicy) -> tuple[MetadataBackupRecord, ...]:
        """Return the policy's records, as the API server knows them, if any of them is to be deleted."""
        cluster = self._context.cluster
        index = scoped(key.namespace, key.name)
        keep = retention.Keep.of(policy.spec)
        if len(cluster.keys_by(METADATA_BACKUP_RECORDS, POLICY, index)) <= keep.newest:
            return ()
        known = _parsed(cluster.by(METADATA_BACKUP_RECORDS, POLICY, index))
        if not retention.expired(known, keep, policy.status.mbr_name):
            return ()
        # Someone may have deleted the newest ones a moment ago: what expires follows from what is there now.
        label = label_value(key.name)
        now = await cluster.client.list(
            METADATA_BACKUP_RECORDS, key.namespace, label_selector=f"{Label.POLICY.value}={label}"
        )
        # Records of KubeDR's own time, and those made by hand, have no label.
        unlabelled = [record for record in known if Label.POLICY.value not in record.metadata.labels]
        return tuple(unlabelled) + tuple(
            record for record in _parsed(now.items) if record.spec.policy == key.name
        )

    def _count(self, key: Key, status: MetadataBackupPolicyStatus) -> None:
        report = self._uncounted.get(key)
        if report is None or status.last_job != report.job_uid:
            return
        del self._uncounted[key]
        if report.result is not None and report.result.backup is not None:
            backup = report.result.backup
            self._metrics.succeeded(
                *key, size=backup.total_bytes_processed, seconds=backup.total_duration_secs
            )
        else:
            self._metrics.failed(*key)

    def _show(self, key: Key, policy: MetadataBackupPolicy, decision: PolicyDecision) -> None:
        namespace, name = key
        status = decision.status
        self._metrics.observe(
            namespace,
            name,
            last_success=status.last_success_time,
            consecutive_failures=status.consecutive_failures or 0,
            next_schedule=status.next_schedule_time,
            overdue=self._overdue(policy, status.last_success_time),
            missed=status.missed_runs or 0,
            ready=conditions.is_true(status.conditions, ConditionType.READY),
        )
        self._show_newest(key, status.mbr_name)
        self._metrics.drill_due(namespace, name, status.next_drill_time)
        if status.drill_time is not None:
            seconds = status.recovery_duration_secs
            self._metrics.drilled(
                namespace,
                name,
                succeeded=status.drill_status == "Completed",
                time=status.drill_time,
                seconds=float(seconds) if seconds else None,
            )

    def _overdue(self, policy: MetadataBackupPolicy, last_success: datetime | None) -> datetime | None:
        """Return since when, or from when on, there should be a newer backup, or a first one."""
        since = last_success or policy.metadata.creation_timestamp
        if policy.spec.suspend or since is None:
            return None
        runner = self._context.settings.runner
        return schedule.overdue_time(schedule_of(policy, runner), policy.spec.time_zone, since)

    def _show_newest(self, key: Key, name: str | None) -> None:
        cluster = self._context.cluster
        record = cluster.cached(METADATA_BACKUP_RECORDS, Key(key.namespace, name)) if name else None
        status = (record or {}).get("status") or {}
        expire = status.get("certificatesExpire")
        self._metrics.newest(
            *key,
            certificates_expire=datetime.fromisoformat(expire) if expire else None,
            unrestorable=status.get("unrestorableObjects"),
        )


def _parsed(objects: Iterable[Object]) -> tuple[MetadataBackupRecord, ...]:
    return tuple(MetadataBackupRecord.model_validate(obj) for obj in objects)
