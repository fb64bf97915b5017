"""A CronJob is all that its policy says, and no more of what it said once; what others say of it stays."""

from typing import Any

import pytest

from kubedr_server.kube.resources import BACKUP_LOCATIONS, CRONJOBS, METADATA_BACKUP_POLICIES
from support.kubedr_world import ready
from support.simulated_world import Server, SimulatedWorld, in_simulation

CRONJOB = "nightly-backup-cronjob"


@pytest.mark.parametrize("edited", [False, True])
@pytest.mark.parametrize("stopped", [False, True])
@in_simulation
async def test_what_the_policy_no_longer_says_goes_away_and_what_others_say_stays(
    world: SimulatedWorld, edited: bool, stopped: bool
) -> None:
    await _a_policy(world, timeZone="Europe/Berlin", startingDeadlineSeconds=77)
    if edited:
        theirs = {"metadata": {"annotations": {"team": "storage"}}, "spec": {"schedule": "1 1 1 1 1"}}
        await world.client.patch(CRONJOBS, world.namespace, CRONJOB, theirs, field_manager="kubectl")
        await world.becomes(CRONJOBS, CRONJOB, lambda obj: obj["spec"]["schedule"] == "0 3 * * *")
    if stopped:
        await world.servers[-1].stop()
    written = len(world.simulation.writes("server"))
    change = {"spec": {"timeZone": None}}
    await world.client.patch(METADATA_BACKUP_POLICIES, world.namespace, "nightly", change)
    if stopped:
        await Server(world, "server").start()
    found = await world.becomes(CRONJOBS, CRONJOB, lambda obj: "timeZone" not in obj["spec"])
    assert found["spec"]["startingDeadlineSeconds"] == 77
    assert found["metadata"]["annotations"].get("team") == ("storage" if edited else None)
    await _settled(world)
    # The CronJob, and the policy's status.
    assert len(world.simulation.writes("server")) - written == 2


@in_simulation
async def test_a_cronjob_of_nobody_that_has_the_name_is_adopted(world: SimulatedWorld) -> None:
    live = await world.foreign_cronjob()
    body = {"metadata": {"ownerReferences": None}}
    await world.client.patch(CRONJOBS, world.namespace, live["metadata"]["name"], body)
    await _a_policy(world)
    found = await world.becomes(CRONJOBS, CRONJOB, lambda obj: obj["spec"]["schedule"] == "0 3 * * *")
    assert found["metadata"]["uid"] == live["metadata"]["uid"]
    assert found["metadata"]["ownerReferences"][0]["kind"] == "MetadataBackupPolicy"


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
