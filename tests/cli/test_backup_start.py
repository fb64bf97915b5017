"""Starting a backup by hand: what stands in the way is said, and nothing is started."""

import asyncio
import random
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from kubedr_server.cli import backup_start
from kubedr_server.cli.backup_start import MayHaveStartedError, NotStartedError, Wish, start
from kubedr_server.contract import Operation
from kubedr_server.kube import errors
from kubedr_server.kube.resources import BACKUP_LOCATIONS, CRONJOBS, JOBS, METADATA_BACKUP_POLICIES
from support.eventually import eventually
from support.fake_api import FakeApi
from support.kubedr_objects import a_result
from support.kubedr_world import Object, World

pytestmark = pytest.mark.cluster

WISH = Wish("nightly", "kubedr-system", patience_seconds=0.05)
FORCED = Wish("nightly", "kubedr-system", force=True, patience_seconds=0.05)
PATIENT = Wish("nightly", "kubedr-system", patience_seconds=60.0)


class Start:
    """Starts backups of the policy, and remembers what was told meanwhile."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lines: list[str] = []

    async def __call__(self, wish: Wish = WISH) -> Object:
        return await start(self.world.client, wish, self.lines.append, random.Random(1))

    async def refused(self, wish: Wish = WISH) -> str:
        before = len(await self.world.all(JOBS))
        with pytest.raises(NotStartedError) as raised:
            await self(wish)
        assert len(await self.world.all(JOBS)) == before
        return str(raised.value)


@pytest.fixture
def starting(world: World) -> Start:
    return Start(world)


async def _prepared(world: World) -> None:
    """Have the controllers make everything, and end: what was made stays."""
    async with world.controllers():
        await world.ready_policy()


async def test_it_makes_the_policys_job(starting: Start, world: World) -> None:
    await _prepared(world)
    job = await starting()
    assert job["metadata"]["name"].startswith("nightly-manual-")
    assert job == await world.get(JOBS, job["metadata"]["name"])
    (owner,) = job["metadata"]["ownerReferences"]
    assert owner["uid"] == (await world.get(CRONJOBS, "nightly-backup-cronjob"))["metadata"]["uid"]
    assert starting.lines == []


async def test_right_after_an_apply_it_waits_for_the_server(starting: Start, world: World) -> None:
    async with world.controllers():
        await world.secret()
        await world.policy()
        await world.location()
        await world.end(await world.job(Operation.INIT), a_result(Operation.INIT))
        job = await starting(PATIENT)
    assert job["spec"]["template"]["spec"]["containers"]


async def test_a_policy_that_does_not_exist(starting: Start, world: World, fake: FakeApi) -> None:
    assert "there is none" in await starting.refused()
    await fake.put("metadatabackuppolicies", _policy("hourly", "kubedr-system"))
    assert "there is hourly" in await starting.refused()
    await fake.put("metadatabackuppolicies", _policy("nightly", "elsewhere"))
    assert "there is one with -n elsewhere" in await starting.refused()


async def test_a_cluster_without_kubedr(starting: Start, fake: FakeApi) -> None:
    fake.fail("GET", "metadatabackuppolicies", 404, "NotFound", times=2)
    assert "is KubeDR installed in this cluster?" in await starting.refused()


async def test_a_server_that_does_not_run(starting: Start, world: World) -> None:
    await world.secret()
    await world.location()
    await world.policy()
    sentence = await starting.refused()
    assert "KubeDR's server has not looked at MetadataBackupPolicy nightly since it was applied" in sentence
    assert "--force" not in sentence  # there is no CronJob to force


async def test_what_is_waited_for_is_told_once(
    starting: Start, world: World, fake: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_start, "_POLL_SECONDS", 0.01)
    await world.policy()
    waiting = asyncio.create_task(starting(PATIENT))
    await eventually(lambda: fake.count("GET", "/metadatabackuppolicies/nightly") > 3)
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    assert len(starting.lines) == 1


async def test_a_change_that_the_server_has_not_looked_at(
    starting: Start, world: World, fake: FakeApi
) -> None:
    await _prepared(world)
    policy = await world.get(METADATA_BACKUP_POLICIES, "nightly")
    policy["metadata"]["generation"] = (policy["status"].get("observedGeneration") or 0) + 1
    await fake.put("metadatabackuppolicies", policy)
    assert "since its newest change" in await starting.refused()
    assert await starting(FORCED)
    assert "going on: --force" in starting.lines[-1]


async def test_a_location_that_does_not_exist(starting: Start, world: World) -> None:
    async with world.controllers():
        await world.policy()
        await world.becomes(METADATA_BACKUP_POLICIES, "nightly", lambda found: "status" in found)
    assert "BackupLocation minio" in await starting.refused()


async def test_a_location_that_was_deleted(starting: Start, world: World, fake: FakeApi) -> None:
    await _prepared(world)
    await fake.drop("backuplocations", "kubedr-system", "minio")
    sentence = await starting.refused(FORCED)
    assert "BackupLocation minio, the policy's destination, does not exist" in sentence


async def test_a_location_that_is_not_ready(starting: Start, world: World, fake: FakeApi) -> None:
    await _prepared(world)
    location = await world.get(BACKUP_LOCATIONS, "minio")
    for known in location["status"]["conditions"]:
        known |= {"status": "False", "reason": "StorageUnreachable", "message": "The storage is away."}
    await fake.put("backuplocations", location)
    sentence = await starting.refused()
    assert "BackupLocation minio is not ready: The storage is away." in sentence
    assert sentence.endswith("--force")
    assert await starting(FORCED)


async def test_a_cronjob_of_somebody_else(starting: Start, world: World, fake: FakeApi) -> None:
    await _prepared(world)
    cronjob = await world.get(CRONJOBS, "nightly-backup-cronjob")
    cronjob["metadata"]["ownerReferences"][0] |= {"kind": "Other", "name": "theirs", "uid": "theirs"}
    await fake.put("cronjobs", cronjob)
    assert "belongs to Other theirs" in await starting.refused(FORCED)


async def test_a_cronjob_that_was_deleted(starting: Start, world: World, fake: FakeApi) -> None:
    await _prepared(world)
    await fake.drop("cronjobs", "kubedr-system", "nightly-backup-cronjob")
    assert "CronJob nightly-backup-cronjob of the policy does not exist" in await starting.refused(FORCED)


async def test_a_backup_that_is_running_already(starting: Start, world: World) -> None:
    await _prepared(world)
    first = await starting()
    name = first["metadata"]["name"]
    assert f"is running already: Job {name}" in await starting.refused()
    second = await starting(FORCED)
    assert second["metadata"]["name"] != name
    for job in (first, second):
        await world.end(job, at=datetime.now(UTC))
    assert await starting()


async def test_an_answer_that_is_lost_does_not_make_a_second_job(
    starting: Start, world: World, fake: FakeApi
) -> None:
    await _prepared(world)
    before = len(await world.all(JOBS))
    fake.hang_up("POST", "/jobs", carried_out=True)
    job = await starting()
    assert len(await world.all(JOBS)) == before + 1
    assert job["metadata"]["uid"]


async def test_an_api_server_that_goes_away_in_that_moment_leaves_a_name_to_look_for(
    starting: Start, world: World, fake: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_start, "_POLL_SECONDS", 0.01)
    await _prepared(world)
    fake.hang_up("POST", "/jobs", times=100)
    with pytest.raises(MayHaveStartedError, match="get job nightly-manual-"):
        await starting()


async def test_a_name_that_is_taken_is_not_used(starting: Start, world: World) -> None:
    await _prepared(world)
    first = await starting()
    second = await starting(FORCED)  # begins with the same random numbers
    assert second["metadata"]["name"] != first["metadata"]["name"]


async def test_a_user_who_may_not_make_jobs(starting: Start, world: World, fake: FakeApi) -> None:
    await _prepared(world)
    fake.fail("POST", "/jobs", 403, "Forbidden")
    with pytest.raises(errors.Forbidden):
        await starting()


def _policy(name: str, namespace: str) -> Object:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {}}
