"""Faults 13 and 18: the server was down for long, and clocks that are wrong or jump (T, R)."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from kubedr_server.contract import Operation
from kubedr_server.kube.resources import JOBS, METADATA_BACKUP_POLICIES, METADATA_BACKUP_RECORDS
from support.kubedr_objects import a_result
from support.kubedr_world import is_told, snapshot
from support.simulated_world import Server, SimulatedWorld, in_simulation

pytestmark = pytest.mark.fault

_TICKS = 150


async def names(world: SimulatedWorld) -> list[str]:
    """Return the names of the records that are not being deleted."""
    return sorted(
        record["metadata"]["name"]
        for record in await world.all(METADATA_BACKUP_RECORDS)
        if "deletionTimestamp" not in record["metadata"]
    )


@in_simulation
async def test_ticks_at_which_nothing_ran_are_missed_runs(world: SimulatedWorld) -> None:
    server = Server(world, "server")
    await server.start()
    await world.ready_policy(schedule="0 * * * *")
    await asyncio.sleep(5)
    await server.stop()
    # Nobody makes Jobs here: server and controller manager are both down.
    await asyncio.sleep(_TICKS * 3600)
    await Server(world, "next").start()
    # It waits for two hours whether the repository knows of them.
    await asyncio.sleep(3 * 3600)
    policy = await world.get(METADATA_BACKUP_POLICIES, "nightly")
    passed = (
        datetime.fromisoformat(policy["status"]["missedCheckedTime"]) - world.simulation.start
    ) // timedelta(hours=1)
    assert policy["status"]["missedRuns"] == passed
    events = await world.events("BackupMissed")
    assert sum(event["count"] for event in events) <= 3  # not one for each


@in_simulation
async def test_ticks_that_ran_while_the_server_was_down_are_told_once_each(world: SimulatedWorld) -> None:
    server = Server(world, "server")
    await server.start()
    await world.ready_policy(retainNumBackups=2)
    await server.stop()
    # All that the CronJob controller leaves of 150 ticks, with the largest history: the last ones.
    for number in range(1, 13):
        job = await world.job_from_cronjob(f"run-{number}")
        await (world.fail(job) if number % 3 == 0 else world.succeed(job, snapshot(number)))
    await Server(world, "next").start()
    await world.becomes(JOBS, "run-12", is_told)
    await asyncio.sleep(120)
    assert all(is_told(job) for job in await world.jobs(Operation.BACKUP))
    assert await names(world) == ["mbr-0000000a", "mbr-0000000b"]
    status = (await world.get(METADATA_BACKUP_POLICIES, "nightly"))["status"]
    assert (status["consecutiveFailures"], status["backupStatus"]) == (1, "Failed")
    for reason, count in (("BackupFailed", 4), ("BackupSucceeded", 8)):
        assert [event["count"] for event in await world.told(reason, count)] == [1] * count


@pytest.mark.parametrize("days", [1, -1])
@in_simulation
async def test_a_servers_clock_that_jumps_a_day_loses_no_backup(world: SimulatedWorld, days: int) -> None:
    server = Server(world, "server")
    await server.start()
    await world.ready_policy(schedule="0 3 * * *", retainNumBackups=2)
    for number, skew in enumerate((0, days, days, 0), start=1):
        world.simulation.skew = timedelta(days=skew)
        await world.back_up(f"run-{number}", snapshot(number))
        await world.becomes(JOBS, f"run-{number}", is_told)
        await asyncio.sleep(60)
    assert await names(world) == ["mbr-00000003", "mbr-00000004"]
    assert world.snapshots == {snapshot(3), snapshot(4)}
    status = (await world.get(METADATA_BACKUP_POLICIES, "nightly"))["status"]
    assert (status["consecutiveFailures"], status["backupStatus"]) == (0, "Completed")
    assert len(await world.events("BackupSucceeded")) == 4


@in_simulation
async def test_whatever_a_servers_clock_does_each_run_has_one_outcome(world: SimulatedWorld) -> None:
    server = Server(world, "server")
    await server.start()
    await world.ready_policy(schedule="0 * * * *", retainNumBackups=30)
    # Every fourth of the hourly runs never starts. The clock does as NTP steps it, as a leap second repeats
    # one, as a machine that was suspended finds it.
    steps = [0, 0, 4 * 3600, 0, -1, 0, -3 * 3600, 0, 86400, 0, 3600, 0]
    missed, made = 0, []
    for number, step in enumerate(steps):
        world.simulation.skew = timedelta(seconds=step)
        due = (world.simulation.now() + timedelta(hours=1)).replace(minute=0, second=0, microsecond=0)
        await asyncio.sleep((due - world.simulation.now()).total_seconds() + 1)
        if number % 4 == 3:
            missed += 1
            continue
        job = await world.job_from_cronjob(f"nightly-backup-cronjob-{int(due.timestamp()) // 60}")
        await world.succeed(job, snapshot(number + 1))
        await world.becomes(JOBS, job["metadata"]["name"], is_told)
        made.append(f"mbr-{number + 1:08x}")
    world.simulation.skew = timedelta()
    await asyncio.sleep(2 * 3600)
    status = (await world.get(METADATA_BACKUP_POLICIES, "nightly"))["status"]
    assert await names(world) == made
    assert status["missedRuns"] >= missed
    events = await world.events("BackupMissed")
    assert [event["count"] for event in events] == [1] * len(events)
    assert len({event["message"] for event in events}) == len(events)
    assert status["consecutiveFailures"] == 0
    durations = [
        (sample.name, sample.value)
        for metric in server.registry.collect()
        for sample in metric.samples
        if "duration" in sample.name or "seconds" in sample.name or "num_" in sample.name
    ]
    assert [pair for pair in durations if pair[1] < 0] == []


@in_simulation
async def test_a_lease_is_timed_by_a_clock_that_nobody_sets(world: SimulatedWorld) -> None:
    first, second = Server(world, "first", elects=True), Server(world, "second", elects=True)
    await first.start()
    await second.start(wait=False)
    for days in (1, -1, 0):
        world.simulation.skew = timedelta(days=days)
        await asyncio.sleep(60)
        assert first.elector is not None
        assert first.elector.leading
        assert not second.ready.is_set()


@in_simulation
async def test_an_api_servers_clock_that_is_set_back_expires_no_new_backup(world: SimulatedWorld) -> None:
    await Server(world, "server").start()
    await world.ready_policy(retainNumBackups=2)
    for number in range(1, 7):
        if number == 4:
            world.simulation.start -= timedelta(hours=3)
            world.last_end = world.simulation.now()
        await world.back_up(f"run-{number}", snapshot(number))
        await world.becomes(JOBS, f"run-{number}", is_told)
        await asyncio.sleep(600)
        assert f"mbr-{number:08x}" in await names(world)
        assert snapshot(number) in world.snapshots
    # Once the times are in order again, so is what is kept.
    await asyncio.sleep(3 * 3600)
    for number in (7, 8):
        await world.back_up(f"run-{number}", snapshot(number))
        await world.becomes(JOBS, f"run-{number}", is_told)
        await asyncio.sleep(600)
    assert await names(world) == ["mbr-00000007", "mbr-00000008"]


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 3, 29, 2, tzinfo=UTC)),
        (datetime(2026, 10, 25, tzinfo=UTC), datetime(2026, 10, 25, 3, tzinfo=UTC)),
    ],
    ids=["spring", "autumn"],
)
@in_simulation
async def test_summer_time_makes_no_run_look_missed(
    world: SimulatedWorld, begin: datetime, end: datetime
) -> None:
    world.simulation.start = begin
    await Server(world, "server").start()
    await world.ready_policy(schedule="30 2,4 * * *", timeZone="Europe/Berlin")
    number = 0
    while world.simulation.now() < end:
        status = (await world.get(METADATA_BACKUP_POLICIES, "nightly"))["status"]
        due = datetime.fromisoformat(status["nextScheduleTime"])
        await asyncio.sleep((due - world.simulation.now()).total_seconds() + 1)
        number += 1
        # As the CronJob controller names the Job of a time.
        job = await world.job_from_cronjob(f"nightly-backup-cronjob-{int(due.timestamp()) // 60}")
        await world.succeed(job, snapshot(number))
        await asyncio.sleep(60)
    status = (await world.get(METADATA_BACKUP_POLICIES, "nightly"))["status"]
    # 02:30 is there not once in spring and twice in autumn. Whatever runs then, nothing looks missed.
    assert status.get("missedRuns", 0) == 0
    assert len(await names(world)) == number >= 1


@in_simulation
async def test_a_snapshot_from_the_future_does_not_push_out_better_ones(world: SimulatedWorld) -> None:
    await Server(world, "server").start()
    await world.ready_policy(retainNumBackups=2)
    forged = timedelta(days=3650)
    for number in range(1, 5):
        job = await world.job_from_cronjob(f"run-{number}")
        world.snapshots.add(snapshot(number))
        # The node's clock ran ahead at the second backup, and was behind at the third.
        begun = world.simulation.now() + {2: forged, 3: -forged}.get(number, timedelta())
        result = a_result(snapshot=snapshot(number), message=f"run-{number} succeeded")
        await world.end(job, result.model_copy(update={"start_time": begun}))
        await world.becomes(JOBS, f"run-{number}", is_told)
        await asyncio.sleep(60)
        # The newest good one is there at each moment.
        assert f"mbr-{number:08x}" in await names(world)
    assert await names(world) == ["mbr-00000003", "mbr-00000004"]
    assert world.snapshots == {snapshot(3), snapshot(4)}
