"""The controllers as a whole, on an API server that can be told to misbehave."""

import asyncio
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import Operation
from kubedr_server.kube.election import LeadershipLost
from kubedr_server.kube.resources import (
    BACKUP_LOCATIONS,
    CRONJOBS,
    JOBS,
    METADATA_BACKUP_POLICIES,
    METADATA_BACKUP_RECORDS,
)
from support.eventually import eventually
from support.fake_api import FakeApi
from support.kubedr_objects import NOW, a_result, unschedulable
from support.kubedr_world import World, ready, snapshot

POLICY = "nightly"
CRONJOB = "nightly-backup-cronjob"
TOLD = "kubedr.catalogicsoftware.com/told"


async def test_from_a_secret_to_a_record(world: World) -> None:
    async with world.controllers():
        await world.ready_policy()
        await world.end(await world.job_from_cronjob("by-hand"), a_result())
        policy = await world.becomes(
            METADATA_BACKUP_POLICIES, POLICY, lambda policy: "mbrName" in policy["status"]
        )
        record = await world.get(METADATA_BACKUP_RECORDS, policy["status"]["mbrName"])
        assert record["spec"] == {"policy": POLICY, "backuploc": "minio", "snapshotId": "9a9808ce"}
        assert record["status"]["conditions"][0]["type"] == "Verified"
        await world.becomes(JOBS, "by-hand", is_told)
        (event,) = await world.told("BackupSucceeded")
        assert (event["type"], event["involvedObject"]["name"]) == ("Normal", POLICY)
        await world.told("InitSucceeded")
    labels = {"namespace": world.namespace, "policyName": POLICY}
    assert world.registry.get_sample_value("kubedr_num_successful_backups", labels) == 1
    assert world.registry.get_sample_value("kubedr_backup_size_bytes", labels) == 8192
    assert world.registry.get_sample_value("kubedr_backup_duration_seconds_count", labels) == 1


async def test_a_missing_secret_is_told_and_looked_at_again_at_once(world: World) -> None:
    async with world.controllers():
        await world.location()
        await world.becomes(BACKUP_LOCATIONS, "minio", ready("False", "SecretNotFound"))
        await world.secret("minio-creds", "restic_repo_password")
        await world.becomes(BACKUP_LOCATIONS, "minio", ready("False", "SecretKeyMissing"))
        await world.secret()
        await world.job(Operation.INIT)


async def test_a_failed_initialisation_is_tried_again_at_once_when_the_secret_changes(world: World) -> None:
    async with world.controllers():
        await world.secret()
        await world.location()
        first = await world.job(Operation.INIT)
        await world.end(
            first, a_result(Operation.INIT, reason=Reason.WRONG_S3_CREDENTIALS, message="refused")
        )
        await world.becomes(BACKUP_LOCATIONS, "minio", ready("False", "WrongS3Credentials"))
        await world.told("InitFailed")
        await world.secret()
        second = await world.job(Operation.INIT, besides=first["metadata"]["name"])
        await world.end(second, a_result(Operation.INIT))
        location = await world.becomes(BACKUP_LOCATIONS, "minio", ready("True"))
        assert (location["status"]["initStatus"], location["status"]["consecutiveFailures"]) == (
            "Completed",
            0,
        )
        assert "initErrorMessage" not in location["status"]
        assert [job["metadata"]["name"] for job in await world.jobs(Operation.INIT)] == [
            second["metadata"]["name"]
        ]


async def test_a_cronjob_that_is_edited_or_deleted_comes_back(world: World) -> None:
    async with world.controllers():
        await world.ready_policy()
        body = {"spec": {"schedule": "0 0 1 1 *", "suspend": True}}
        await world.client.patch(CRONJOBS, world.namespace, CRONJOB, body)
        await world.becomes(
            CRONJOBS,
            CRONJOB,
            lambda obj: (obj["spec"]["schedule"], obj["spec"]["suspend"]) == ("0 3 * * *", False),
        )
        old = await world.get(CRONJOBS, CRONJOB)
        await world.client.delete(CRONJOBS, world.namespace, CRONJOB)
        await world.becomes(
            CRONJOBS, CRONJOB, lambda obj: bool(obj["metadata"]["uid"] != old["metadata"]["uid"])
        )


