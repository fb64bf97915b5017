"""Whatever people and faults do, in whatever order, the cluster comes to rest as a small model says.

The sequences are made by hypothesis, and the same ones each time: this test does not fail for one and pass
for another. To look for more, raise `max_examples` and take `derandomize` away; to have a failure shortened
add `Phase.shrink`, which takes minutes.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from kubedr_server.api.names import backup_cronjob_name
from kubedr_server.kube.resources import (
    BACKUP_LOCATIONS,
    CRONJOBS,
    JOBS,
    METADATA_BACKUP_POLICIES,
    METADATA_BACKUP_RECORDS,
    Resource,
)
from kubedr_server.local.api import faults
from kubedr_server.local.api.faults import Fault
from kubedr_server.manifests.labels import Label
from support.kubedr_world import snapshot
from support.model_world import Model, Policy, Run, differences
from support.simulated_world import NAMESPACE, Server, SimulatedWorld, simulated_world
from support.simulation import Simulation, SimulationLoop, simulation

pytestmark = [pytest.mark.fault, pytest.mark.timeout(400)]

POLICIES = st.sampled_from(["daily", "nightly"])
LOCATIONS = st.sampled_from(["minio", "second"])
# Never due while a test runs: what the schedule itself does is not what is tried here.
SCHEDULES = st.sampled_from(["0 0 1 1 *", "30 6 1 1 *"])
RETAIN = st.integers(1, 3)
DEATHS = st.sampled_from([None, None, 1, 2, 3, 4, 5])
PAUSES = st.sampled_from([0.0, 0.0, 0.02, 1.0, 30.0])
TROUBLE: dict[str, dict[str, Any]] = {
    "conflicts": {"when": faults.is_write, "times": 6, "error": faults.conflict()},
    "throttled": {"when": faults.is_write, "times": 4, "error": faults.too_many_requests(2)},
    "cut": {"when": lambda *_: True, "times": 4, "cut": True},
    "gone": {"when": faults.is_watch, "times": 8, "error": faults.gone(), "in_stream": True},
    "silent": {"when": faults.is_watch, "times": 4, "hang": True},
}
MEDDLING: dict[str, dict[str, Any] | None] = {
    "delete": None,
    "labels": {"metadata": {"labels": None}},
    "spec": {"spec": {"schedule": "1 1 1 1 *", "suspend": False, "concurrencyPolicy": "Allow"}},
}
_REST_SECONDS = 150.0
_PATIENCE = 4
"""How many such rests the server has after all trouble has ended."""

T = TypeVar("T")
Object = dict[str, Any]


class Machine(RuleBasedStateMachine):
    """People, kubelets and faults; each rule does the same to the cluster and to the model."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.numbers = iter(range(1, 1000))
        self.up = False
        self.at_rest = True
        """Whether the cluster is as the model says at this moment, as far as the server has to do with it."""

        self._runner = asyncio.Runner(loop_factory=SimulationLoop)
        self._stack = AsyncExitStack()
        self.server: Server
        self.world: SimulatedWorld
        self.simulation: Simulation

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run the loop, servers and all, until some work is done."""
        done = self._runner.run(work)
        if self.up and self.server.process.stopped.is_set():
            self._runner.run(self._bury())
        return done

    async def _bury(self) -> None:
        await self.server.crash()
        self.up = False
        for run in self.model.runs.values():
            run.restarts += run.ended is not None

    @initialize()
    def begin(self) -> None:
        self.do(self._begin())

    async def _begin(self) -> None:
        self.simulation = await self._stack.enter_async_context(simulation(latency=0.01))
        self.world = await self._stack.enter_async_context(simulated_world(self.simulation))
        # Nothing but what is heard of: a second look from time to time would hide what was missed.
        self.world.settings = replace(self.world.settings, resync_seconds=0)
        await self.world.secret()
        await self._start()
        await self._create_location("minio", 1.0)
        await self._create_policy("nightly", Policy("minio", "0 0 1 1 *", suspend=False, retain=2))

    def teardown(self) -> None:
        try:
            self.do(self._end())
        finally:
            self._runner.close()

    async def _end(self) -> None:
        try:
            if not self.up:
                await self._start()
            await self._rest()
        finally:
            await self._stack.aclose()

    async def _start(self) -> None:
        self.server = Server(self.world, f"server-{next(self.numbers)}")
        await self.server.start()
        self.up, self.at_rest = True, False

    async def _rest(self) -> None:
        """Let the server finish, and compare."""
        self.simulation.faults.clear()
        self.model.come_to_rest()
        wrong: list[str] = []
        for _ in range(_PATIENCE):
            await asyncio.sleep(_REST_SECONDS)
            if self.server.process.stopped.is_set():
                await self._bury()
                await self._start()
                continue
            wrong = await differences(self.world, self.model)
            if not wrong:
                break
        assert not wrong, wrong
        self.at_rest = True

    async def _be_sure(self) -> None:
        """Make sure how far the server has come, before something is done that what follows depends on."""
        if not self.up and not self.at_rest:
            await self._start()
        if self.up:
            await self._rest()

    async def _pause(self, seconds: float) -> None:
        """Let the server see what was done, or not yet."""
        await asyncio.sleep(seconds)
        self.at_rest = self.at_rest and not self.up

    # What a person does.

    @rule(name=LOCATIONS, pause=PAUSES)
    def create_location(self, name: str, pause: float) -> None:
        if name not in self.model.locations:
            self.do(self._create_location(name, pause))

    async def _create_location(self, name: str, pause: float) -> None:
        spec: Object = {"url": "http://minio:9000", "bucketName": name, "credentials": "minio-creds"}
        # Looks at the repository would bring back what the model takes for lost.
        spec["suspendMaintenance"] = True
        await self._create(BACKUP_LOCATIONS, name, spec)
        self.model.locations.add(name)
        await self._pause(pause)

    @rule(name=LOCATIONS, pause=PAUSES)
    def delete_location(self, name: str, pause: float) -> None:
        if name in self.model.locations:
            self.do(self._delete_location(name, pause))

    async def _delete_location(self, name: str, pause: float) -> None:
        await self._be_sure()
        await self.world.client.delete(BACKUP_LOCATIONS, NAMESPACE, name)
        self.model.locations.discard(name)
        await self._pause(pause)

    @rule(name=POLICIES, destination=LOCATIONS, schedule=SCHEDULES, suspend=st.booleans(), retain=RETAIN)
    def create_policy(self, name: str, destination: str, schedule: str, suspend: bool, retain: int) -> None:
        if name not in self.model.policies:
            self.do(self._create_policy(name, Policy(destination, schedule, suspend, retain)))

    async def _create_policy(self, name: str, policy: Policy) -> None:
        spec = {
            "destination": policy.destination,
            "schedule": policy.schedule,
            "suspend": policy.suspend,
            "retainNumBackups": policy.retain,
        }
        await self._create(METADATA_BACKUP_POLICIES, name, spec)
        self.model.policies[name] = policy
        await self._pause(0.0)

    async def _create(self, resource: Resource, name: str, spec: Object) -> None:
        metadata = {"name": name, "namespace": NAMESPACE}
        obj = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec}
        await self.world.client.create(resource, obj)

    @rule(name=POLICIES, schedule=SCHEDULES, suspend=st.booleans(), pause=PAUSES)
    def edit_policy(self, name: str, schedule: str, suspend: bool, pause: float) -> None:
        if name in self.model.policies:
            self.do(self._edit(name, pause, schedule=schedule, suspend=suspend))
            self.model.policies[name].schedule = schedule
            self.model.policies[name].suspend = suspend

    async def _edit(self, name: str, pause: float, **spec: Any) -> None:
        await self.world.client.patch(METADATA_BACKUP_POLICIES, NAMESPACE, name, {"spec": spec})
        await self._pause(pause)

    @rule(name=POLICIES, destination=LOCATIONS, retain=RETAIN)
    def redirect_policy(self, name: str, destination: str, retain: int) -> None:
        if name in self.model.policies:
            self.do(self._redirect(name, destination, retain))

    async def _redirect(self, name: str, destination: str, retain: int) -> None:
        """Change what is not undone by changing it back: the server is let see each state, or none."""
        await self._be_sure()
        await self._edit(name, 0.0, destination=destination, retainNumBackups=retain)
        self.model.policies[name].destination = destination
        self.model.policies[name].retain = retain
        if self.up:
            await self._rest()

    @rule(name=POLICIES, pause=PAUSES)
    def delete_policy(self, name: str, pause: float) -> None:
        if name in self.model.policies:
            self.do(self._delete_policy(name, pause))

    async def _delete_policy(self, name: str, pause: float) -> None:
        await self._be_sure()
        await self.world.client.delete(METADATA_BACKUP_POLICIES, NAMESPACE, name)
        self.model.drop_policy(name)
        await self._pause(pause)

    @precondition(lambda self: self.model.records)
    @rule(data=st.data())
    def delete_record(self, data: st.DataObject) -> None:
        self.do(self._be_sure())
        if kept := self.model.kept():
            self.do(self._delete_record(data.draw(st.sampled_from(kept))))

    async def _delete_record(self, name: str) -> None:
        await self.world.client.delete(METADATA_BACKUP_RECORDS, NAMESPACE, name)
        self.model.records[name].deleting = True
        await self._pause(0.0)

    @rule(name=POLICIES, kind=st.sampled_from(sorted(MEDDLING)), pause=PAUSES)
    def meddle_with_cronjob(self, name: str, kind: str, pause: float) -> None:
        if name in self.model.policies and self.model.policies[name].has_cronjob:
            self.do(self._meddle(name, MEDDLING[kind], pause))

    async def _meddle(self, name: str, body: Object | None, pause: float) -> None:
        cronjob = backup_cronjob_name(name)
        if body is None:
            await self._be_sure()
            await self.world.client.delete(CRONJOBS, NAMESPACE, cronjob)
            self.model.drop_cronjob(name)
        elif "spec" in body or self.model.policies[name].destination in self.model.locations:
            await self.world.client.patch(CRONJOBS, NAMESPACE, cronjob, body)
        await self._pause(pause)

    # What kubelets and Kubernetes' controllers do.

    @rule(name=POLICIES, succeeds=st.sampled_from([None, False, True, True]), dies=DEATHS, pause=PAUSES)
    def back_up(self, name: str, succeeds: bool | None, dies: int | None, pause: float) -> None:
        """Begin a backup and, unless it goes on, end it; the server may die over that."""
        if name in self.model.policies:
            self.do(self._back_up(name, succeeds, dies, pause))

    async def _back_up(self, name: str, succeeds: bool | None, dies: int | None, pause: float) -> None:
        await self._be_sure()
        if not self.model.policies[name].has_cronjob:
            return
        job = f"{name}-{next(self.numbers)}"
        made = await self.world.job_from_cronjob(job, backup_cronjob_name(name))
        self.model.runs[job] = Run(name, made["metadata"]["labels"][Label.LOCATION.value])
        if dies is not None:
            self._doom(dies)
        if succeeds is not None:
            await self._end_backup(job, succeeds, pause)
        await self._pause(0.0)

    @precondition(lambda self: self.model.begun())
    @rule(data=st.data(), succeeds=st.booleans(), pause=PAUSES)
    def end_backups(self, data: st.DataObject, succeeds: bool, pause: float) -> None:
        for name in data.draw(st.lists(st.sampled_from(self.model.begun()), min_size=1, unique=True)):
            self.do(self._end_backup(name, succeeds, pause))

    async def _end_backup(self, name: str, succeeds: bool, pause: float) -> None:
        run, job = self.model.runs[name], await self.world.get(JOBS, name)
        if succeeds:
            run.snapshot = snapshot(next(self.numbers))
            self.model.snapshots.add(run.snapshot)
            await self.world.succeed(job, run.snapshot)
        else:
            await self.world.fail(job)
        run.ended = self.world.last_end
        await self._pause(pause)

    @precondition(lambda self: self.model.told())
    @rule(data=st.data())
    def clean_up_job(self, data: st.DataObject) -> None:
        """Delete a finished Job, as the CronJob controller does beyond its history limits."""
        name = data.draw(st.sampled_from(self.model.told()))
        self.do(self.world.client.delete(JOBS, NAMESPACE, name))
        del self.model.runs[name]

    @rule(works=st.booleans())
    def storage(self, works: bool) -> None:
        self.do(self._storage(works))

    async def _storage(self, works: bool) -> None:
        await self._be_sure()
        self.model.storage_works = self.world.storage_works = works
        await self._pause(0.0)

    # What goes wrong.

    @rule(kind=st.sampled_from([*sorted(TROUBLE), "compaction"]))
    def trouble(self, kind: str) -> None:
        if kind == "compaction":
            self.simulation.store.compact()
        else:
            self.simulation.faults.add(Fault(**TROUBLE[kind]))

    @rule(writes=st.integers(0, 4))
    def crash(self, writes: int) -> None:
        self._doom(writes)
        self.do(asyncio.sleep(0))

    def _doom(self, writes: int) -> None:
        """Have the server die right after one of its next writes, before that is answered; or now."""
        if self.up:
            process = self.server.process
            process.after_writes(writes, process.crash)

    @rule()
    def stop_or_start(self) -> None:
        self.do(self._stop() if self.up else self._start())

    async def _stop(self) -> None:
        await self.server.stop()
        self.up = False


Machine.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=20,
    derandomize=True,
    deadline=None,
    database=None,
    print_blob=False,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class TestConvergence(Machine.TestCase):  # type: ignore[misc, valid-type] # made by hypothesis
    """Convergence of random sequences."""
