"""What lives in a simulation: a person, a kubelet, and servers that are started, paused and killed."""

import asyncio
import functools
import inspect
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import Env, Operation, RunResult
from kubedr_server.controllers import manager
from kubedr_server.controllers.backoff import Backoff
from kubedr_server.controllers.manager import ControllerMetrics
from kubedr_server.kube import errors
from kubedr_server.kube.client import Client
from kubedr_server.kube.election import LeaderElector, LeadershipLost
from kubedr_server.kube.resources import METADATA_BACKUP_POLICIES, NAMESPACES
from kubedr_server.manifests.labels import Label
from support.kubedr_objects import a_result
from support.kubedr_world import Object, World, ready
from support.simulation import Process, Simulation, run_simulation, simulation

NAMESPACE = "kubedr-system"
LEASE = "kubedr-server"


class SimulatedWorld(World):
    """A namespace, with the kubelet's side of all Jobs but backups."""

    def __init__(self, simulation: Simulation, client: Client) -> None:
        super().__init__(client, NAMESPACE)
        self.patience_seconds, self.pause_seconds = 900.0, 0.5
        self.simulation = simulation
        self.settings = replace(self.settings, attempts=Backoff(first_seconds=10, longest_seconds=60))
        self.snapshots: set[str] = set()
        """What the repository holds."""

        self.storage_works = True
        self.damaged = False
        """Whether a check finds damage in it."""

        self.servers: list[Server] = []
        self.last_end = simulation.now()
        """When the last Job ended: each at a second of its own, so that their order is known."""

    async def end(self, job: Object, result: RunResult | None = None, at: datetime | None = None) -> None:
        """End a Job, at a second of its own."""
        self.last_end = at or max(self.simulation.now(), self.last_end + timedelta(seconds=1))
        await super().end(job, result, self.last_end)

    async def location(self, **spec: Any) -> Object:
        """Make the location; its repository is not looked at from time to time unless it is asked for."""
        return await super().location(**{"suspendMaintenance": True, **spec})

    async def ready_policy(self, **spec: Any) -> None:
        """Make all that a backup takes; the kubelet initialises the repository."""
        await self.secret()
        await self.location()
        await self.policy(**spec)
        await self.becomes(METADATA_BACKUP_POLICIES, "nightly", ready("True"))

    async def back_up(self, name: str, snapshot: str) -> Object:
        """Run a backup to its good end: its snapshot is in the repository, its Job is there to be told."""
        job = await self.job_from_cronjob(name)
        await self.succeed(job, snapshot)
        return job

    async def succeed(self, job: Object, snapshot: str) -> None:
        """End a backup well."""
        self.snapshots.add(snapshot)
        name = job["metadata"]["name"]
        result = a_result(snapshot=snapshot, message=f"{name} succeeded")
        begun = max(self.simulation.now(), self.last_end)
        await self.end(job, result.model_copy(update={"start_time": begun, "run_id": job["metadata"]["uid"]}))

    async def fail(self, job: Object) -> None:
        """End a backup badly."""
        name = job["metadata"]["name"]
        await self.end(job, a_result(reason=Reason.ETCD_UNREACHABLE, message=f"{name} failed"))

    @asynccontextmanager
    async def kubelet(self) -> AsyncIterator[None]:
        """Run all Jobs but backups, for as long as the block lasts."""
        task = asyncio.create_task(self._run_jobs(), name="kubelet")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run_jobs(self) -> None:
        async with self.simulation.store.subscribe("jobs.batch") as changes:
            while (change := await changes.next()) is not None:
                job = change.entry.copy()
                operation = Operation(job["metadata"]["labels"][Label.OPERATION.value])
                if change.type == "ADDED" and operation is not Operation.BACKUP:
                    await asyncio.sleep(1)
                    with suppress(errors.NotFound):
                        await self.end(job, self._carry_out(operation, job))

    def _carry_out(self, operation: Operation, job: Object) -> RunResult:
        if not self.storage_works:
            return a_result(
                operation, reason=Reason.STORAGE_UNREACHABLE, message="the storage does not answer"
            )
        if operation is Operation.CHECK and self.damaged:
            return a_result(operation, reason=Reason.REPOSITORY_DAMAGED, message="pack 5a is missing")
        if operation is Operation.FORGET:
            container = job["spec"]["template"]["spec"]["containers"][0]
            snapshot = next(one["value"] for one in container["env"] if one["name"] == Env.SNAPSHOT_ID.value)
            if snapshot not in self.snapshots:
                return a_result(operation, reason=Reason.SNAPSHOT_NOT_FOUND, message="it is not there")
            self.snapshots.discard(snapshot)
        return a_result(operation)


