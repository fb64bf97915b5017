"""Fault 20: conflicts and throttling. It converges (C), with a number of requests that is bounded."""

import asyncio
import itertools
from collections.abc import Mapping

import pytest

from kubedr_server.contract import Operation
from kubedr_server.kube.resources import (
    BACKUP_LOCATIONS,
    JOBS,
    METADATA_BACKUP_POLICIES,
    METADATA_BACKUP_RECORDS,
)
from kubedr_server.local.api import faults
from kubedr_server.local.api.faults import Condition, Fault
from support.kubedr_world import is_told, ready, snapshot
from support.simulated_world import Server, SimulatedWorld, in_simulation
from support.simulation import Seen

pytestmark = pytest.mark.fault

_RETRY_AFTER = 7


def every_second_write() -> Condition:
    """Return a condition that holds for half of the writes. Events have names of their own: no conflicts."""
    turns = itertools.cycle((True, False))

    def check(method: str, path: str, query: Mapping[str, str]) -> bool:
        return faults.is_write(method, path, query) and not path.endswith("/events") and next(turns)

    return check


async def work(world: SimulatedWorld, server: Server) -> int:
    """Have a whole life reconciled: from nothing to three backups of which one has expired."""
    await server.start()
    await world.ready_policy(retainNumBackups=2)
    for number in (1, 2, 3):
        await world.back_up(f"run-{number}", snapshot(number))
        await world.becomes(JOBS, f"run-{number}", is_told)
    await world.goes(METADATA_BACKUP_RECORDS, "mbr-00000001")
    await asyncio.sleep(60)
    return len(world.simulation.writes(server.name))


async def check(world: SimulatedWorld) -> None:
    """See that the life has come out right."""
    policy = await world.becomes(METADATA_BACKUP_POLICIES, "nightly", ready("True"))
    await world.becomes(BACKUP_LOCATIONS, "minio", ready("True"))
    assert policy["status"]["observedGeneration"] == policy["metadata"]["generation"]
    assert policy["status"]["consecutiveFailures"] == 0
    names = {record["metadata"]["name"] for record in await world.all(METADATA_BACKUP_RECORDS)}
    assert names == {"mbr-00000002", "mbr-00000003"}
    assert world.snapshots == {snapshot(2), snapshot(3)}
    assert len(await world.jobs(Operation.FORGET)) == 1
    events = await world.told("BackupSucceeded", 3)
    assert {event["message"] for event in events} == {f"run-{number} succeeded" for number in (1, 2, 3)}


@in_simulation
async def test_conflicts_on_half_of_the_writes(world: SimulatedWorld) -> None:
    trouble = Fault(every_second_write(), error=faults.conflict())
    world.simulation.faults.add(trouble)
    writes = await work(world, Server(world, "server"))
    await check(world)
    # Without trouble it takes 28. Each that is refused is made again, after what comes before it in its turn.
    assert writes < 4 * 28


@in_simulation
async def test_being_asked_to_come_later(world: SimulatedWorld) -> None:
    world.simulation.faults.add(Fault(every_second_write(), error=faults.too_many_requests(_RETRY_AFTER)))
    writes = await work(world, Server(world, "server"))
    await check(world)
    # The same request is made again and nothing else is.
    assert writes < 2.5 * 28
    assert earliest_repetition(world.simulation.writes("server")) >= _RETRY_AFTER


def earliest_repetition(writes: list[Seen]) -> float:
    """Return how soon a write was made again in the same words."""
    last: dict[str, float] = {}
    gaps = []
    for seen in writes:
        key = f"{seen.method} {seen.path} {seen.body}"
        if key in last:
            gaps.append(seen.at - last[key])
        last[key] = seen.at
    return min(gaps)


@in_simulation
async def test_a_server_that_refuses_everything_is_asked_less_and_less(world: SimulatedWorld) -> None:
    server = Server(world, "server")
    await server.start()
    world.simulation.faults.add(Fault(faults.is_write, error=faults.conflict()))
    await world.secret()
    await world.location()
    await world.policy()
    await asyncio.sleep(3600)
    # Two objects, each a few times at first and then once a minute.
    assert len(world.simulation.writes("server")) < 2 * 90
    world.simulation.faults.clear()
    await world.becomes(METADATA_BACKUP_POLICIES, "nightly", ready("True"))
