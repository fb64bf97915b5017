"""Following a backup: what is shown on the way, and which outcome it comes to."""

import asyncio
import random
from contextlib import suppress

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.cli.backup_follow import Follower, Outcome, UnknownOutcomeError
from kubedr_server.cli.backup_start import Wish, start
from kubedr_server.contract import Operation
from kubedr_server.controllers.settings import TOLD_ANNOTATION
from kubedr_server.kube import errors
from kubedr_server.kube.resources import JOBS, METADATA_BACKUP_POLICIES
from support.fake_api import FakeApi
from support.kubedr_objects import SNAPSHOT, a_result, unschedulable, waiting
from support.kubedr_world import Object, World

pytestmark = pytest.mark.cluster


class Following:
    """A backup that was started, and is followed beside the test."""

    def __init__(self, world: World, job: Object) -> None:
        self.world = world
        self.job = job
        self.name: str = job["metadata"]["name"]
        self.lines: list[str] = []

    async def outcome(self, seconds: float = 60.0, tell_seconds: float = 30.0) -> Outcome:
        follower = Follower(
            self.world.client,
            self.job,
            "nightly",
            self.lines.append,
            poll_seconds=0.01,
            tell_seconds=tell_seconds,
        )
        return await follower.outcome(seconds)

    async def until(self, words: str) -> None:
        async with asyncio.timeout(60):
            while not any(words in line for line in self.lines):  # noqa: ASYNC110 - lines have no event
                await asyncio.sleep(0.01)


async def _started(world: World) -> Following:
    told: list[str] = []
    wish = Wish("nightly", "kubedr-system", patience_seconds=60)
    job = await start(world.client, wish, told.append, random.Random(1))
    return Following(world, job)


async def test_a_backup_ends_in_its_record(world: World) -> None:
    async with world.controllers():
        await world.ready_policy()
        following = await _started(world)
        task = asyncio.create_task(following.outcome())
        await following.until("Waiting for the Job's pod")
        await world.end(following.job, a_result(message="Backed up."))
        outcome = await task
    assert (outcome.succeeded, outcome.message, outcome.seconds) == (True, "Backed up.", 60.0)
    assert outcome.record is not None
    assert outcome.record["status"]["fullSnapshotId"] == SNAPSHOT
    assert outcome.record["status"]["runId"] == following.job["metadata"]["uid"]
    assert following.lines.count("  a line of the log") == 1


async def test_a_failed_backup_gives_its_sentence(world: World) -> None:
    async with world.controllers():
        await world.ready_policy()
        following = await _started(world)
        failure = a_result(reason=Reason.ETCD_UNREACHABLE, message="etcd does not answer.")
        await world.end(following.job, failure)
        outcome = await following.outcome()
    assert outcome == Outcome(False, "etcd does not answer.", Reason.ETCD_UNREACHABLE, following.name)


async def test_a_pod_that_left_no_result_is_a_failure_with_what_kubernetes_knows(world: World) -> None:
    async with world.controllers():
        await world.ready_policy()
        following = await _started(world)
        await world.end(following.job)
        outcome = await following.outcome()
    assert (outcome.succeeded, outcome.reason) == (False, Reason.NO_RESULT)
    assert "exit code 137" in outcome.message


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (unschedulable("0/3 nodes are available"), "cannot be scheduled: 0/3 nodes are available"),
        (waiting("ImagePullBackOff", "no such image"), "cannot be pulled: no such image"),
        (waiting("CreateContainerConfigError", "no Secret"), "cannot be started: no Secret"),
    ],
)
async def test_a_pod_that_does_not_start_is_shown_with_the_cause_once(
    world: World, status: Object, words: str
) -> None:
    async with world.controllers():
        await world.ready_policy()
    following = await _started(world)
    await world.pod(following.job, status)
    with pytest.raises(UnknownOutcomeError, match="and goes on as Job") as raised:
        await following.outcome(0.3)
    assert sum(words in line for line in following.lines) == 1
    assert words in str(raised.value)
    assert f"logs -f job/{following.name}" in str(raised.value)


async def test_connections_that_break_are_told_once_and_lose_nothing(world: World, fake: FakeApi) -> None:
    async with world.controllers():
        await world.ready_policy()
        following = await _started(world)
        fake.hang_up("GET", f"/jobs/{following.name}", times=5)
        task = asyncio.create_task(following.outcome())
        await following.until("The API server answers again")
        await world.end(following.job, a_result())
        assert (await task).succeeded
    assert sum("cannot be asked" in line for line in following.lines) == 1
    assert following.lines.count("  a line of the log") == 1