class Server:
    """One server process: the controllers and, if it stands for election, its elector."""

    def __init__(self, world: SimulatedWorld, name: str, *, elects: bool = False) -> None:
        self.name = name
        self.process: Process = world.simulation.process(name)
        self.ready = asyncio.Event()
        self.registry = CollectorRegistry()
        self.elector: LeaderElector | None = None
        self._world = world
        self._elects = elects
        self._rng = random.Random(name)
        self._task: asyncio.Task[None] | None = None
        world.servers.append(self)

    @property
    def task(self) -> asyncio.Task[None]:
        """The process as a task."""
        assert self._task is not None, f"{self.name} was not started"
        return self._task

    async def ended(self) -> BaseException | None:
        """Wait until it has ended by itself; return what it ended with."""
        async with asyncio.timeout(600):
            await asyncio.wait({self.task})
        return self.task.exception()

    async def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it reconciles."""
        self._task = asyncio.create_task(self._run(), name=self.name)
        if wait:
            async with asyncio.timeout(600):
                await self.ready.wait()

    async def stop(self) -> None:
        """End it in order, as on SIGTERM."""
        self.process.resume()
        self.task.cancel()
        with suppress(asyncio.CancelledError, LeadershipLost):
            await self.task

    async def crash(self) -> None:
        """End it as SIGKILL does: nothing more is sent, what was sent is carried out."""
        self.process.crash()
        await self.stop()

    async def _run(self) -> None:
        simulation, loop = self._world.simulation, asyncio.get_running_loop()
        async with self.process.client() as client:
            if not self._elects:
                await self._reconcile(client)
                return
            self.elector = elector = LeaderElector(
                client,
                NAMESPACE,
                LEASE,
                self.name,
                rng=self._rng,
                clock=loop.time,
                sleep=self.process.sleep,
                now=lambda: simulation.now() + simulation.skew,
            )
            await elector.run(lambda: self._reconcile(client.guarded(elector.check)))

    async def _reconcile(self, client: Client) -> None:
        simulation = self._world.simulation
        await manager.run(
            client,
            self._world.settings,
            metrics=ControllerMetrics(self.registry),
            rng=self._rng,
            clock=lambda: simulation.now() + simulation.skew,
            ready=self.ready,
            identity=self.name,
        )


@asynccontextmanager
async def simulated_world(simulation: Simulation) -> AsyncIterator[SimulatedWorld]:
    """Make a namespace, with a person and a kubelet in it."""
    person = simulation.process("person")
    person.latency, person.spared = 0.0, True
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(person.client())
        metadata = {"name": NAMESPACE}
        await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        world = SimulatedWorld(simulation, client)
        await stack.enter_async_context(world.kubelet())
        try:
            yield world
        finally:
            for server in world.servers:
                await server.stop()


def in_simulation(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test in a world of its own, its first argument, and in the simulation's time."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        async def main() -> None:
            async with simulation(latency=0.01) as running, simulated_world(running) as world:
                await test(world, *arguments, **named)

        run_simulation(main())

    signature = inspect.signature(test)
    parameters = list(signature.parameters.values())[1:]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined] # pytest asks for it
    return run
