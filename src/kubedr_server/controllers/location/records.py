"""Reads the list that a look at the repository has left, and makes the records say what it says."""

import asyncio
import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from kubedr_server import catalogue as listing
from kubedr_server.api.backup_location import BackupLocation
from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicy
from kubedr_server.contract import CONTAINER_NAME, Env, Operation
from kubedr_server.controllers import catalogue, jobs
from kubedr_server.controllers.catalogue import Change, Known, Plan
from kubedr_server.controllers.cluster import DESTINATION, scoped
from kubedr_server.controllers.decision import Create, Object
from kubedr_server.controllers.location.lesson import lesson
from kubedr_server.controllers.location.state import Comparison
from kubedr_server.controllers.policy.tell import is_told
from kubedr_server.controllers.reconciler import Context
from kubedr_server.controllers.run import Run
from kubedr_server.controllers.settings import FOREIGN_LABEL
from kubedr_server.kube import errors
from kubedr_server.kube.cache import Key
from kubedr_server.kube.resources import JOBS, METADATA_BACKUP_POLICIES, METADATA_BACKUP_RECORDS
from kubedr_server.manifests.labels import selector

logger = logging.getLogger(__name__)

_UNREADABLE: Final = (
    listing.CatalogueError,
    errors.Outdated,
    errors.Refused,
    # The API server asks the node, which may be gone for good while its pod is still known.
    errors.ServerError,
    errors.ServerTimeout,
)
"""Why a pod's log may not be had; what the look itself has found is told all the same."""


class RecordKeeper:
    """Keeps a location's records in step with its repository."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def compare(self, location: BackupLocation, run: Run) -> Comparison:
        """Compare the list that an ended look has left with the records, and write what follows.

        Raises a KubeError if the API server cannot be asked now: it is done again, from the beginning.
        """
        key = Key(location.metadata.namespace, location.metadata.name)
        try:
            entries = await self._listed(run)
        except errors.Unauthorized:
            # Tokens are rotated: the next one is read from its file.
            raise
        except _UNREADABLE as error:
            logger.warning("backuplocation %s: the list of snapshots is not read: %s", key, error)
            text = f"The list of its snapshots could not be read and is read at the next look: {error}"
            return Comparison(run.uid, compared=False, remark=text)
        known = await self._known(location, run)
        # Thousands of records take a moment that the others need not wait for.
        plan = await asyncio.to_thread(catalogue.compare, entries, known, self._context.clock())
        for entry in plan.incomplete:
            logger.warning(
                "backuplocation %s: snapshot %s is no whole backup: %s", key, entry.snapshot_id, entry.why
            )
        refused = await self._carry_out(plan, key)
        return Comparison(run.uid, compared=True, remark=". ".join(filter(None, (plan.remark, refused))))

    async def _listed(self, run: Run) -> list[listing.CatalogueEntry]:
        pods = [pod for pod in run.pods if jobs.has_result([pod])]
        if not pods:
            raise listing.CatalogueError("the pod with the list is gone")
        metadata = pods[-1]["metadata"]
        log = await self._context.cluster.client.pod_log(
            metadata["namespace"], metadata["name"], CONTAINER_NAME
        )
        return await asyncio.to_thread(listing.decode, log)

    async def _known(self, location: BackupLocation, run: Run) -> Known:
        cluster, namespace = self._context.cluster, location.metadata.namespace
        found = await cluster.client.list(JOBS, namespace, label_selector=selector())
        pending: set[str] = set()
        forgotten: set[str] = set()
        for job in found.items:
            operation = jobs.operation(job)
            if operation == Operation.BACKUP.value and not is_told(job):
                pending.add(job["metadata"]["uid"])
            elif operation == Operation.FORGET.value:
                # It may have been listed a moment before it was forgotten, and its record be gone by now.
                forgotten.add(jobs.setting(job, Env.SNAPSHOT_ID) or "")
        let_go = set(location.status.let_go or ())
        records = [
            cached.decode()
            for cached in cluster.informers[METADATA_BACKUP_RECORDS].cache
            if cached.namespace == namespace
        ]
        return Known(
            location=location.metadata.name,
            namespace=namespace,
            cluster_id=self._context.settings.runner.cluster_id,
            listed=datetime.fromisoformat(run.job["metadata"]["creationTimestamp"]),
            records=tuple(records),
            policies=frozenset(
                key.name
                for key in cluster.keys_by(
                    METADATA_BACKUP_POLICIES, DESTINATION, scoped(namespace, location.metadata.name)
                )
            ),
            pending_runs=frozenset(pending),
            let_go=frozenset((let_go | forgotten) - {""}),
        )

    async def _carry_out(self, plan: Plan, key: Key) -> str:
        """Write all that a plan says; return a sentence on what was refused, empty if nothing was."""
        # First what can be repeated: once the records are there, nothing of the plan is left to be seen.
        for record in _newest(plan):
            await self._teach(key.namespace, record)
        refused: list[str] = []
        for change in plan.changes:
            try:
                await self._write(change)
            except errors.Refused as error:
                # One record that a webhook or a quota does not allow must not keep all others away.
                refused.append(str(error))
        if plan.changes:
            logger.info("backuplocation %s: %d records are written", key, len(plan.changes) - len(refused))
        return f"{len(refused)} records could not be written: {refused[0]}" if refused else ""

    async def _write(self, change: Change) -> None:
        record = await self._context.writer.write(change.write)
        about = record if isinstance(change.write, Create) else change.record
        if change.event is not None and about is not None:
            self._context.writer.announce(about, change.event)

    async def _teach(self, namespace: str, record: Object) -> None:
        """Let a policy know of a backup whose result it never heard."""
        key = Key(namespace, record["spec"]["policy"])
        raw = await self._context.cluster.fresh(METADATA_BACKUP_POLICIES, key)
        if raw is None:
            return
        patch = lesson(MetadataBackupPolicy.model_validate(raw), record, self._context.clock())
        if patch is not None:
            await self._context.writer.write(patch)


def _newest(plan: Plan) -> Iterable[Object]:
    """Return of each policy the newest record that comes by a plan, as it will be."""
    newest: dict[str, Object] = {}
    for change in plan.changes:
        if change.entry is None:
            continue
        write = change.write
        if isinstance(write, Create):
            record: Object = {**write.object, "status": write.status}
        else:
            record = {**(change.record or {}), "status": write.body["status"]}
        policy = record["spec"]["policy"]
        is_foreign = FOREIGN_LABEL in (record["metadata"].get("labels") or {})
        if not is_foreign and (policy not in newest or _taken(newest[policy]) < _taken(record)):
            newest[policy] = record
    return newest.values()


def _taken(record: Object) -> str:
    return str((record.get("status") or {}).get("backupTime", ""))
