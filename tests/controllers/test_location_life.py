"""A location's maintenance and its catalogue, with controllers that run against an API server."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.catalogue import CatalogueEntry, encode
from kubedr_server.contract import HealthResult, Operation
from kubedr_server.kube.election import LeadershipLost
from kubedr_server.kube.resources import (
    BACKUP_LOCATIONS,
    CRONJOBS,
    JOBS,
    METADATA_BACKUP_POLICIES,
    METADATA_BACKUP_RECORDS,
    METADATA_RESTORES,
)
from support.eventually import eventually
from support.fake_api import FakeApi
from support.kubedr_objects import a_backup, a_result, record_object, stamp
from support.kubedr_world import World, ready, snapshot

OWN, FOREIGN = snapshot(1), snapshot(2)


def an_entry(snapshot_id: str, cluster: str = "cluster-uid") -> CatalogueEntry:
    return CatalogueEntry(
        snapshot_id=snapshot_id,
        time=datetime.now(UTC) - timedelta(minutes=5),
        cluster_id=cluster,
        policy="kubedr-system/nightly",
        run_id="a-run-whose-job-is-gone",
        complete=True,
        backup=a_backup(snapshot_id),
    )


async def look(world: World, fake: FakeApi, log: str, besides: str = "") -> dict[str, Any]:
    """Carry out the next look at the repository, with this on its pod's log; wait until it is told."""
    job = await world.job(Operation.HEALTH, besides=besides)
    name = job["metadata"]["name"]
    fake.logs[f"{name}-abcde"] = f"2026-03-01T12:00:00Z Opening the repository\n{log}"
    # This API server gives no time, and what is younger than the list may be missing from it.
    made = {"metadata": {"creationTimestamp": stamp(datetime.now(UTC) + timedelta(days=1))}}
    job = await world.client.patch(JOBS, world.namespace, name, made)
    found = HealthResult(snapshots=2, repository_size=4096, locks=0)
    await world.end(job, a_result(Operation.HEALTH).model_copy(update={"health": found}))
    await world.goes(JOBS, name)
    return job


def condition(obj: dict[str, Any], type_: str) -> dict[str, Any]:
    known = (obj.get("status") or {}).get("conditions") or []
    return next((each for each in known if each["type"] == type_), {})