async def test_a_changed_policy_reaches_its_cronjob(world: World) -> None:
    async with world.controllers():
        await world.ready_policy()
        await world.policy(schedule="*/5 * * * *", certsDir="/etc/kubernetes/pki", suspend=True)
        cronjob = await world.becomes(CRONJOBS, CRONJOB, lambda obj: obj["spec"]["schedule"] == "*/5 * * * *")
        assert cronjob["spec"]["suspend"] is True
        volumes = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["volumes"]
        assert "certificates" in [volume["name"] for volume in volumes]


@pytest.mark.fault
async def test_every_job_that_ended_while_the_server_was_down_is_told(world: World) -> None:
    async with world.controllers():
        await world.ready_policy()
    bad = a_result(reason=Reason.ETCD_UNREACHABLE, message="etcd does not answer")
    for number, result in enumerate(
        (a_result(snapshot=snapshot(1)), bad, a_result(snapshot=snapshot(3)), bad, bad)
    ):
        job = await world.job_from_cronjob(f"run-{number}")
        await world.end(job, result, NOW + timedelta(minutes=number))
    async with world.controllers():
        policy = await world.becomes(
            METADATA_BACKUP_POLICIES,
            POLICY,
            lambda obj: obj["status"].get("backupTime") == "2026-03-01T12:04:00Z",
        )
        await world.told("BackupFailed", 3)
        await world.told("BackupSucceeded", 2)
        await world.becomes(JOBS, "run-4", is_told)
    status = policy["status"]
    assert (status["consecutiveFailures"], status["backupStatus"], status["mbrName"]) == (
        2,
        "Failed",
        "mbr-00000003",
    )
    records = [record["metadata"]["name"] for record in await world.all(METADATA_BACKUP_RECORDS)]
    assert sorted(records) == ["mbr-00000001", "mbr-00000003"]
    labels = {"namespace": world.namespace, "policyName": POLICY}
    assert world.registry.get_sample_value("kubedr_num_backups", labels) == 5
    assert world.registry.get_sample_value("kubedr_num_failed_backups", labels) == 3


@pytest.mark.fault
async def test_a_server_that_ends_between_any_two_writes_tells_each_backup_once(world: World) -> None:
    async with world.controllers():
        await world.ready_policy(retainNumBackups=100)
    failure = a_result(reason=Reason.ETCD_UNREACHABLE, message="etcd does not answer")
    good = bad = number = 0
    died = True
    # A process that may write once, twice, … until one may write all that a good backup takes.
    for writes in count():
        for result in (failure, a_result(snapshot=snapshot(writes))):
            number += 1
            job = await world.job_from_cronjob(f"run-{number}")
            await world.end(job, result, NOW + timedelta(minutes=number))
            died = await dies_after(world, writes, f"run-{number}")
            async with world.controllers():
                await world.becomes(JOBS, f"run-{number}", is_told)
            good, bad = (good + 1, 0) if result.succeeded else (good, bad + 1)
            status = (await world.get(METADATA_BACKUP_POLICIES, POLICY))["status"]
            assert status["consecutiveFailures"] == bad
            assert len(await world.all(METADATA_BACKUP_RECORDS)) == good
        if not died:
            break
    assert writes >= 4  # the record, its status, the policy's status, the Job's mark


