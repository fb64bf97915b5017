"""Fault 21: what is deleted while it is in use, and what is made anew under its name (C, R)."""

import asyncio
from datetime import datetime

import pytest

from kubedr_server.contract import Operation
from kubedr_server.controllers.jobs import ended
from kubedr_server.kube.resources import (
    BACKUP_LOCATIONS,
    CRDS,
    CRONJOBS,
    JOBS,
    METADATA_BACKUP_POLICIES,
    METADATA_BACKUP_RECORDS,
    NAMESPACES,
)
from kubedr_server.local.api.faults import Fault
from kubedr_server.local.api.storage import Subscription
from kubedr_server.manifests.labels import Label
from support.kubedr_world import is_told, ready, snapshot
from support.simulated_world import NAMESPACE, Server, SimulatedWorld, in_simulation

pytestmark = pytest.mark.fault

_CRONJOB = "nightly-backup-cronjob"
_POLICY_CRD = "metadatabackuppolicies.kubedr.catalogicsoftware.com"


async def settled(world: SimulatedWorld, backups: int = 1) -> Server:
    """Start a server, with one policy and some told backups."""
    server = Server(world, "server")
    await server.start()
    await world.ready_policy()
    for number in range(1, backups + 1):
        await world.back_up(f"run-{number}", snapshot(number))
        await world.becomes(JOBS, f"run-{number}", is_told)
    return server


@in_simulation
async def test_a_policy_that_is_deleted_in_mid_backup_takes_its_jobs_and_leaves_its_records(
    world: SimulatedWorld,
) -> None:
    await settled(world)
    await world.job_from_cronjob("under-way")
    await world.client.delete(METADATA_BACKUP_POLICIES, NAMESPACE, "nightly")
    await world.goes(CRONJOBS, _CRONJOB)
    await world.goes(JOBS, "under-way")
    await asyncio.sleep(60)
    assert [record["metadata"]["name"] for record in await world.all(METADATA_BACKUP_RECORDS)] == [
        "mbr-00000001"
    ]
    assert world.snapshots == {snapshot(1)}
    assert await world.all(CRONJOBS) == []


@in_simulation
async def test_a_policy_of_the_same_name_does_not_take_the_old_ones_jobs(world: SimulatedWorld) -> None:
    await settled(world)
    job = await world.job_from_cronjob("of-the-old-one")
    # The Job outlives its CronJob, with a reference to a uid that is no more.
    await world.client.delete(CRONJOBS, NAMESPACE, _CRONJOB, propagation="Orphan")
    await world.client.delete(METADATA_BACKUP_POLICIES, NAMESPACE, "nightly")
    await asyncio.sleep(60)
    await world.policy()
    policy = await world.becomes(METADATA_BACKUP_POLICIES, "nightly", ready("True"))
    await world.fail(job)
    await asyncio.sleep(60)
    cronjob = await world.get(CRONJOBS, _CRONJOB)
    assert [owner["uid"] for owner in cronjob["metadata"]["ownerReferences"]] == [policy["metadata"]["uid"]]
    status = (await world.get(METADATA_BACKUP_POLICIES, "nightly"))["status"]
    assert (status.get("consecutiveFailures") or 0, status.get("backupStatus")) == (0, None)
    assert not is_told(await world.get(JOBS, "of-the-old-one"))


@in_simulation
async def test_a_location_of_the_same_name_is_initialised_by_a_job_of_its_own(world: SimulatedWorld) -> None:
    await settled(world)
    (first,) = await world.jobs(Operation.INIT)
    await world.client.delete(BACKUP_LOCATIONS, NAMESPACE, "minio")
    location = await world.location()
    await world.becomes(BACKUP_LOCATIONS, "minio", ready("True"))
    (second,) = await world.jobs(Operation.INIT)
    assert first["metadata"]["uid"] != second["metadata"]["uid"]
    assert [owner["uid"] for owner in second["metadata"]["ownerReferences"]] == [location["metadata"]["uid"]]


@in_simulation
async def test_a_location_that_is_deleted_goes_at_once_and_its_repository_stays(
    world: SimulatedWorld,
) -> None:
    await settled(world, backups=2)
    location = await world.get(BACKUP_LOCATIONS, "minio")
    assert "finalizers" not in location["metadata"]
    await world.client.delete(BACKUP_LOCATIONS, NAMESPACE, "minio")
    await world.goes(BACKUP_LOCATIONS, "minio")
    await world.becomes(METADATA_BACKUP_POLICIES, "nightly", ready("False", "NotFound"))
    await asyncio.sleep(3600)
    assert world.snapshots == {snapshot(1), snapshot(2)}
    assert len(await world.all(METADATA_BACKUP_RECORDS)) == 2
    assert await world.jobs(Operation.FORGET) == []


@pytest.mark.parametrize("writes", range(5))
@in_simulation
async def test_a_finalizer_whose_server_dies_at_each_step(world: SimulatedWorld, writes: int) -> None:
    server = await settled(world, backups=2)
    server.process.after_writes(writes, server.process.crash)
    await world.client.delete(METADATA_BACKUP_RECORDS, NAMESPACE, "mbr-00000001")
    await asyncio.sleep(60)
    await server.crash()
    await Server(world, "next").start()
    await world.goes(METADATA_BACKUP_RECORDS, "mbr-00000001")
    # The snapshot went before its record, by one Job, and no other snapshot did.
    assert world.snapshots == {snapshot(2)}
    assert len(await world.jobs(Operation.FORGET)) == 1
    assert [record["metadata"]["name"] for record in await world.all(METADATA_BACKUP_RECORDS)] == [
        "mbr-00000002"
    ]