async def test_a_new_clusters_catalogue_comes_back_and_follows_the_repository(
    world: World, fake: FakeApi
) -> None:
    labels = {"namespace": world.namespace, "locationName": "minio"}
    async with world.controllers():
        await world.secret()
        await world.location()
        await world.policy()
        found = a_result(Operation.INIT).model_copy(update={"created": False})
        await world.end(await world.job(Operation.INIT), found)
        whole = "\n".join(encode([an_entry(OWN), an_entry(FOREIGN, "another-cluster")]))
        first = await look(world, fake, whole)
        own = await world.becomes(METADATA_BACKUP_RECORDS, "mbr-00000001", lambda _: True)
        foreign = await world.becomes(METADATA_BACKUP_RECORDS, "mbr-00000002", lambda _: True)
        assert condition(own, "Verified")["reason"] == "Adopted"
        assert foreign["status"]["clusterId"] == "another-cluster"
        await world.told("RecordAdopted", 2)
        location = await world.becomes(BACKUP_LOCATIONS, "minio", ready("True"))
        assert location["status"]["catalogueRun"] == first["metadata"]["uid"]
        policy = await world.becomes(
            METADATA_BACKUP_POLICIES, "nightly", lambda obj: bool(obj["status"].get("lastSuccessTime"))
        )
        assert policy["status"]["mbrName"] == "mbr-00000001"
        assert world.registry.get_sample_value("kubedr_repository_snapshots", labels) == 2
        # From here on it is looked at again and again.
        made = {"metadata": {"creationTimestamp": stamp(datetime.now(UTC) - timedelta(hours=1))}}
        for name in ("mbr-00000001", "mbr-00000002"):
            await world.client.patch(METADATA_BACKUP_RECORDS, world.namespace, name, made)
        await world.location(healthSchedule="@every 1s")
        torn = await look(world, fake, whole[: len(whole) // 2])
        location = await world.becomes(BACKUP_LOCATIONS, "minio", ready("True"))
        assert "could not be read" in condition(location, "Healthy")["message"]
        assert location["status"]["catalogueRun"] == first["metadata"]["uid"]
        # As where the node is gone.
        fake.fail("GET", "/log", 502, "BadGateway", times=1)
        unread = await look(world, fake, whole, torn["metadata"]["name"])
        second = await look(world, fake, "\n".join(encode([an_entry(OWN)])), unread["metadata"]["name"])
        lost = await world.becomes(
            METADATA_BACKUP_RECORDS,
            "mbr-00000002",
            lambda obj: bool(condition(obj, "SnapshotAvailable")["status"] == "False"),
        )
        assert condition(lost, "SnapshotAvailable")["reason"] == "SnapshotGone"
        await world.told("SnapshotGone")
        await eventually(lambda: world.registry.get_sample_value("kubedr_records_snapshot_gone", labels) == 1)
        await look(world, fake, whole, second["metadata"]["name"])
        await world.becomes(
            METADATA_BACKUP_RECORDS,
            "mbr-00000002",
            lambda obj: bool(condition(obj, "SnapshotAvailable")["status"] == "True"),
        )
        assert len(await world.all(METADATA_BACKUP_RECORDS)) == 2
        await world.client.delete(BACKUP_LOCATIONS, world.namespace, "minio")
        await eventually(
            lambda: world.registry.get_sample_value("kubedr_repository_snapshots", labels) is None
        )


@pytest.mark.fault
async def test_a_server_that_ends_after_every_write_adopts_a_backup_once(world: World, fake: FakeApi) -> None:
    async with world.controllers():
        await world.secret()
        await world.location()
        await world.policy()
        found = a_result(Operation.INIT).model_copy(update={"created": False})
        await world.end(await world.job(Operation.INIT), found)
        job = await world.job(Operation.HEALTH)
    name = job["metadata"]["name"]
    fake.logs[f"{name}-abcde"] = "\n".join(encode([an_entry(OWN)]))
    made = {"metadata": {"creationTimestamp": stamp(datetime.now(UTC) + timedelta(days=1))}}
    job = await world.client.patch(JOBS, world.namespace, name, made)
    figures = HealthResult(snapshots=1, repository_size=4096, locks=0)
    await world.end(job, a_result(Operation.HEALTH).model_copy(update={"health": figures}))
    lives = 0
    while await world.jobs(Operation.HEALTH):
        lives += 1
        assert lives < 50
        await one_write(world)
    assert lives >= 4  # the policy's status, the record, its status, the location's status
    (record,) = await world.all(METADATA_BACKUP_RECORDS)
    assert condition(record, "Verified")["status"] == "True"
    assert (await world.get(METADATA_BACKUP_POLICIES, "nightly"))["status"]["mbrName"] == "mbr-00000001"
    location = await world.get(BACKUP_LOCATIONS, "minio")
    assert location["status"]["catalogueRun"] == job["metadata"]["uid"]


async def one_write(world: World) -> None:
    """Run controllers until they have written once, or all is done."""
    left = iter([True])

    def spend() -> None:
        if next(left, None) is None:
            raise LeadershipLost("the test's budget is spent")

    async with world.controllers(world.client.guarded(spend)) as task:
        done = asyncio.create_task(nothing_to_look_at(world))
        await asyncio.wait({task, done}, return_when=asyncio.FIRST_COMPLETED)
        done.cancel()


async def nothing_to_look_at(world: World) -> None:
    while await world.jobs(Operation.HEALTH):  # noqa: ASYNC110 - another process's state
        await asyncio.sleep(0.02)


@pytest.mark.fault
async def test_a_storage_that_fails_is_told_and_backups_stay_scheduled(world: World) -> None:
    async with world.controllers():
        await world.ready_policy()
        await world.location(healthSchedule="@every 1s")
        job = await world.job(Operation.HEALTH)
        why = a_result(Operation.HEALTH, reason=Reason.STORAGE_UNREACHABLE, message="the storage is silent")
        await world.end(job, why)
        await world.becomes(BACKUP_LOCATIONS, "minio", ready("False", "StorageUnreachable"))
        await world.told("HealthFailed")
        policy = await world.becomes(METADATA_BACKUP_POLICIES, "nightly", ready("False", "NotReady"))
        assert condition(policy, "Scheduled")["status"] == "True"
        await world.location(suspendMaintenance=True)
        await world.becomes(BACKUP_LOCATIONS, "minio", ready("True"))


async def test_retention_waits_until_a_restore_has_ended(world: World) -> None:
    now = datetime.now(UTC)
    for number in (1, 2):
        made = stamp(now - timedelta(days=number))
        record = record_object(
            snapshot(number), status={"backupTime": made}, creationTimestamp=made, finalizers=[]
        )
        await world.client.create(METADATA_BACKUP_RECORDS, record)
    await world.restore("mbr-00000002")
    async with world.controllers():
        await world.ready_policy(retainNumBackups=1)
        # Once the policy has been looked at again, all that the first look had to delete is deleted.
        await world.policy(retainNumBackups=1, schedule="0 4 * * *")
        await world.becomes(
            CRONJOBS, "nightly-backup-cronjob", lambda obj: bool(obj["spec"]["schedule"] == "0 4 * * *")
        )
        restore = await world.becomes(METADATA_RESTORES, "bring-back", ready("False"))
        assert {each["metadata"]["name"] for each in await world.all(METADATA_BACKUP_RECORDS)} == {
            "mbr-00000001",
            "mbr-00000002",
        }
        ended = {"metadata": {}, "status": {**restore["status"], "restoreStatus": "Completed"}}
        await world.client.patch(
            METADATA_RESTORES, world.namespace, "bring-back", ended, subresource="status"
        )
        await world.goes(METADATA_BACKUP_RECORDS, "mbr-00000002")
        await world.becomes(METADATA_BACKUP_RECORDS, "mbr-00000001", lambda _: True)
