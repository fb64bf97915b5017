"""The Job controller: makes a Job's pods, counts their outcomes, and says how the Job ended."""

from datetime import timedelta

from kubedr_server.kube.cache import Key
from kubedr_server.kube.client import Client
from kubedr_server.kube.errors import AlreadyExists, KubeError, NotFound
from kubedr_server.kube.resources import JOBS, PODS
from kubedr_server.local.executor import job_pods, job_status
from kubedr_server.local.executor.events import Record
from kubedr_server.local.executor.job_status import Decision
from kubedr_server.local.executor.objects import (
    Clock,
    Object,
    condition_of,
    controller_of,
    is_deleted,
    moment,
    name_of,
    namespace_of,
    uid_of,
)


class JobController:
    """Reconciles Jobs. It reads Job and pods from the API each time: see `loop`."""

    def __init__(self, client: Client, record: Record, clock: Clock) -> None:
        self._client = client
        self._record = record
        self._clock = clock

    async def reconcile(self, key: Key) -> timedelta | None:
        """Bring one Job a step further."""
        try:
            job = await self._client.get(JOBS, key.namespace, key.name)
        except NotFound:
            await self._release_orphans(key)
            return None
        if job["spec"].get("managedBy") not in (None, "kubernetes.io/job-controller"):
            return None
        pods = await self._pods_of(job)
        if job_status.is_finished(job):
            await self._release([pod for pod in pods if job_pods.is_tracked(pod)])
            return await self._expire(job)
        job, pods = await self._settle(job, pods)
        decision = job_status.decide(job, pods, self._clock())
        job = await self._write_status(job, decision.status)
        await self._delete(job, decision)
        await self._create(job, pods, decision)
        for event_type, reason, message in decision.events:
            self._record(job, event_type, reason, message)
        return decision.again_at - self._clock() if decision.again_at else None

    async def _pods_of(self, job: Object) -> list[Object]:
        selector = f"{job_pods.CONTROLLER_UID}={uid_of(job)}"
        found = await self._client.list(PODS, namespace_of(job), label_selector=selector)
        return [pod for pod in found.items if (controller_of(pod) or {}).get("uid") == uid_of(job)]

    async def _settle(self, job: Object, pods: list[Object]) -> tuple[Object, list[Object]]:
        """Count every pod that has ended: note, let go, count (see `job_status.settle`)."""
        while True:
            status, released = job_status.settle(job, pods)
            job = await self._write_status(job, status)
            if not released:
                return job, pods
            await self._release(released)
            pods = await self._pods_of(job)

    async def _write_status(self, job: Object, status: Object) -> Object:
        if status == (job.get("status") or {}):
            return job
        return await self._client.replace(JOBS, {**job, "status": status}, subresource="status")

    async def _release(self, pods: list[Object]) -> None:
        for pod in pods:
            kept = [f for f in pod["metadata"]["finalizers"] if f != job_pods.TRACKING_FINALIZER]
            body = {"metadata": {"resourceVersion": pod["metadata"]["resourceVersion"], "finalizers": kept}}
            try:
                await self._client.patch(PODS, namespace_of(pod), name_of(pod), body)
            except NotFound:
                continue  # it is gone, and the note in the status counts it

    async def _release_orphans(self, key: Key) -> None:
        """Let go of the pods of a Job that no longer exists: nobody will count them."""
        selector = f"{job_pods.JOB_NAME}={key.name}"
        found = await self._client.list(PODS, key.namespace, label_selector=selector)
        await self._release([pod for pod in found.items if job_pods.is_tracked(pod)])

    async def _expire(self, job: Object) -> timedelta | None:
        ttl = job["spec"].get("ttlSecondsAfterFinished")
        if ttl is None or is_deleted(job):
            return None
        ended = condition_of(job, "Complete") or condition_of(job, "Failed")
        finished = moment((ended or {}).get("lastTransitionTime"))
        if finished is None:
            return None
        left = finished + timedelta(seconds=ttl) - self._clock()
        if left > timedelta():
            return left
        version = job["metadata"]["resourceVersion"]
        await self._client.delete(
            JOBS, namespace_of(job), name_of(job), uid=uid_of(job), resource_version=version
        )
        return None

    async def _delete(self, job: Object, decision: Decision) -> None:
        for pod in decision.delete:
            try:
                await self._client.delete(PODS, namespace_of(pod), name_of(pod), uid=uid_of(pod))
            except NotFound:
                continue
            self._record(job, "Normal", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")

    async def _create(self, job: Object, pods: list[Object], decision: Decision) -> None:
        for name in job_pods.free_names(job, pods, decision.ended, decision.create):
            try:
                await self._client.create(PODS, job_pods.new_pod(job, name))
            except AlreadyExists:
                continue  # made by an attempt whose answer was lost; its event leads back here
            except KubeError as error:
                self._record(job, "Warning", "FailedCreate", f"Error creating: {error.message}")
                raise
            self._record(job, "Normal", "SuccessfulCreate", f"Created pod: {name}")
