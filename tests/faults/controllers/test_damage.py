"""Fault 10: a pack is damaged. It is told, and deletes nothing, until the repository is whole (D, R)."""

from datetime import datetime
from typing import Any

import pytest

from kubedr_server.kube.resources import BACKUP_LOCATIONS, JOBS, METADATA_BACKUP_RECORDS
from support.kubedr_world import is_told, snapshot
from support.simulated_world import NAMESPACE, Server, SimulatedWorld, in_simulation

pytestmark = pytest.mark.fault


def says(type_: str, status: str) -> Any:
    """Return whether an object's condition has this status."""
    return lambda obj: any(
        (known["type"], known["status"]) == (type_, status)
        for known in (obj.get("status") or {}).get("conditions", ())
    )


async def back_up(world: SimulatedWorld, number: int) -> None:
    await world.back_up(f"run-{number}", snapshot(number))
    await world.becomes(JOBS, f"run-{number}", is_told)


@in_simulation
async def test_damage_is_told_on_all_records_and_deletes_none_of_them(world: SimulatedWorld) -> None:
    world.patience_seconds, world.pause_seconds = 86400.0, 30.0
    server = Server(world, "server")
    await server.start()
    await world.ready_policy(retainNumBackups=2)
    await world.location(
        suspendMaintenance=False,
        checkSchedule="*/10 * * * *",
        checkParts=1,
        pruneSchedule="*/10 * * * *",
        healthSchedule="0 0 1 1 *",
    )
    for number in (1, 2):
        await back_up(world, number)
    await world.becomes(BACKUP_LOCATIONS, "minio", says("Checked", "True"))

    world.damaged = True
    await world.becomes(BACKUP_LOCATIONS, "minio", says("Checked", "False"))
    for number in (1, 2):
        record = await world.becomes(
            METADATA_BACKUP_RECORDS, f"mbr-{number:08x}", says("SnapshotAvailable", "Unknown")
        )
        assert "found damage" in record["status"]["conditions"][1]["message"]
    await world.told("CheckFailed")
    labels = {"namespace": NAMESPACE, "locationName": "minio"}
    assert server.registry.get_sample_value("kubedr_location_checked", labels) == 0
    # Backups go on. None is deleted for them, and nothing is pruned.
    pruned = (await world.get(BACKUP_LOCATIONS, "minio"))["status"]["lastPruneTime"]
    for number in (3, 4):
        await back_up(world, number)
        await world.becomes(
            METADATA_BACKUP_RECORDS, f"mbr-{number:08x}", says("SnapshotAvailable", "Unknown")
        )
    assert world.snapshots == {snapshot(number) for number in (1, 2, 3, 4)}
    location = await world.get(BACKUP_LOCATIONS, "minio")
    assert location["status"]["lastPruneTime"] == pruned

    # Someone has repaired it: the check finds it whole, and the policy keeps what it says.
    world.damaged = False
    await world.becomes(BACKUP_LOCATIONS, "minio", says("Checked", "True"))
    for number in (1, 2):
        await world.goes(METADATA_BACKUP_RECORDS, f"mbr-{number:08x}")
    for number in (3, 4):
        await world.becomes(METADATA_BACKUP_RECORDS, f"mbr-{number:08x}", says("SnapshotAvailable", "True"))
    assert world.snapshots == {snapshot(3), snapshot(4)}
    await world.told("CheckSucceeded")
    assert server.registry.get_sample_value("kubedr_location_checked", labels) == 1
    after = datetime.fromisoformat(pruned)
    await world.becomes(
        BACKUP_LOCATIONS, "minio", lambda obj: datetime.fromisoformat(obj["status"]["lastPruneTime"]) > after
    )
