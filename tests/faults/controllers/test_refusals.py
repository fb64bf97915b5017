"""Fault 20: conflicts and throttling. It converges (C), with a number of requests that is bounded."""

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from kubedr_server.contract import Operation
from kubedr_server.kube.resources import (
    BACKUP_LOCATIONS,
    CRONJOBS,
    JOBS,
    METADATA_BACKUP_POLICIES,
    METADATA_BACKUP_RECORDS,
)
from kubedr_server.local.api import faults
from kubedr_server.local.api.faults import Condition, Fault
from support.kubedr_world import is_told, ready, snapshot
from support.simulated_world import NAMESPACE, Server, SimulatedWorld, in_simulation
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


def marks_a_job(method: str, path: str, _query: Mapping[str, str]) -> bool:
    """Whether a request marks a Job as told."""
    return method == "PATCH" and "/jobs/" in path


@pytest.mark.parametrize("trouble", [{"error": faults.conflict()}, {"cut": True}], ids=["409", "cut"])
@in_simulation
async def test_a_backup_is_told_and_counted_once_though_its_job_cannot_be_marked(
    world: SimulatedWorld, trouble: dict[str, Any]
) -> None:
    server = Server(world, "server")
    await server.start()
    await world.ready_policy()
    world.simulation.faults.add(Fault(marks_a_job, **trouble))
    await world.fail(await world.job_from_cronjob("run-1"))
    await asyncio.sleep(60)
    assert not is_told(await world.get(JOBS, "run-1"))
    assert (await world.get(METADATA_BACKUP_POLICIES, "nightly"))["status"]["consecutiveFailures"] == 1
    # The next server cannot know how far this one has come.
    await server.crash()
    server = Server(world, "next")
    await server.start()
    await asyncio.sleep(60)
    world.simulation.faults.clear()
    await world.becomes(JOBS, "run-1", is_told)
    await world.back_up("run-2", snapshot(2))
    await world.becomes(JOBS, "run-2", is_told)
    for reason in ("BackupFailed", "BackupSucceeded"):
        assert [event["count"] for event in await world.told(reason)] == [1]
    labels = {"namespace": NAMESPACE, "policyName": "nightly"}
    assert server.registry.get_sample_value("kubedr_num_successful_backups", labels) == 1


@in_simulation
async def test_a_backup_counts_once_its_job_can_be_marked(world: SimulatedWorld) -> None:
    server = Server(world, "server")
    await server.start()
    await world.ready_policy()
    world.simulation.faults.add(Fault(marks_a_job, times=3, error=faults.conflict()))
    await world.back_up("run-1", snapshot(1))
    await world.becomes(JOBS, "run-1", is_told)
    await asyncio.sleep(60)
    labels = {"namespace": NAMESPACE, "policyName": "nightly"}
    for name in (
        "kubedr_num_backups",
        "kubedr_num_successful_backups",
        "kubedr_backup_duration_seconds_count",
    ):
        assert server.registry.get_sample_value(name, labels) == 1, name


@in_simulation
async def test_a_deletion_is_told_once_though_the_finalizer_cannot_be_taken_away(
    world: SimulatedWorld,
) -> None:
    await Server(world, "server").start()
    await world.ready_policy()
    await world.back_up("run-1", snapshot(1))
    await world.becomes(JOBS, "run-1", is_told)

    def takes_the_finalizer(method: str, path: str, _query: Mapping[str, str]) -> bool:
        return method == "PATCH" and path.endswith("/mbr-00000001")

    world.simulation.faults.add(Fault(takes_the_finalizer, times=5, error=faults.conflict()))
    await world.client.delete(METADATA_BACKUP_RECORDS, NAMESPACE, "mbr-00000001")
    await world.goes(METADATA_BACKUP_RECORDS, "mbr-00000001")
    assert [event["count"] for event in await world.told("DeleteSucceeded")] == [1]


@in_simulation
async def test_a_cronjob_of_another_owner_is_not_taken(world: SimulatedWorld) -> None:
    theirs = await world.foreign_cronjob()
    await Server(world, "server").start()
    await world.secret()
    await world.location()
    await world.policy()
    await world.becomes(METADATA_BACKUP_POLICIES, "nightly", ready("False", "Conflict"))
    found = await world.get(CRONJOBS, "nightly-backup-cronjob")
    assert found["metadata"] == theirs["metadata"]

    # Once it is out of the way, the policy has one of its own.
    await world.client.delete(CRONJOBS, NAMESPACE, "nightly-backup-cronjob")
    await world.becomes(METADATA_BACKUP_POLICIES, "nightly", ready("True"))


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
