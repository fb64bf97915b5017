"""Fault 19: watches that break, end, lie or fall silent, while the cluster changes. It converges (C)."""

import asyncio

import pytest

from kubedr_server.contract import Operation
from kubedr_server.kube.resources import (
    CRONJOBS,
    JOBS,
    METADATA_BACKUP_POLICIES,
    METADATA_BACKUP_RECORDS,
)
from kubedr_server.local.api import faults
from kubedr_server.local.api.errors import APIError
from kubedr_server.local.api.faults import Fault
from support.kubedr_world import is_told, ready, snapshot
from support.simulated_world import NAMESPACE, Server, SimulatedWorld, in_simulation

pytestmark = pytest.mark.fault

_CRONJOB = "nightly-backup-cronjob"
_BROKEN = APIError(500, "InternalError", "etcdserver: mvcc: database space exceeded")
TROUBLE = {
    "410 as the answer": Fault(faults.is_watch, error=faults.gone()),
    "410 in the stream": Fault(faults.is_watch, error=faults.gone(), in_stream=True, after_lines=1),
    "an error in the stream": Fault(faults.is_watch, error=_BROKEN, in_stream=True),
    "a stream that is cut": Fault(faults.is_watch, cut=True, in_stream=True, after_lines=1),
    "a silent stream": Fault(faults.is_watch, hang=True),
    "half-open connections": Fault(lambda *_: True, delay=100_000.0),
}


async def settled(world: SimulatedWorld) -> Server:
    """Start a server, with one policy and one told backup."""
    server = Server(world, "server")
    await server.start()
    await world.ready_policy(retainNumBackups=2)
    await world.back_up("run-1", snapshot(1))
    await world.becomes(JOBS, "run-1", is_told)
    return server


@pytest.mark.parametrize("trouble", TROUBLE)
@in_simulation
async def test_what_changed_meanwhile_is_found(world: SimulatedWorld, trouble: str) -> None:
    server = await settled(world)
    world.simulation.faults.add(Fault(**vars(TROUBLE[trouble])))
    # What is watched now goes on: a connection that is open has to break before its successor fails.
    world.simulation.cut_watches(server.name)
    await asyncio.sleep(1)
    # A CronJob edited and a policy with it, backups ended, and a record deleted: nobody is told of any.
    await world.client.patch(CRONJOBS, NAMESPACE, _CRONJOB, {"spec": {"schedule": "1 1 1 1 *"}})
    await world.policy(schedule="30 6 * * *", retainNumBackups=2)
    for number in (2, 3, 4):
        await world.back_up(f"run-{number}", snapshot(number))
    await world.client.delete(METADATA_BACKUP_RECORDS, NAMESPACE, "mbr-00000001")
    await asyncio.sleep(100)
    world.simulation.faults.clear()

    await world.goes(METADATA_BACKUP_RECORDS, "mbr-00000001")
    await world.goes(METADATA_BACKUP_RECORDS, "mbr-00000002")
    policy = await world.get(METADATA_BACKUP_POLICIES, "nightly")
    assert (await world.get(CRONJOBS, _CRONJOB))["spec"]["schedule"] == "30 6 * * *"
    assert policy["status"]["observedGeneration"] == policy["metadata"]["generation"]
    assert world.snapshots == {snapshot(3), snapshot(4)}
    assert len(await world.told("BackupSucceeded", 4)) == 4
    assert not server.task.done()


@pytest.mark.parametrize("trouble", ["410 as the answer", "half-open connections"])
@in_simulation
async def test_the_api_server_is_not_overrun(world: SimulatedWorld, trouble: str) -> None:
    server = await settled(world)
    world.simulation.faults.add(Fault(**vars(TROUBLE[trouble])))
    world.simulation.cut_watches(server.name)
    before = len(world.simulation.requests(server.name))
    await asyncio.sleep(600)
    # Eight kinds are watched, and each is listed and watched anew every quarter of a minute on average.
    assert len(world.simulation.requests(server.name)) - before < 8 * 2 * 4 * 10 * 1.5


@in_simulation
async def test_a_policy_made_anew_while_not_watching_gets_its_own_cronjob(world: SimulatedWorld) -> None:
    server = await settled(world)
    old = await world.get(CRONJOBS, _CRONJOB)
    world.simulation.faults.add(Fault(faults.is_watch, hang=True))
    world.simulation.cut_watches(server.name)
    await asyncio.sleep(1)
    await world.client.delete(METADATA_BACKUP_POLICIES, NAMESPACE, "nightly")
    await asyncio.sleep(1)
    await world.policy(retainNumBackups=2)
    world.simulation.faults.clear()
    policy = await world.becomes(METADATA_BACKUP_POLICIES, "nightly", ready("True"))
    new = await world.get(CRONJOBS, _CRONJOB)
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    assert [owner["uid"] for owner in new["metadata"]["ownerReferences"]] == [policy["metadata"]["uid"]]
    assert await world.jobs(Operation.BACKUP) == []
    assert policy["status"].get("lastJob") is None
