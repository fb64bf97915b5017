"""The CronJob controller on an API, with a clock that the tests set."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubedr_server.kube.cache import Key
from kubedr_server.kube.client import Client
from kubedr_server.kube.resources import CRONJOBS, JOBS
from kubedr_server.local.executor.cronjobs import CronJobController
from kubedr_server.local.executor.objects import moment, name_of, stamp
from support.executor import cronjob, pod_spec

pytestmark = pytest.mark.cluster

MINUTE = timedelta(minutes=1)


class World:
    """One CronJob, due each ten minutes, the controller, and the time."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client = client
        self.key = Key(namespace, "tick")
        self.now = datetime.now(UTC)
        self.told: list[str] = []
        self.controller = CronJobController(client, self.record, lambda: self.now)

    def record(self, obj: dict[str, Any], event_type: str, reason: str, message: str) -> None:
        self.told.append(reason)

    async def make(self, schedule: str = "*/10 * * * *", **spec: Any) -> None:
        made = cronjob(self.key.namespace, self.key.name, schedule, pod_spec("true"), **spec)
        made = await self.client.create(CRONJOBS, made)
        created = moment(made["metadata"]["creationTimestamp"])
        assert created is not None
        # The first time that it is due after its creation.
        self.now = created.replace(minute=created.minute // 10 * 10, second=0) + 10 * MINUTE

    async def tick(self, later: timedelta = timedelta()) -> timedelta | None:
        self.now += later
        return await self.controller.reconcile(self.key)

    async def jobs(self) -> list[str]:
        return [name_of(job) for job in (await self.client.list(JOBS, self.key.namespace)).items]

    async def status(self) -> dict[str, Any]:
        found = await self.client.get(CRONJOBS, self.key.namespace, self.key.name)
        return dict(found.get("status") or {})

    async def finish(self, name: str, condition: str = "Complete") -> None:
        """Let a Job end, as the Job controller says it."""
        job = await self.client.get(JOBS, self.key.namespace, name)
        first = "SuccessCriteriaMet" if condition == "Complete" else "FailureTarget"
        now = stamp(self.now)
        job["status"] = {"startTime": now, "conditions": [
            {"type": kind, "status": "True", "reason": "Test", "message": "", "lastTransitionTime": now}
            for kind in (first, condition)
        ]}  # fmt: skip
        if condition == "Complete":
            job["status"] |= {"completionTime": now, "succeeded": 1}
        await self.client.replace(JOBS, job, subresource="status")

    def name_at(self, time: datetime) -> str:
        return f"tick-{int(time.timestamp()) // 60}"


@pytest.fixture
def world(client: Client, namespace: str) -> World:
    return World(client, namespace)


async def test_a_job_is_made_when_it_is_due_and_not_before(world: World) -> None:
    await world.make()
    assert await world.tick(-timedelta(seconds=30)) == timedelta(seconds=30)
    assert await world.jobs() == []
    assert await world.tick(timedelta(seconds=30)) == 10 * MINUTE
    assert await world.jobs() == [world.name_at(world.now)]
    status = await world.status()
    assert status["lastScheduleTime"] == stamp(world.now)
    assert [reference["name"] for reference in status["active"]] == [world.name_at(world.now)]
    await world.tick(timedelta(seconds=1))
    assert len(await world.jobs()) == 1, "a time is due once"
    assert world.told == ["SuccessfulCreate"]


async def test_a_job_whose_creation_was_not_written_down_is_not_made_twice(world: World) -> None:
    await world.make()
    await world.tick()
    made = await world.client.get(CRONJOBS, *world.key)
    await world.client.replace(CRONJOBS, {**made, "status": {}}, subresource="status")
    await world.tick(timedelta(seconds=5))
    assert len(await world.jobs()) == 1
    status = await world.status()
    assert len(status["active"]) == 1
    assert status["lastScheduleTime"]


async def test_forbid_skips_a_run_and_catches_up_when_the_old_one_ends(world: World) -> None:
    await world.make(concurrencyPolicy="Forbid")
    await world.tick()
    first = world.name_at(world.now)
    await world.tick(10 * MINUTE)
    assert await world.jobs() == [first]
    assert world.told[-1] == "JobAlreadyActive"
    due = world.now
    world.now += MINUTE
    await world.finish(first)
    await world.tick()
    assert sorted(await world.jobs()) == sorted([first, world.name_at(due)])


async def test_replace_ends_the_old_run(world: World) -> None:
    await world.make(concurrencyPolicy="Replace")
    await world.tick()
    old = world.name_at(world.now)
    await world.tick(10 * MINUTE)
    jobs = (await world.client.list(JOBS, world.key.namespace)).items
    alive = [name_of(job) for job in jobs if not job["metadata"].get("deletionTimestamp")]
    assert alive == [world.name_at(world.now)]
    assert old not in [reference["name"] for reference in (await world.status())["active"]]


async def test_allow_lets_runs_overlap(world: World) -> None:
    await world.make()
    await world.tick()
    await world.tick(10 * MINUTE)
    assert len((await world.status())["active"]) == 2


async def test_a_run_past_its_starting_deadline_is_not_made_up(world: World) -> None:
    await world.make(startingDeadlineSeconds=60)
    await world.tick(timedelta(seconds=61))
    assert await world.jobs() == []
    await world.tick(10 * MINUTE - timedelta(seconds=31))
    assert len(await world.jobs()) == 1


async def test_after_a_long_gap_one_run_is_made_up_with_a_warning(world: World) -> None:
    await world.make()
    await world.tick(10 * MINUTE * 150 + timedelta(seconds=7))
    assert await world.jobs() == [world.name_at(world.now)]
    assert world.told == ["TooManyMissedTimes", "SuccessfulCreate"]


async def test_a_suspended_cronjob_makes_nothing(world: World) -> None:
    await world.make(suspend=True)
    assert await world.tick() is None
    assert await world.jobs() == []


async def test_a_finished_job_leaves_the_active_list_and_is_remembered(world: World) -> None:
    await world.make()
    await world.tick()
    name = world.name_at(world.now)
    world.now += MINUTE
    await world.finish(name)
    await world.tick()
    status = await world.status()
    assert "active" not in status
    assert status["lastSuccessfulTime"] == stamp(world.now)
    assert world.told[-1] == "SawCompletedJob"


async def test_only_the_last_finished_jobs_are_kept(world: World) -> None:
    await world.make(successfulJobsHistoryLimit=1, failedJobsHistoryLimit=1)
    names = []
    for condition in ("Complete", "Failed", "Complete", "Failed"):
        await world.tick()
        names.append(world.name_at(world.now))
        await world.finish(names[-1], condition)
        world.now += 10 * MINUTE
    world.now -= 5 * MINUTE
    await world.tick()
    jobs = (await world.client.list(JOBS, world.key.namespace)).items
    kept = {name_of(job) for job in jobs if not job["metadata"].get("deletionTimestamp")}
    assert kept == set(names[2:])


async def test_the_schedule_is_read_in_the_cronjobs_time_zone(world: World) -> None:
    await world.make("0 3 * * *", timeZone="Asia/Kolkata")  # 21:30 UTC
    world.now = world.now.replace(hour=21, minute=29, second=0) + timedelta(days=1)
    await world.tick()
    before = len(await world.jobs())
    await world.tick(MINUTE)
    jobs = (await world.client.list(JOBS, world.key.namespace)).items
    assert len(jobs) == before + 1
    [stamped] = [
        job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"]
        for job in jobs
        if name_of(job) == world.name_at(world.now)
    ]
    assert stamped.endswith("T03:00:00+05:30")