@in_simulation
async def test_a_namespace_that_is_deleted_in_mid_backup_goes_and_comes_again(world: SimulatedWorld) -> None:
    server = await settled(world)
    await world.job_from_cronjob("under-way")
    await world.client.delete(NAMESPACES, None, NAMESPACE)
    await world.goes(NAMESPACES, NAMESPACE)
    assert world.snapshots == {snapshot(1)}  # whoever deletes a namespace did not ask to lose backups
    metadata = {"name": NAMESPACE}
    await world.client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    await world.ready_policy()
    assert (await world.get(CRONJOBS, _CRONJOB))["spec"]["suspend"] is False
    assert not server.task.done()


@in_simulation
async def test_a_kind_that_is_deleted_is_waited_for(world: SimulatedWorld) -> None:
    server = await settled(world)
    definition = await world.client.get(CRDS, None, _POLICY_CRD)
    await world.client.delete(CRDS, None, _POLICY_CRD)
    await world.goes(CRONJOBS, _CRONJOB)
    await asyncio.sleep(600)
    del definition["metadata"]["uid"], definition["metadata"]["resourceVersion"]
    await world.client.create(CRDS, {**definition, "status": {}})
    await asyncio.sleep(5)
    await world.policy()
    await world.becomes(METADATA_BACKUP_POLICIES, "nightly", ready("True"))
    await world.get(CRONJOBS, _CRONJOB)
    assert not server.task.done()


@in_simulation
async def test_snapshots_are_forgotten_one_after_the_other(world: SimulatedWorld) -> None:
    await settled(world, backups=8)
    async with world.simulation.store.subscribe("jobs.batch") as changes:
        await world.policy(retainNumBackups=1)
        for number in range(1, 8):
            await world.goes(METADATA_BACKUP_RECORDS, f"mbr-{number:08x}")
        changes.end()
        together, operations = await most_together(changes)
    assert (together, operations) == (1, {Operation.FORGET.value})
    assert world.snapshots == {snapshot(8)}


@pytest.mark.parametrize("after", [-0.3, 0.3], ids=["forget-first", "prune-first"])
@in_simulation
async def test_a_pruning_and_a_forgetting_that_are_decided_on_at_once_take_turns(
    world: SimulatedWorld, after: float
) -> None:
    await settled(world)
    rarely = dict.fromkeys(("healthSchedule", "checkSchedule"), "0 0 1 1 *")
    await world.location(suspendMaintenance=False, pruneSchedule="0 * * * *", **rarely)
    location = await world.becomes(BACKUP_LOCATIONS, "minio", lambda obj: "nextPruneTime" in obj["status"])
    due = datetime.fromisoformat(location["status"]["nextPruneTime"]) - world.simulation.now()
    async with world.simulation.store.subscribe("jobs.batch") as changes:
        # While the one Job is being made, nobody can see it, and the other is decided on.
        world.simulation.faults.add(Fault(lambda method, *_: method == "POST", delay=5))
        await asyncio.sleep(due.total_seconds() + after)
        await world.client.delete(METADATA_BACKUP_RECORDS, NAMESPACE, "mbr-00000001")
        await world.goes(METADATA_BACKUP_RECORDS, "mbr-00000001")
        await world.becomes(BACKUP_LOCATIONS, "minio", lambda obj: "lastPruneTime" in obj["status"])
        changes.end()
        together, operations = await most_together(changes)
    assert operations == {Operation.FORGET.value, Operation.PRUNE.value}
    assert together == 1


@in_simulation
async def test_two_locations_of_one_repository_are_initialised_one_after_the_other(
    world: SimulatedWorld,
) -> None:
    await settled(world)
    first = await world.get(BACKUP_LOCATIONS, "minio")
    async with world.simulation.store.subscribe("jobs.batch") as changes:
        for name in ("one", "two"):
            spec = {**first["spec"], "prefix": "a-new-place"}
            obj = {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}
            await world.client.create(
                BACKUP_LOCATIONS, {**{key: first[key] for key in ("apiVersion", "kind")}, **obj}
            )
        for name in ("one", "two"):
            await world.becomes(BACKUP_LOCATIONS, name, ready("True"))
        changes.end()
        together, operations = await most_together(changes)
    assert operations == {Operation.INIT.value}
    assert together == 1


async def most_together(changes: Subscription) -> tuple[int, set[str]]:
    """Return how many Jobs that need the repository alone were there at once at the most, and their kinds."""
    running: set[str] = set()
    operations: set[str] = set()
    together = 0
    while (change := await changes.next()) is not None:
        job, name = change.entry.object, change.entry.key.name
        operation = job["metadata"]["labels"][Label.OPERATION.value]
        if operation not in {Operation.FORGET.value, Operation.PRUNE.value, Operation.INIT.value}:
            continue
        operations.add(operation)
        running.add(name)
        if ended(job) is not None or change.type == "DELETED":
            running.discard(name)
        together = max(together, len(running))
    return together, operations
