"""The controllers on a real kube-apiserver: what a fake one does not check."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kubedr_server.api import crd
from kubedr_server.api.conditions import Reason
from kubedr_server.contract import Operation
from kubedr_server.kube.client import Client
from kubedr_server.kube.resources import (
    BACKUP_LOCATIONS,
    CRDS,
    CRONJOBS,
    JOBS,
    METADATA_BACKUP_POLICIES,
    METADATA_BACKUP_RECORDS,
    METADATA_RESTORES,
    NAMESPACES,
    PVCS,
)
from support.apiserver import ApiServer
from support.fake_api import FAST
from support.kubedr_objects import a_result
from support.kubedr_world import World, ready, snapshot

pytestmark = pytest.mark.cluster

TOLD = "kubedr.catalogicsoftware.com/told"


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    async with await Client.from_kubeconfig(api_server.kubeconfig, settings=FAST) as client:
        for definition in crd.definitions():
            await client.apply(CRDS, definition, field_manager="test")
            await established(client, definition["metadata"]["name"])
        name = f"kubedr-{uuid.uuid4().hex[:8]}"
        metadata = {"name": name}
        await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        yield World(client, name)


async def established(client: Client, name: str) -> None:
    def check(crd: dict[str, Any]) -> bool:
        conditions = (crd.get("status") or {}).get("conditions") or ()
        return any(known["type"] == "Established" and known["status"] == "True" for known in conditions)

    await World(client, "").becomes(CRDS, name, check)


def is_told(job: dict[str, Any]) -> bool:
    return TOLD in job["metadata"]["annotations"]


async def test_a_backup_its_restore_and_its_deletion(world: World) -> None:
    async with world.controllers():
        await world.ready_policy(resources={"requests": {"cpu": "1000m"}})
        await world.end(await world.job_from_cronjob("by-hand"), a_result())
        await world.becomes(METADATA_BACKUP_RECORDS, "mbr-9a9808ce", lambda obj: "status" in obj)
        await world.becomes(JOBS, "by-hand", is_told)
        await world.told("BackupSucceeded")

        await world.restore()
        await world.becomes(METADATA_RESTORES, "bring-back", ready("False", "NotFound"))
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "restored", "namespace": world.namespace},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }
        await world.client.create(PVCS, claim)
        await world.end(await world.job(Operation.RESTORE), a_result(Operation.RESTORE))
        restore = await world.becomes(METADATA_RESTORES, "bring-back", ready("True"))
        assert restore["status"]["restoreStatus"] == "Completed"
        await world.told("RestoreSucceeded")

        await world.client.delete(METADATA_BACKUP_RECORDS, world.namespace, "mbr-9a9808ce")
        forget = await world.job(Operation.FORGET)
        container = forget["spec"]["template"]["spec"]["containers"][0]
        assert {"name": "KUBEDR_SNAPSHOT_ID", "value": a_snapshot()} in container["env"]
        assert (await world.get(METADATA_BACKUP_RECORDS, "mbr-9a9808ce"))["metadata"]["finalizers"]
        await world.end(forget, a_result(Operation.FORGET))
        await world.goes(METADATA_BACKUP_RECORDS, "mbr-9a9808ce")
        await world.told("DeleteSucceeded")


def a_snapshot() -> str:
    backup = a_result().backup
    assert backup is not None
    return backup.snapshot_id


async def test_a_quantity_in_other_words_is_applied_once_and_edits_are_repaired(world: World) -> None:
    async with world.controllers():
        await world.ready_policy(resources={"requests": {"cpu": "1000m"}})
        first = await world.get(CRONJOBS, "nightly-backup-cronjob")
        body = {"spec": {"schedule": "0 0 1 1 *"}}
        await world.client.patch(CRONJOBS, world.namespace, "nightly-backup-cronjob", body)
        repaired = await world.becomes(
            CRONJOBS, "nightly-backup-cronjob", lambda obj: obj["spec"]["schedule"] == "0 3 * * *"
        )
        # Made, edited by the test, repaired: nothing else wrote its spec.
        assert (first["metadata"]["generation"], repaired["metadata"]["generation"]) == (1, 3)
        # Without its labels it is not watched any more; the watch says so, and they come back at once.
        unlabelled = {"metadata": {"labels": None}}
        await world.client.patch(CRONJOBS, world.namespace, "nightly-backup-cronjob", unlabelled)
        await world.becomes(
            CRONJOBS,
            "nightly-backup-cronjob",
            lambda obj: obj["metadata"].get("labels") == repaired["metadata"]["labels"],
        )


async def test_what_a_policy_no_longer_says_goes_away_and_what_others_say_stays(world: World) -> None:
    name, has_no_zone = "nightly-backup-cronjob", lambda obj: "timeZone" not in obj["spec"]
    async with world.controllers():
        await world.ready_policy(timeZone="Europe/Berlin")
        await world.policy()
        first = await world.becomes(CRONJOBS, name, has_no_zone)
        assert who_owns(first) == {("kubedr-controller", "Apply")}
        # Somebody else has a say in it from here on.
        await world.policy(timeZone="Europe/Berlin")
        await world.becomes(CRONJOBS, name, lambda obj: "timeZone" in obj["spec"])
        proxy = {"name": "HTTPS_PROXY", "value": "http://proxy:3128"}
        containers = "/spec/jobTemplate/spec/template/spec/containers/0"
        theirs = [
            {"op": "add", "path": "/metadata/annotations/team", "value": "storage"},
            {"op": "add", "path": f"{containers}/env/-", "value": proxy},
            {"op": "replace", "path": "/spec/schedule", "value": "0 0 1 1 *"},
        ]
        await world.client.patch(
            CRONJOBS, world.namespace, name, theirs, kind="json", field_manager="kubectl"
        )
        await world.becomes(CRONJOBS, name, lambda obj: obj["spec"]["schedule"] == "0 3 * * *")
        await world.policy()
        last = await world.becomes(CRONJOBS, name, has_no_zone)
    assert who_owns(last) == {("kubedr-controller", "Apply"), ("kubectl", "Update")}
    assert last["metadata"]["annotations"].pop("team") == "storage"
    for found in (first, last):
        found["metadata"] = {key: found["metadata"][key] for key in ("annotations", "labels", "uid")}
    assert last["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["env"].pop() == proxy
    assert last == first


def who_owns(obj: dict[str, Any]) -> set[tuple[str, str]]:
    return {(entry["manager"], entry["operation"]) for entry in obj["metadata"]["managedFields"]}


async def test_a_cronjob_of_another_owner_is_not_taken(world: World) -> None:
    theirs = await world.foreign_cronjob()
    async with world.controllers():
        await world.secret()
        await world.location()
        await world.end(await world.job(Operation.INIT), a_result(Operation.INIT))
        await world.policy()
        await world.becomes(METADATA_BACKUP_POLICIES, "nightly", ready("False", "Conflict"))
    assert (await world.get(CRONJOBS, "nightly-backup-cronjob"))["metadata"] == theirs["metadata"]


async def test_retention_deletes_the_snapshot_of_the_oldest_first(world: World) -> None:
    async with world.controllers():
        await world.ready_policy(retainNumBackups=1)
        for number in (1, 2):
            job = await world.job_from_cronjob(f"run-{number}")
            await world.end(job, a_result(snapshot=snapshot(number)))
            await world.becomes(JOBS, f"run-{number}", is_told)
        forget = await world.job(Operation.FORGET)
        assert forget["metadata"]["labels"]["kubedr.catalogicsoftware.com/record"] == "mbr-00000001"
        await world.end(forget, a_result(Operation.FORGET))
        await world.goes(METADATA_BACKUP_RECORDS, "mbr-00000001")
        assert (
            "deletionTimestamp" not in (await world.get(METADATA_BACKUP_RECORDS, "mbr-00000002"))["metadata"]
        )


@pytest.mark.fault
async def test_a_deletion_that_fails_has_ways_out(world: World) -> None:
    async with world.controllers():
        await world.ready_policy()
        for number in (1, 2):
            job = await world.job_from_cronjob(f"run-{number}")
            await world.end(job, a_result(snapshot=snapshot(number)))
            await world.becomes(JOBS, f"run-{number}", is_told)
        await world.client.delete(METADATA_BACKUP_RECORDS, world.namespace, "mbr-00000001")
        forget = await world.job(Operation.FORGET)
        locked = a_result(Operation.FORGET, reason=Reason.REPOSITORY_LOCKED, message="It is locked.")
        await world.end(forget, locked)
        await world.told("DeleteFailed")
        orphan = {"metadata": {"annotations": {"kubedr.catalogicsoftware.com/orphan-snapshot": "true"}}}
        await world.client.patch(METADATA_BACKUP_RECORDS, world.namespace, "mbr-00000001", orphan)
        await world.goes(METADATA_BACKUP_RECORDS, "mbr-00000001")
        # The second way: the location is gone.
        await world.client.delete(BACKUP_LOCATIONS, world.namespace, "minio")
        await world.becomes(METADATA_BACKUP_POLICIES, "nightly", ready("False", "NotFound"))
        await world.client.delete(METADATA_BACKUP_RECORDS, world.namespace, "mbr-00000002")
        await world.goes(METADATA_BACKUP_RECORDS, "mbr-00000002")
        assert len(await world.told("SnapshotKept", 2)) == 2
        assert (await world.get(CRONJOBS, "nightly-backup-cronjob"))["spec"]["suspend"] is True


@pytest.mark.fault
async def test_a_namespace_that_is_deleted_is_not_held_up(world: World) -> None:
    async with world.controllers():
        await world.ready_policy()
        await world.end(await world.job_from_cronjob("by-hand"), a_result())
        await world.becomes(JOBS, "by-hand", is_told)
        await world.client.delete(NAMESPACES, None, world.namespace)
        await world.client.delete(METADATA_BACKUP_RECORDS, world.namespace, "mbr-9a9808ce")
        await world.goes(METADATA_BACKUP_RECORDS, "mbr-9a9808ce")
