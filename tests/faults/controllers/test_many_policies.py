"""Fault 22, in small: many policies at start-up. The benchmark has ten thousand of them."""

import asyncio
from dataclasses import replace

import pytest

from kubedr_server.kube.resources import BACKUP_LOCATIONS, CRONJOBS, METADATA_BACKUP_POLICIES
from support.kubedr_world import ready
from support.simulated_world import NAMESPACE, Server, SimulatedWorld, in_simulation

pytestmark = pytest.mark.fault

_POLICIES = 60


@in_simulation
async def test_many_policies_converge_with_two_writes_each_then_none_and_one_after_an_upgrade(
    world: SimulatedWorld,
) -> None:
    before = Server(world, "before")
    await before.start()
    await world.secret()
    await world.location()
    await world.becomes(BACKUP_LOCATIONS, "minio", ready("True"))
    await before.stop()
    for number in range(_POLICIES):
        obj = {
            "apiVersion": METADATA_BACKUP_POLICIES.api_version,
            "kind": METADATA_BACKUP_POLICIES.kind,
            "metadata": {"name": f"policy-{number}", "namespace": NAMESPACE},
            "spec": {"destination": "minio", "schedule": "0 0 1 1 *"},
        }
        await world.client.create(METADATA_BACKUP_POLICIES, obj)
    server = Server(world, "server")
    await server.start()
    await asyncio.sleep(300)
    policies = await world.all(METADATA_BACKUP_POLICIES)
    assert all(ready("True")(policy) for policy in policies)
    assert all(
        policy["status"]["observedGeneration"] == policy["metadata"]["generation"] for policy in policies
    )
    owners = {cronjob["metadata"]["ownerReferences"][0]["uid"] for cronjob in await world.all(CRONJOBS)}
    assert owners == {policy["metadata"]["uid"] for policy in policies}
    # The CronJob and the status of each: the fewest there can be. No CronJob is asked for before it is made.
    assert len(world.simulation.writes("server")) == 2 * _POLICIES
    asked = world.simulation.requests("server")
    assert not [seen for seen in asked if seen.method == "GET" and seen.path.endswith("-backup-cronjob")]

    # Another start finds everything as it should be.
    await server.stop()
    await Server(world, "next").start()
    await asyncio.sleep(60)
    assert world.simulation.writes("next") == []

    # Another image changes each CronJob, and no status.
    await world.servers[-1].stop()
    world.settings = replace(world.settings, runner=replace(world.settings.runner, image="another"))
    await Server(world, "upgraded").start()
    await asyncio.sleep(60)
    assert len(world.simulation.writes("upgraded")) == _POLICIES