async def dies_after(world: World, writes: int, job: str) -> bool:
    """Run controllers that may write only so often; return whether they ended before the Job was told."""
    left = iter(range(writes))

    def spend() -> None:
        if next(left, None) is None:
            raise LeadershipLost("the test's budget is spent")

    async with world.controllers(world.client.guarded(spend)) as task:
        told = asyncio.create_task(world.becomes(JOBS, job, is_told))
        await asyncio.wait({task, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
    return not is_told(await world.get(JOBS, job))


def is_told(job: dict[str, Any]) -> bool:
    return TOLD in job["metadata"]["annotations"]


@pytest.mark.fault
async def test_conflicts_throttling_and_lost_answers_converge(world: World, fake: FakeApi) -> None:
    fake.fail("PATCH", "/status", 409, "Conflict", times=4)
    fake.fail("POST", "/jobs", 429, "TooManyRequests", headers={"Retry-After": "1"}, times=2)
    fake.hang_up("PATCH", "/cronjobs", times=1, carried_out=True)
    async with world.controllers():
        await world.ready_policy()
        fake.fail("POST", "/metadatabackuprecords", 500, times=2, carried_out=True)
        await world.end(await world.job_from_cronjob("by-hand"), a_result())
        await world.becomes(JOBS, "by-hand", is_told)
    assert len(await world.all(METADATA_BACKUP_RECORDS)) == 1
    assert len(await world.jobs(Operation.INIT)) == 1


async def test_a_request_that_is_refused_is_told_on_the_object(world: World, fake: FakeApi) -> None:
    fake.fail("POST", "/jobs", 403, "Forbidden", message="exceeded quota: pods", times=1000)
    async with world.controllers():
        await world.secret()
        await world.location()
        location = await world.becomes(BACKUP_LOCATIONS, "minio", ready("False", "Refused"))
        assert "exceeded quota: pods" in location["status"]["conditions"][-1]["message"]


async def test_an_object_that_cannot_be_used_says_so(world: World) -> None:
    async with world.controllers():
        await world.secret()
        await world.location(bucketName="x")
        location = await world.becomes(BACKUP_LOCATIONS, "minio", ready("False", "Invalid"))
        assert "bucketName" in location["status"]["conditions"][-1]["message"]


async def test_a_pod_without_a_node_reaches_the_policy(world: World) -> None:
    async with world.controllers():
        await world.ready_policy()
        await world.pod(await world.job_from_cronjob("by-hand"), unschedulable("0/3 nodes are available"))
        await world.becomes(METADATA_BACKUP_POLICIES, POLICY, ready("False", "JobNotSchedulable"))


async def test_two_snapshots_that_begin_alike_get_two_records(world: World) -> None:
    async with world.controllers():
        await world.ready_policy()
        for name, rest in (("one", "0"), ("two", "f")):
            job = await world.job_from_cronjob(name)
            await world.end(job, a_result(snapshot="9a9808ce" + rest * 56))
            await world.becomes(JOBS, name, is_told)
    records = {record["metadata"]["name"]: record for record in await world.all(METADATA_BACKUP_RECORDS)}
    assert sorted(records) == ["mbr-9a9808ce", "mbr-9a9808ceffff"]
    assert records["mbr-9a9808ceffff"]["spec"]["snapshotId"] == "9a9808ceffff"


async def test_the_series_of_a_deleted_policy_are_removed(world: World) -> None:
    labels = {"namespace": world.namespace, "policyName": POLICY}
    async with world.controllers():
        await world.ready_policy()
        assert world.registry.get_sample_value("kubedr_policy_ready", labels) == 1
        await world.client.delete(METADATA_BACKUP_POLICIES, world.namespace, POLICY)
        await eventually(lambda: world.registry.get_sample_value("kubedr_policy_ready", labels) is None)


@pytest.mark.fault
async def test_without_leadership_nothing_is_written_and_it_ends(world: World, fake: FakeApi) -> None:
    await world.secret()
    await world.location()

    def refuse() -> None:
        raise LeadershipLost("the lease is gone")

    before = len(fake.requests)
    async with world.controllers(world.client.guarded(refuse)) as task:
        with pytest.raises(LeadershipLost, match="the lease is gone"):
            await task
    assert {seen.method for seen in fake.requests[before:]} == {"GET"}


async def test_when_nothing_changes_nothing_is_written(world: World, fake: FakeApi) -> None:
    async with world.controllers():
        await world.ready_policy()
        await world.end(await world.job_from_cronjob("by-hand"), a_result())
        await world.becomes(JOBS, "by-hand", is_told)
    before = len(fake.requests)
    async with world.controllers():
        pass
    assert [seen for seen in fake.requests[before:] if seen.method != "GET"] == []
