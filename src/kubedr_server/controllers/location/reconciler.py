"""Gathers a location's state, and carries out what is decided."""

from collections.abc import Sequence
from dataclasses import replace

from kubedr_server.api.backup_location import BackupLocation, BackupLocationStatus
from kubedr_server.api.conditions import ConditionType
from kubedr_server.contract import Env, Operation
from kubedr_server.controllers import conditions, jobs
from kubedr_server.controllers.cluster import GONE, REPOSITORY, scoped
from kubedr_server.controllers.location import initialise, maintenance
from kubedr_server.controllers.location.decide import decide
from kubedr_server.controllers.location.records import RecordKeeper
from kubedr_server.controllers.location.state import (
    Comparison,
    LocationState,
    location_secrets,
    next_attempt,
)
from kubedr_server.controllers.location.timetable import TASKS
from kubedr_server.controllers.outcome import Done, Outcome
from kubedr_server.controllers.reconciler import Context, outcome, read
from kubedr_server.controllers.run import Run, confirm, confirmed, runs_of
from kubedr_server.controllers.secrets import SecretReader, lack
from kubedr_server.controllers.turns import Turns
from kubedr_server.kube.cache import Key
from kubedr_server.kube.resources import BACKUP_LOCATIONS, JOBS, METADATA_BACKUP_RECORDS
from kubedr_server.manifests.jobs import init_job_name
from kubedr_server.manifests.labels import selector
from kubedr_server.manifests.parts import repository_url
from kubedr_server.ops.location_metrics import LocationMetrics


class LocationReconciler:
    """Keeps a location's repository opened, looked at, checked and pruned, and its records in step."""

    resource = BACKUP_LOCATIONS

    def __init__(
        self, context: Context, secrets: SecretReader, turns: Turns, metrics: LocationMetrics
    ) -> None:
        self._context = context
        self._secrets = secrets
        self._turns = turns
        self._metrics = metrics
        self._records = RecordKeeper(context)

    async def reconcile(self, key: Key) -> Outcome:
        """Make a location's repository exist and stay well, and tell whether it is."""
        context = self._context
        found = await read(context.cluster, BACKUP_LOCATIONS, BackupLocation, key)
        if found is None or found.model.metadata.deletion_timestamp is not None:
            # Its Jobs are its own and go with it. What is in the bucket stays.
            self._metrics.remove(key.namespace, key.name)
            return Done()
        state = await self._gather(found.model)
        decision = decide(state, context.settings.runner, context.settings.attempts, context.clock())
        with self._turns.beginning(decision.before):
            await context.writer.carry_out(decision, BACKUP_LOCATIONS, found.raw)
        if isinstance(decision.status, BackupLocationStatus):
            self._show(key, found.model.model_copy(update={"status": decision.status}))
        return outcome(decision)

    async def _gather(self, location: BackupLocation) -> LocationState:
        context, uid = self._context, location.metadata.uid
        secrets = await location_secrets(self._secrets, location)
        current = init_job_name(location, next_attempt(location, secrets))
        maintenance_runs = [
            await confirm(context.cluster, run)
            for task in TASKS
            for run in runs_of(context.cluster, uid, task.operation)
            # One that has ended and is being deleted has been told.
            if jobs.ended(run.job) is None or not run.job["metadata"].get("deletionTimestamp")
        ]
        state = LocationState(
            location=location,
            secrets=secrets,
            runs=await confirmed(context.cluster, runs_of(context.cluster, uid, Operation.INIT), current),
            luck=context.rng.random(),
            maintenance=tuple(maintenance_runs),
        )
        if lack(secrets, location.metadata.namespace) is not None:
            return state
        if not initialise.is_initialised(state):
            # Another location can name the same repository.
            taken = await self._turns.taken(repository_url(location.spec), current)
            return replace(state, busy=() if taken is None else (taken,))
        busy = await self._busy(state)
        state = replace(state, comparison=await self._compare(location, maintenance_runs))
        # Last: a Job that was made a moment ago has its turn.
        taken = await self._turns.taken(repository_url(location.spec))
        return replace(state, busy=busy if taken is None else (*busy, taken))

    async def _compare(self, location: BackupLocation, runs: Sequence[Run]) -> Comparison | None:
        """Compare the records with what an ended look has listed, unless that was done."""
        for run in runs:
            if jobs.operation(run.job) != Operation.HEALTH.value or jobs.ended(run.job) is None:
                continue
            if maintenance.is_stale(run, location):
                continue
            if not jobs.report(run.job, run.pods, Operation.HEALTH).succeeded:
                continue
            if location.status.catalogue_run == run.uid:
                return Comparison(run.uid, compared=True)
            return await self._records.compare(location, run)
        return None

    async def _busy(self, state: LocationState) -> tuple[str, ...]:
        """Return the Jobs that work with the repository, as the API server knows them if it matters."""
        cluster, repository = self._context.cluster, repository_url(state.location.spec)
        known = cluster.keys_by(JOBS, REPOSITORY, repository)
        if not maintenance.is_due(state, self._context.clock()):
            return tuple(sorted(str(key) for key in known))
        # Locks may be removed only where nobody works: a cache that is behind must not say so.
        found = await cluster.client.list(JOBS, self._context.settings.namespace, label_selector=selector())
        return tuple(
            sorted(
                f"{job['metadata']['namespace']}/{job['metadata']['name']}"
                for job in found.items
                if jobs.ended(job) is None and jobs.setting(job, Env.REPOSITORY) == repository
            )
        )

    def _show(self, key: Key, location: BackupLocation) -> None:
        status = location.status

        def failed(type_: ConditionType) -> bool:
            known = conditions.find(status.conditions, type_)
            return known is not None and known.status == "False"

        self._metrics.observe(
            key.namespace,
            key.name,
            ready=conditions.is_true(status.conditions, ConditionType.READY),
            healthy=not failed(ConditionType.HEALTHY),
            checked=not failed(ConditionType.CHECKED),
            gone=len(self._context.cluster.keys_by(METADATA_BACKUP_RECORDS, GONE, scoped(*key))),
            figures={
                "repository_size": status.repository_size,
                "snapshots": status.snapshots,
                "locks": status.locks,
            },
            times={
                "health": status.last_health_time,
                "check": status.last_check_time,
                "full_check": status.last_full_check_time,
                "prune": status.last_prune_time,
            },
        )
