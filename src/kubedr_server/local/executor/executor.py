"""The executor as one thing that is started and stopped: one machine's controllers, scheduler and kubelet."""

import asyncio
import random
from datetime import timedelta
from types import TracebackType
from typing import Self

from kubedr_server.kube.cache import Key
from kubedr_server.kube.errors import Outdated, Transient
from kubedr_server.kube.events import EventRecorder
from kubedr_server.kube.resources import CRONJOBS, JOBS, PODS, PVCS
from kubedr_server.local.executor.api_client import ExecutorClient
from kubedr_server.local.executor.cronjobs import CronJobController
from kubedr_server.local.executor.jobs import JobController
from kubedr_server.local.executor.kubelet import Kubelet
from kubedr_server.local.executor.logs import PodLogs
from kubedr_server.local.executor.loop import Informers, Loop, controller_key, own_key
from kubedr_server.local.executor.node import HEARTBEAT, NodeController
from kubedr_server.local.executor.objects import Clock, uid_of, utc_now
from kubedr_server.local.executor.pod_setup import PodSetup
from kubedr_server.local.executor.pods import Runtime
from kubedr_server.local.executor.pvcs import ClaimController
from kubedr_server.local.executor.scheduler import Scheduler
from kubedr_server.local.executor.settings import ExecutorSettings

_FLUSH_SECONDS = 2.0
_REGISTER_SECONDS = 15.0
_PAUSE_SECONDS = 0.2


class Executor:
    """Runs the CronJobs, Jobs and pods of an API. `async with Executor(...)` until the block ends.

    When it ends, the pods that run are ended first, and their last status is written.
    """

    def __init__(
        self,
        client: ExecutorClient,
        settings: ExecutorSettings,
        logs: PodLogs,
        *,
        clock: Clock = utc_now,
        rng: random.Random | None = None,
    ) -> None:
        self._client = client
        self._settings = settings
        self._recorder = EventRecorder(
            client,
            settings.node_name,
            clock,
            rng or random.Random(),  # noqa: S311 - names and pauses
        )
        record = self._recorder.record
        claims = ClaimController(client, record, settings.volumes_dir)
        setup = PodSetup(client, settings, claims.lookup)
        runtime = Runtime(client, setup, settings, logs, record, clock)
        self._informers = Informers(client)
        pods = self._informers.of(PODS)
        self._node = NodeController(client, settings, clock)
        self._node_key = Key("", settings.node_name)
        self._node_loop = Loop("node", self._node.reconcile)

        claim_loop = Loop("claim", claims.reconcile)
        claim_loop.follow(self._informers.of(PVCS), own_key)
        schedule_loop = Loop("scheduler", Scheduler(client, record, clock, settings.node_name).reconcile)
        schedule_loop.follow(pods, own_key)
        cronjob_loop = Loop("cronjob", CronJobController(client, record, clock).reconcile)
        cronjob_loop.follow(self._informers.of(CRONJOBS), own_key)
        cronjob_loop.follow(self._informers.of(JOBS), controller_key("CronJob"))
        job_loop = Loop("job", JobController(client, record, clock).reconcile)
        job_loop.follow(self._informers.of(JOBS), own_key)
        job_loop.follow(pods, controller_key("Job"))
        pod_loop = Loop("pod", self._reconcile_pod)
        pod_loop.follow(pods, own_key)
        self._kubelet = Kubelet(runtime, pod_loop.requeue)
        self._loops = [self._node_loop, claim_loop, schedule_loop, cronjob_loop, job_loop, pod_loop]
        self._recording: asyncio.Task[None] | None = None
        self._working: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._recording = asyncio.create_task(self._recorder.run(), name="executor events")
        try:
            # The node comes first: without it no pod has a place. Leftovers go before anything new starts.
            await self._register()
            self._node_loop.requeue(self._node_key, HEARTBEAT.total_seconds())
            existing = {uid_of(pod) for pod in (await self._client.list(PODS)).items}
            await self._kubelet.clean_up(existing)
        except BaseException:
            await _cancel(self._recording)
            raise
        self._working = asyncio.create_task(self._work(), name="executor")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The controllers first: nothing is to be started, or replaced, that is ended right after.
        await _cancel(self._working)
        await self._kubelet.stop()
        await self._recorder.flush(_FLUSH_SECONDS)
        await _cancel(self._recording)

    async def wait(self) -> None:
        """Wait until the executor fails, which only a fault in it can bring about. Raises that fault."""
        if self._working is not None:
            await asyncio.shield(self._working)

    async def _register(self) -> None:
        """Register the node; an API that has only just started may need a moment."""
        deadline = asyncio.get_running_loop().time() + _REGISTER_SECONDS
        while True:
            try:
                await self._node.reconcile(self._node_key)
            except (Outdated, Transient):
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                return

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informers.run())
            for loop in self._loops:
                group.create_task(loop.run())

    async def _reconcile_pod(self, key: Key) -> timedelta | None:
        return await self._kubelet.reconcile(key)


async def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
