"""Convergence beside Kubernetes' own controllers: a real kube-apiserver with its real controller manager."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from kubedr_server.api import crd
from kubedr_server.api.conditions import Reason
from kubedr_server.contract import Operation, RunResult
from kubedr_server.kube.client import Client
from kubedr_server.kube.resources import (
    BACKUP_LOCATIONS,
    CRDS,
    CRONJOBS,
    JOBS,
    METADATA_BACKUP_POLICIES,
    METADATA_BACKUP_RECORDS,
    NAMESPACES,
    PODS,
)
from kubedr_server.kube.transport import ClientSettings
from support.apiserver import ApiServer, assets
from support.controller_manager import controller_manager, has_controller_manager
from support.kubedr_objects import RUNNER, a_result, told_by
from support.kubedr_world import Object, World, is_told, ready, snapshot

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.fault]

_NAMESPACE = "kubedr-system"
_CRONJOB = "nightly-backup-cronjob"


class RealWorld(World):
    """A world in which Kubernetes makes the pods and ends the Jobs; the test is the kubelet."""

    def __init__(self, client: Client) -> None:
        super().__init__(client, _NAMESPACE)
        self.patience_seconds, self.pause_seconds = 100.0, 0.2

    async def location(self, **spec: Any) -> Object:
        return await super().location(**{"suspendMaintenance": True, **spec})

    async def end(self, job: Object, result: RunResult | None = None, at: datetime | None = None) -> None:
        """Let the pod of a Job end; the rest is the Job controller's."""
        selector = f"batch.kubernetes.io/controller-uid={job['metadata']['uid']}"

        async def look() -> Object | None:
            found = await self.client.list(PODS, self.namespace, label_selector=selector)
            return found.items[0] if found.items else None

        pod = await self._until(look, f"Job {job['metadata']['name']} has no pod")
        status = told_by(result or a_result(reason=Reason.ETCD_UNREACHABLE, message="etcd does not answer"))
        for container in status["containerStatuses"]:
            container |= {"ready": False, "restartCount": 0, "image": RUNNER.image, "imageID": ""}
        await self._status(PODS, pod["metadata"]["name"], status)

    async def scheduled_job(self) -> Object:
        """Wait for a Job that the CronJob controller has made."""

        async def look() -> Object | None:
            for job in await self.jobs(Operation.BACKUP):
                if "batch.kubernetes.io/cronjob-scheduled-timestamp" in job["metadata"].get(
                    "annotations", {}
                ):
                    return job
            return None

        return await self._until(look, "the CronJob controller has made no Job")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    programs = assets()
    if programs is None or not has_controller_manager():
        pytest.skip("no kube-apiserver with a kube-controller-manager: set KUBEBUILDER_ASSETS")
    folder: Path = tmp_path_factory.mktemp("cluster")
    with ApiServer(folder / "api", programs) as api:
        asyncio.run(_serve_our_kinds(api))
        with controller_manager(api, folder / "manager"):
            yield api


async def _serve_our_kinds(api: ApiServer) -> None:
    async with await Client.from_kubeconfig(api.kubeconfig) as client:
        metadata = {"name": _NAMESPACE}
        await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        for definition in crd.definitions():
            await client.apply(CRDS, definition, field_manager="test")
            await World(client, "").becomes(CRDS, definition["metadata"]["name"], _is_established)


def _is_established(definition: Object) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return any(known["type"] == "Established" and known["status"] == "True" for known in conditions)


@pytest.fixture
async def world(cluster: ApiServer) -> AsyncIterator[RealWorld]:
    settings = ClientSettings(qps=0)
    async with await Client.from_kubeconfig(cluster.kubeconfig, settings=settings) as client:
        yield RealWorld(client)


@pytest.mark.timeout(400)
async def test_a_policys_life(world: RealWorld) -> None:
    async with world.controllers():
        await world.ready_policy(schedule="* * * * *")
        first = await world.get(CRONJOBS, _CRONJOB)

        # Someone edits the CronJob, and someone deletes it.
        edit = {"spec": {"schedule": "0 0 1 1 *", "concurrencyPolicy": "Replace"}}
        await world.client.patch(CRONJOBS, _NAMESPACE, _CRONJOB, edit)
        repaired = await world.becomes(CRONJOBS, _CRONJOB, lambda obj: obj["spec"]["schedule"] == "* * * * *")
        assert repaired["spec"]["concurrencyPolicy"] == "Forbid"
        await world.client.delete(CRONJOBS, _NAMESPACE, _CRONJOB)
        await world.becomes(
            CRONJOBS, _CRONJOB, lambda obj: obj["metadata"]["uid"] != first["metadata"]["uid"]
        )

        # The CronJob controller makes a Job, the Job controller its pod, and ends it with the pod.
        job = await world.scheduled_job()
        await world.end(job, a_result(snapshot=snapshot(1)))
        await world.becomes(JOBS, job["metadata"]["name"], is_told)
        await world.becomes(METADATA_BACKUP_RECORDS, "mbr-00000001", lambda obj: "status" in obj)
        policy = await world.becomes(METADATA_BACKUP_POLICIES, "nightly", ready("True"))
        assert policy["status"]["backupStatus"] == "Completed"
        assert "lastScheduleTime" in policy["status"]
        await world.policy(suspend=True)
        await world.becomes(CRONJOBS, _CRONJOB, lambda obj: obj["spec"]["suspend"] is True)

        # A backup that fails, which the Job controller notices by itself.
        failing = await world.job_from_cronjob("by-hand")
        await world.end(failing)
        await world.becomes(JOBS, "by-hand", is_told)
        await world.becomes(METADATA_BACKUP_POLICIES, "nightly", ready("False", "EtcdUnreachable"))

    # While the server is down, the policy goes, and the garbage collector takes all that it owned.
    await world.client.delete(METADATA_BACKUP_POLICIES, _NAMESPACE, "nightly")
    await world.goes(CRONJOBS, _CRONJOB)
    await world.goes(JOBS, "by-hand")
    await world.goes(JOBS, job["metadata"]["name"])

    async with world.controllers():
        await world.client.delete(METADATA_BACKUP_RECORDS, _NAMESPACE, "mbr-00000001")
        await world.end(await world.job(Operation.FORGET), a_result(Operation.FORGET))
        await world.goes(METADATA_BACKUP_RECORDS, "mbr-00000001")
        await world.client.delete(BACKUP_LOCATIONS, _NAMESPACE, "minio")
        await world.goes(BACKUP_LOCATIONS, "minio")

        async def look() -> bool | None:
            return True if not await world.all(JOBS) and not await world.all(PODS) else None

        await world._until(look, "something is left")
