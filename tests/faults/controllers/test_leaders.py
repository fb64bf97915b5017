"""Fault 17: two servers. At most one of them writes (X), and each outcome is told once (T)."""

import asyncio

import pytest

from kubedr_server.kube.election import LeadershipLost
from kubedr_server.kube.resources import JOBS, METADATA_BACKUP_POLICIES, METADATA_BACKUP_RECORDS
from kubedr_server.local.api import faults
from kubedr_server.local.api.faults import Fault
from support.kubedr_world import is_told, snapshot
from support.simulated_world import LEASE, Server, SimulatedWorld, in_simulation

pytestmark = pytest.mark.fault

_LEASE_SECONDS = 15.0
_POLICY = "nightly"


async def two_servers(world: SimulatedWorld) -> tuple[Server, Server]:
    """Return the leader, and the one that waits to become it."""
    first, second = Server(world, "first", elects=True), Server(world, "second", elects=True)
    await first.start()
    await second.start(wait=False)
    await world.ready_policy()
    return first, second


# A good backup takes a record, its status, the policy's status, an Event and the Job's mark.
@pytest.mark.parametrize(("succeeds", "writes"), [(True, 1), (True, 2), (True, 3), (True, 5), (False, 1)])
@in_simulation
async def test_a_leader_that_is_paused_for_a_minute_writes_nothing_after_it(
    world: SimulatedWorld, succeeds: bool, writes: int
) -> None:
    first, second = await two_servers(world)
    # Its answer, and all that it would do with it, comes a minute later.
    first.process.after_writes(writes, first.process.pause)
    job = await world.job_from_cronjob("run-1")
    await (world.succeed(job, snapshot(1)) if succeeds else world.fail(job))
    await first.process.stopped.wait()
    await asyncio.sleep(60)
    assert second.elector is not None
    assert second.elector.leading
    await world.becomes(JOBS, "run-1", is_told)
    first.process.resume()
    assert isinstance(await first.ended(), LeadershipLost)
    await asyncio.sleep(60)

    taken_over = world.simulation.writes("second")[0].at
    assert world.simulation.writes("first", after=taken_over) == []
    status = (await world.get(METADATA_BACKUP_POLICIES, _POLICY))["status"]
    records = await world.all(METADATA_BACKUP_RECORDS)
    wanted = (0, "Completed", 1) if succeeds else (1, "Failed", 0)
    assert (status.get("consecutiveFailures", 0), status["backupStatus"], len(records)) == wanted


@in_simulation
async def test_a_leader_whose_lease_cannot_be_renewed_in_time_steps_down(world: SimulatedWorld) -> None:
    first, second = await two_servers(world)
    world.simulation.faults.add(Fault(faults.is_lease, delay=20.0))
    slow_since = asyncio.get_running_loop().time()
    assert isinstance(await first.ended(), LeadershipLost)
    assert asyncio.get_running_loop().time() - slow_since < _LEASE_SECONDS
    stepped_down = asyncio.get_running_loop().time()
    # What it had not told by then is told by the next one, once the lease can be had.
    await world.back_up("run-1", snapshot(1))
    await asyncio.sleep(60)
    world.simulation.faults.clear()
    await second.ready.wait()
    await world.becomes(JOBS, "run-1", is_told)
    other_than_lease = [
        seen for seen in world.simulation.writes("first", after=stepped_down) if LEASE not in seen.path
    ]
    assert other_than_lease == []
    assert len(await world.told("BackupSucceeded")) == 1


@in_simulation
async def test_a_leader_that_ends_in_order_hands_over_at_once(world: SimulatedWorld) -> None:
    first, second = await two_servers(world)
    await world.back_up("run-1", snapshot(1))
    begun = asyncio.get_running_loop().time()
    await first.stop()
    await second.ready.wait()
    assert asyncio.get_running_loop().time() - begun < _LEASE_SECONDS
    await world.becomes(JOBS, "run-1", is_told)
    assert len(await world.all(METADATA_BACKUP_RECORDS)) == 1
