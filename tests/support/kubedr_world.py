"""The controllers running against an API server, with a test in the part of Kubernetes' own controllers."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry

from kubedr_server.contract import CONTAINER_NAME, Operation, RunResult
from kubedr_server.controllers.backoff import Backoff
from kubedr_server.controllers.manager import ControllerMetrics, run
from kubedr_server.controllers.settings import ControllerSettings
from kubedr_server.kube import errors
from kubedr_server.kube.client import Client
from kubedr_server.kube.election import LeadershipLost
from kubedr_server.kube.resources import (
    BACKUP_LOCATIONS,
    CONFIGMAPS,
    CRONJOBS,
    EVENTS,
    JOBS,
    METADATA_BACKUP_POLICIES,
    METADATA_RESTORES,
    PODS,
    SECRETS,
    Resource,
)
from kubedr_server.manifests.labels import Label
from support.kubedr_objects import RUNNER, a_result, stamp, told_by

Object = dict[str, Any]

TOLD = "kubedr.catalogicsoftware.com/told"
T = TypeVar("T")


class World:
    """A namespace in which a test does what a person and Kubernetes would do."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client = client
        self.namespace = namespace
        self.patience_seconds = 60.0
        self.pause_seconds = 0.02
        self.registry = CollectorRegistry()
        self.metrics = ControllerMetrics(self.registry)
        self.settings = ControllerSettings(
            RUNNER,
            namespace=namespace,
            attempts=Backoff(first_seconds=600),
            retry_base_seconds=0.01,
            recheck_seconds=0.2,
            drain_seconds=30.0,
        )

    @asynccontextmanager
    async def controllers(self, client: Client | None = None) -> AsyncIterator[asyncio.Task[None]]:
        """Run the controllers; they are ready, or have ended, when the block begins."""
        ready = asyncio.Event()
        task = asyncio.create_task(
            run(
                client or self.client,
                self.settings,
                metrics=self.metrics,
                rng=random.Random(7),
                ready=ready,
            )
        )
        waiter = asyncio.create_task(ready.wait())
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        try:
            yield task
        finally:
            task.cancel()
            # A test that stops the controllers by taking the lease away looks at the task itself.
            with suppress(asyncio.CancelledError, LeadershipLost):
                await task

    # What a person does.

    async def secret(self, name: str = "minio-creds", *without: str) -> Object:
        keys = {"access_key", "secret_key", "restic_repo_password"} - set(without)
        data = dict.fromkeys(keys, "Y2FuYXJ5")
        return await self._apply(SECRETS, {"metadata": {"name": name}, "data": data})

    async def location(self, **spec: Any) -> Object:
        default = {"url": "http://minio:9000", "bucketName": "backups", "credentials": "minio-creds"}
        return await self._apply(BACKUP_LOCATIONS, {"metadata": {"name": "minio"}, "spec": default | spec})

    async def policy(self, **spec: Any) -> Object:
        default = {"destination": "minio", "schedule": "0 3 * * *"}
        return await self._apply(
            METADATA_BACKUP_POLICIES, {"metadata": {"name": "nightly"}, "spec": default | spec}
        )

    async def restore(self, record: str = "mbr-9a9808ce") -> Object:
        spec = {"mbrName": record, "pvcName": "restored"}
        return await self._apply(METADATA_RESTORES, {"metadata": {"name": "bring-back"}, "spec": spec})

    async def ready_policy(self, **spec: Any) -> None:
        """Make all that a backup takes, with a repository that is initialised."""
        await self.secret()
        await self.location()
        await self.policy(**spec)
        await self.end(await self.job(Operation.INIT), a_result(Operation.INIT))
        await self.becomes(BACKUP_LOCATIONS, "minio", ready("True"))
        await self.becomes(METADATA_BACKUP_POLICIES, "nightly", ready("True"))

    async def job_from_cronjob(self, name: str, cronjob_name: str = "nightly-backup-cronjob") -> Object:
        """Make a Job as `kubectl create job --from=cronjob/…` does."""
        cronjob = await self.get(CRONJOBS, cronjob_name)
        template = cronjob["spec"]["jobTemplate"]
        metadata = {
            "name": name,
            "namespace": self.namespace,
            "labels": template["metadata"]["labels"],
            "annotations": {"cronjob.kubernetes.io/instantiate": "manual"},
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1",
                    "kind": "CronJob",
                    "name": cronjob["metadata"]["name"],
                    "uid": cronjob["metadata"]["uid"],
                    "controller": True,
                }
            ],
        }
        body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]}
        return await self.client.create(JOBS, body)

    async def foreign_cronjob(self, name: str = "nightly-backup-cronjob") -> Object:
        """Make a CronJob that has a policy's name and another owner."""
        theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}}
        made = await self.client.create(CONFIGMAPS, theirs, self.namespace)
        owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "theirs", "uid": made["metadata"]["uid"]}
        container = {"name": "theirs", "image": "theirs"}
        pod = {"restartPolicy": "Never", "containers": [container]}
        metadata = {
            "name": name,
            "namespace": self.namespace,
            "ownerReferences": [{**owner, "controller": True}],
        }
        spec = {"schedule": "1 1 1 1 1", "jobTemplate": {"spec": {"template": {"spec": pod}}}}
        body = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": spec}
        return await self.client.create(CRONJOBS, body)

    # What Kubernetes does.

    async def end(self, job: Object, result: RunResult | None = None, at: datetime | None = None) -> None:
        """End a Job with a pod that leaves `result`, or that left nothing."""
        status = told_by(result) if result else told_by(a_result())
        if result is None:
            status["containerStatuses"][0]["state"]["terminated"] |= {"message": "", "exitCode": 137}
        await self.pod(job, status)
        good = result is not None and result.succeeded
        moment = stamp(at or datetime.now(UTC))
        types = ("SuccessCriteriaMet", "Complete") if good else ("FailureTarget", "Failed")
        conditions = [
            {
                "type": type_,
                "status": "True",
                "reason": "CompletionsReached" if good else "BackoffLimitExceeded",
                "message": "",
                "lastProbeTime": moment,
                "lastTransitionTime": moment,
            }
            for type_ in types
        ]
        ended: Object = {"startTime": moment, "conditions": conditions}
        if good:
            ended |= {"completionTime": moment, "succeeded": 1}
        await self._status(JOBS, job["metadata"]["name"], ended)

    async def pod(self, job: Object, status: Object) -> None:
        """Make a Job's pod, with this status."""
        metadata = job["metadata"]
        name = f"{metadata['name']}-abcde"
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "labels": {
                    **job["spec"]["template"]["metadata"]["labels"],
                    "batch.kubernetes.io/controller-uid": metadata["uid"],
                },
                "ownerReferences": [
                    {
                        "apiVersion": "batch/v1",
                        "kind": "Job",
                        "name": metadata["name"],
                        "uid": metadata["uid"],
                        "controller": True,
                    }
                ],
            },
            "spec": {
                "restartPolicy": "Never",
                "nodeName": "master-1",
                "containers": [{"name": CONTAINER_NAME, "image": RUNNER.image}],
            },
        }
        await self.client.create(PODS, pod)
        for container in status.get("containerStatuses", ()):
            container |= {"ready": False, "restartCount": 0, "image": RUNNER.image, "imageID": ""}
        await self._status(PODS, name, status)

    # What a test looks at.

    async def get(self, resource: Resource, name: str) -> Object:
        return await self.client.get(resource, self.namespace if resource.namespaced else None, name)

    async def all(self, resource: Resource) -> list[Object]:
        return (await self.client.list(resource, self.namespace)).items

    async def events(self, reason: str) -> list[Object]:
        return [event for event in await self.all(EVENTS) if event["reason"] == reason]

    async def jobs(self, operation: Operation) -> list[Object]:
        return [
            job
            for job in await self.all(JOBS)
            if job["metadata"]["labels"][Label.OPERATION.value] == operation.value
        ]

    async def job(self, operation: Operation, *, besides: str = "") -> Object:
        """Wait for a Job of an operation."""

        async def look() -> Object | None:
            found = [job for job in await self.jobs(operation) if job["metadata"]["name"] != besides]
            return found[0] if found else None

        return await self._until(look, f"no Job for {operation}")

    async def becomes(self, resource: Resource, name: str, wanted: Callable[[Object], bool]) -> Object:
        """Wait until an object is as wanted."""
        last: Object | None = None

        async def look() -> Object | None:
            nonlocal last
            try:
                last = await self.get(resource, name)
            except errors.NotFound:
                return None
            return last if wanted(last) else None

        try:
            return await self._until(look, name)
        except AssertionError:
            raise AssertionError(f"{resource.kind} {name} is {last}") from None

    async def goes(self, resource: Resource, name: str) -> None:
        """Wait until an object is gone."""

        async def look() -> bool | None:
            try:
                await self.get(resource, name)
            except errors.NotFound:
                return True
            return None

        await self._until(look, f"{resource.kind} {name} is still there")

    async def told(self, reason: str, count: int = 1) -> list[Object]:
        """Wait for so many Events of a reason."""

        async def look() -> list[Object] | None:
            found = await self.events(reason)
            return found if sum(event["count"] for event in found) >= count else None

        return await self._until(look, f"no {count} Events {reason}")

    async def _until(self, look: Callable[[], Awaitable[T | None]], failure: str) -> T:
        for _ in range(int(self.patience_seconds / self.pause_seconds)):
            found = await look()
            if found is not None:
                return found
            await asyncio.sleep(self.pause_seconds)
        raise AssertionError(failure)

    async def _apply(self, resource: Resource, obj: Object) -> Object:
        metadata = {"namespace": self.namespace, **obj["metadata"]}
        whole = {**obj, "apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
        return await self.client.apply(resource, whole, field_manager="a-person")

    async def _status(self, resource: Resource, name: str, status: Object) -> None:
        await self.client.patch(resource, self.namespace, name, {"status": status}, subresource="status")


def ready(status: str, reason: str | None = None) -> Callable[[Object], bool]:
    """Return whether an object's condition Ready is so."""

    def check(obj: Object) -> bool:
        return any(
            known["type"] == "Ready" and known["status"] == status and reason in {None, known["reason"]}
            for known in (obj.get("status") or {}).get("conditions", ())
        )

    return check


def is_told(job: Object) -> bool:
    """Whether a Job's outcome has been told wholly."""
    return TOLD in (job["metadata"].get("annotations") or {})


def snapshot(number: int) -> str:
    """Return the id of a snapshot."""
    return f"{number:08x}".ljust(64, "0")