async def test_a_server_that_does_not_record_in_time(world: World) -> None:
    async with world.controllers():
        await world.ready_policy()
    following = await _started(world)
    await world.end(following.job, a_result(message="Backed up."))
    with pytest.raises(UnknownOutcomeError) as raised:
        await following.outcome(tell_seconds=0.1)
    assert "KubeDR's server has not recorded its outcome: Backed up." in str(raised.value)
    assert "get metadatabackuprecords" in str(raised.value)


async def test_a_job_that_is_gone_once_it_is_recorded(world: World, fake: FakeApi) -> None:
    async with world.controllers():
        await world.ready_policy()
        following = await _started(world)
        await world.end(following.job, a_result())
        await world.becomes(
            JOBS, following.name, lambda job: TOLD_ANNOTATION in (job["metadata"].get("annotations") or {})
        )
    await fake.drop("jobs", "kubedr-system", following.name)
    outcome = await following.outcome()
    assert outcome.succeeded
    assert outcome.record is not None


async def test_a_failed_job_that_is_gone_once_it_is_told(world: World, fake: FakeApi) -> None:
    async with world.controllers():
        await world.ready_policy()
        following = await _started(world)
        await world.end(following.job, a_result(reason=Reason.DISK_FULL, message="The disk is full."))
        await world.becomes(
            METADATA_BACKUP_POLICIES,
            "nightly",
            lambda policy: policy["status"].get("lastJob") == following.job["metadata"]["uid"],
        )
    await fake.drop("jobs", "kubedr-system", following.name)
    outcome = await following.outcome()
    assert (outcome.succeeded, outcome.message) == (False, "The disk is full.")


async def test_a_failure_is_told_although_a_later_backup_has_ended_since(world: World) -> None:
    async with world.controllers():
        await world.ready_policy()
        following = await _started(world)
        await world.end(following.job, a_result(reason=Reason.DISK_FULL, message="The disk is full."))
        uid = following.job["metadata"]["uid"]
        await world.becomes(
            METADATA_BACKUP_POLICIES, "nightly", lambda policy: policy["status"].get("lastJob") == uid
        )
        later = await world.job_from_cronjob("later")
        await world.end(later, a_result())
        await world.becomes(
            METADATA_BACKUP_POLICIES, "nightly", lambda policy: policy["status"].get("lastJob") != uid
        )
        outcome = await following.outcome()
    assert (outcome.succeeded, outcome.message) == (False, "The disk is full.")


async def test_a_job_that_somebody_deletes(world: World, fake: FakeApi) -> None:
    async with world.controllers():
        await world.ready_policy()
        following = await _started(world)
        await fake.drop("jobs", "kubedr-system", following.name)
        with pytest.raises(UnknownOutcomeError, match="was deleted before its end was seen"):
            await following.outcome(tell_seconds=0.1)


async def test_a_policy_that_is_deleted_meanwhile(world: World, fake: FakeApi) -> None:
    async with world.controllers():
        await world.ready_policy()
    following = await _started(world)
    await fake.drop("metadatabackuppolicies", "kubedr-system", "nightly")
    await fake.drop("jobs", "kubedr-system", following.name)
    with pytest.raises(UnknownOutcomeError, match="was deleted before its end was seen"):
        await following.outcome(tell_seconds=0.1)


async def test_a_user_who_may_not_read_logs_gets_the_outcome(world: World, fake: FakeApi) -> None:
    async with world.controllers():
        await world.ready_policy()
        following = await _started(world)
        fake.fail("GET", "/log", 403, "Forbidden", message="no pods/log for you", times=100_000)
        await world.end(following.job, a_result())
        assert (await following.outcome()).succeeded
    assert following.lines.count("The pod's log cannot be shown: no pods/log for you") == 1


async def test_what_time_does_not_mend_is_not_waited_for(world: World, fake: FakeApi) -> None:
    async with world.controllers():
        await world.ready_policy()
    following = await _started(world)
    fake.fail("GET", f"/jobs/{following.name}", 403, "Forbidden")
    with pytest.raises(errors.Forbidden):
        await following.outcome()


async def test_who_stops_waiting_leaves_the_backup_alone(world: World) -> None:
    async with world.controllers():
        await world.ready_policy()
    following = await _started(world)
    task = asyncio.create_task(following.outcome())
    await following.until("Waiting for the Job's pod")
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert len(await world.jobs(Operation.BACKUP)) == 1
