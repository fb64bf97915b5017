"""A CronJob is all that its policy says, at one write a change, and what others say of it stays."""

import random
from typing import Any

import pytest

from kubedr_server.controllers import ownership
from kubedr_server.controllers.cluster import Cluster
from kubedr_server.controllers.decision import Apply
from kubedr_server.controllers.settings import FIELD_MANAGER
from kubedr_server.controllers.writer import Writer
from kubedr_server.kube import errors
from kubedr_server.kube.events import EventRecorder
from kubedr_server.kube.resources import BACKUP_LOCATIONS, CRONJOBS, METADATA_BACKUP_POLICIES
from support.kubedr_world import ready
from support.simulated_world import Server, SimulatedWorld, in_simulation

CRONJOB = "nightly-backup-cronjob"


def entry(manager: str, operation: str, *fields: str, subresource: str = "") -> dict[str, Any]:
    """Return an entry of managedFields."""
    return {
        "manager": manager,
        "operation": operation,
        "fieldsV1": {"f:spec": {f"f:{name}": {} for name in fields}},
        **({"subresource": subresource} if subresource else {}),
    }


def an_object(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "a", "resourceVersion": "7", "managedFields": list(entries)}}


STATUS = entry("kube-controller-manager", "Update", "lastScheduleTime", subresource="status")


def test_who_writes_the_status_has_no_say_in_the_rest() -> None:
    assert ownership.is_ours_alone(an_object(entry(FIELD_MANAGER, "Update", "suspend"), STATUS))
    assert not ownership.is_ours_alone(an_object(entry(FIELD_MANAGER, "Apply"), entry("kubectl", "Update")))


def test_an_object_of_which_nobody_knows_who_owns_it_is_not_ours_alone() -> None:
    assert not ownership.is_ours_alone(an_object())


def test_all_that_is_ours_is_moved_to_one_apply_on_that_version_only() -> None:
    theirs = entry("kubectl", "Update", "timeZone")
    live = an_object(
        entry(FIELD_MANAGER, "Apply", "schedule"),
        theirs,
        entry(FIELD_MANAGER, "Update", "schedule", "suspend"),
        STATUS,
    )
    assert ownership.moving(live) == [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"},
        {
            "op": "replace",
            "path": "/metadata/managedFields",
            "value": [entry(FIELD_MANAGER, "Apply", "schedule", "suspend"), theirs, STATUS],
        },
    ]


def test_there_is_nothing_to_move_where_all_that_is_ours_was_applied() -> None:
    assert ownership.moving(an_object(entry(FIELD_MANAGER, "Apply", "schedule"), STATUS)) is None
    assert ownership.moving(an_object(entry("kubectl", "Update", "schedule"))) is None


@pytest.mark.parametrize("edited", [False, True])
@in_simulation
async def test_what_the_policy_no_longer_says_goes_away_and_what_others_say_stays(
    world: SimulatedWorld, edited: bool
) -> None:
    await _a_policy(world, timeZone="Europe/Berlin", startingDeadlineSeconds=77)
    if edited:
        theirs = {"metadata": {"annotations": {"team": "storage"}}, "spec": {"schedule": "1 1 1 1 1"}}
        await world.client.patch(CRONJOBS, world.namespace, CRONJOB, theirs, field_manager="kubectl")
        await world.becomes(CRONJOBS, CRONJOB, lambda obj: obj["spec"]["schedule"] == "0 3 * * *")
    written = len(world.simulation.writes("server"))
    change = {"spec": {"timeZone": None}}
    await world.client.patch(METADATA_BACKUP_POLICIES, world.namespace, "nightly", change)
    found = await world.becomes(CRONJOBS, CRONJOB, lambda obj: "timeZone" not in obj["spec"])
    assert found["spec"]["startingDeadlineSeconds"] == 77
    assert found["metadata"]["annotations"].get("team") == ("storage" if edited else None)
    await _settled(world)
    # The CronJob, and the policy's status.
    assert len(world.simulation.writes("server")) - written == 2


@in_simulation
async def test_a_cronjob_that_was_applied_by_an_earlier_version_is_kept_up(world: SimulatedWorld) -> None:
    await _a_policy(world, timeZone="Europe/Berlin")
    live = await world.get(CRONJOBS, CRONJOB)
    await world.servers[-1].stop()
    moving = ownership.moving(live)
    await world.client.patch(CRONJOBS, world.namespace, CRONJOB, moving, kind="json")
    await Server(world, "next").start()
    await world.client.patch(
        METADATA_BACKUP_POLICIES, world.namespace, "nightly", {"spec": {"timeZone": None}}
    )
    found = await world.becomes(CRONJOBS, CRONJOB, lambda obj: "timeZone" not in obj["spec"])
    assert ownership.is_ours_alone(found)


@in_simulation
async def test_a_cronjob_of_nobody_that_has_the_name_is_adopted(world: SimulatedWorld) -> None:
    live = await world.foreign_cronjob()
    body = {"metadata": {"ownerReferences": None}}
    await world.client.patch(CRONJOBS, world.namespace, live["metadata"]["name"], body)
    await _a_policy(world)
    found = await world.becomes(CRONJOBS, CRONJOB, lambda obj: obj["spec"]["schedule"] == "0 3 * * *")
    assert found["metadata"]["uid"] == live["metadata"]["uid"]
    assert found["metadata"]["ownerReferences"][0]["kind"] == "MetadataBackupPolicy"


@in_simulation
async def test_another_cronjob_that_has_taken_the_name_is_not_written_to(world: SimulatedWorld) -> None:
    theirs = await world.foreign_cronjob()
    cluster = Cluster(world.client, world.namespace, rng=random.Random(1))
    writer = Writer(cluster, EventRecorder(world.client, "test"))
    wanted = {**theirs, "metadata": {"name": CRONJOB, "namespace": world.namespace, "labels": {"a": "b"}}}
    for uid, refusal in (("another", errors.Conflict), ("", errors.AlreadyExists)):
        with pytest.raises(refusal):
            await writer.write(Apply(CRONJOBS, wanted, uid))
    assert await world.get(CRONJOBS, CRONJOB) == theirs


async def _a_policy(world: SimulatedWorld, **spec: Any) -> None:
    await Server(world, "server").start()
    await world.secret()
    await world.location()
    await world.becomes(BACKUP_LOCATIONS, "minio", ready("True"))
    await world.policy(**spec)
    await world.becomes(METADATA_BACKUP_POLICIES, "nightly", ready("True"))


async def _settled(world: SimulatedWorld) -> None:
    await world.becomes(
        METADATA_BACKUP_POLICIES,
        "nightly",
        lambda obj: obj["status"]["observedGeneration"] == obj["metadata"]["generation"],
    )
