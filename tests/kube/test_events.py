import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubedr_server.kube.client import Client
from kubedr_server.kube.events import EventRecorder
from kubedr_server.kube.resources import CONFIGMAPS, EVENTS
from support.eventually import eventually
from support.fake_api import FakeApi

LOCATION = {
    "apiVersion": "kubedr.catalogicsoftware.com/v1alpha1",
    "kind": "BackupLocation",
    "metadata": {"namespace": "ns", "name": "site", "uid": "u-1", "resourceVersion": "7"},
}


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


async def no_sleep(_seconds: float) -> None:
    await asyncio.sleep(0)


@asynccontextmanager
async def recording(client: Client, **options: Any) -> AsyncIterator[EventRecorder]:
    recorder = EventRecorder(client, "server-0", rng=random.Random(1), **options)
    task = asyncio.create_task(recorder.run())
    try:
        yield recorder
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def events(fake: FakeApi) -> list[dict[str, Any]]:
    return [obj for key, obj in fake.objects.items() if key[0] == "events"]


@pytest.mark.cluster
async def test_an_event_says_what_happened_to_which_object(client: Client, namespace: str) -> None:
    made = await client.create(
        CONFIGMAPS,
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": namespace}},
    )
    async with recording(client) as recorder:
        recorder.record(made, "Warning", "InitFailed", "The password is wrong.")
        assert await recorder.flush(60)
        recorder.record(made, "Warning", "InitFailed", "The password is wrong.")
        assert await recorder.flush(60)
    [event] = (await client.list(EVENTS, namespace)).items
    assert event["involvedObject"]["kind"] == "ConfigMap"
    assert event["involvedObject"]["uid"] == made["metadata"]["uid"]
    assert (event["type"], event["reason"], event["message"]) == (
        "Warning",
        "InitFailed",
        "The password is wrong.",
    )
    assert (event["reportingComponent"], event["reportingInstance"]) == ("kubedr", "server-0")
    assert event["count"] == 2


async def test_the_same_again_raises_the_count_and_the_last_time(fake: FakeApi, fake_client: Client) -> None:
    clock = Clock()
    async with recording(fake_client, now=clock) as recorder:
        recorder.record(LOCATION, "Normal", "InitSucceeded", "The repository is ready.")
        assert await recorder.flush(60)
        clock.now += timedelta(minutes=5)
        for _ in range(3):
            recorder.record(LOCATION, "Normal", "InitSucceeded", "The repository is ready.")
        assert await recorder.flush(60)
    [event] = events(fake)
    assert event["count"] == 4
    assert (event["firstTimestamp"], event["lastTimestamp"]) == (
        "2026-03-01T12:00:00Z",
        "2026-03-01T12:05:00Z",
    )
    assert fake.count("PATCH") == 1, "three that came together are one write"


async def test_different_messages_are_different_events(fake: FakeApi, fake_client: Client) -> None:
    async with recording(fake_client) as recorder:
        recorder.record(LOCATION, "Warning", "InitFailed", "one")
        recorder.record(LOCATION, "Warning", "InitFailed", "two")
        assert await recorder.flush(60)
    assert [event["message"] for event in events(fake)] == ["one", "two"]


@pytest.mark.parametrize("letter", ["x", "ü", "🗄"])
async def test_a_long_message_is_cut_at_whole_characters(
    fake: FakeApi, fake_client: Client, letter: str
) -> None:
    async with recording(fake_client) as recorder:
        recorder.record(LOCATION, "Warning", "InitFailed", letter * 2000)
        assert await recorder.flush(60)
    [event] = events(fake)
    assert 1020 <= len(event["message"].encode()) <= 1024
    assert event["message"].strip(letter) == "…"


async def test_an_event_that_the_cluster_forgot_is_written_anew(fake: FakeApi, fake_client: Client) -> None:
    async with recording(fake_client) as recorder:
        recorder.record(LOCATION, "Normal", "InitSucceeded", "m")
        assert await recorder.flush(60)
        [(plural, namespace, name)] = [key for key in fake.objects if key[0] == "events"]
        await fake.drop(plural, namespace, name)
        recorder.record(LOCATION, "Normal", "InitSucceeded", "m")
        assert await recorder.flush(60)
    [event] = events(fake)
    assert event["count"] == 1


async def test_what_can_happen_only_once_is_one_event_whoever_says_it(
    fake: FakeApi, fake_client: Client
) -> None:
    for _process in range(2):
        async with recording(fake_client) as recorder:
            for _ in range(2):
                recorder.record(LOCATION, "Normal", "BackupSucceeded", "m", once="uid-of-the-job")
                recorder.record(LOCATION, "Normal", "BackupSucceeded", "m", once="uid-of-the-job")
                assert await recorder.flush(60)
            recorder.record(LOCATION, "Normal", "BackupSucceeded", "m", once="uid-of-another")
            assert await recorder.flush(60)
    assert [event["count"] for event in events(fake)] == [1, 1]


@pytest.mark.fault
async def test_an_event_survives_a_server_that_is_down_for_a_while(
    fake: FakeApi, fake_client: Client
) -> None:
    fake.fail("POST", "events", 500, "InternalError", times=3)
    async with recording(fake_client, sleep=no_sleep) as recorder:
        recorder.record(LOCATION, "Normal", "InitSucceeded", "m")
        assert await recorder.flush(60)
    assert len(events(fake)) == 1


@pytest.mark.fault
async def test_an_event_that_is_refused_is_dropped_and_the_next_is_written(
    fake: FakeApi, fake_client: Client
) -> None:
    fake.fail("POST", "events", 403, "Forbidden")
    async with recording(fake_client, sleep=no_sleep) as recorder:
        recorder.record(LOCATION, "Normal", "One", "m")
        recorder.record(LOCATION, "Normal", "Two", "m")
        assert await recorder.flush(60)
    assert [event["reason"] for event in events(fake)] == ["Two"]


@pytest.mark.fault
async def test_recording_never_fails(
    fake: FakeApi, fake_client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = EventRecorder(fake_client)
    recorder.record({}, "Normal", "NoObject", "m")
    assert "NoObject" in caplog.text


@pytest.mark.fault
async def test_what_waits_is_bounded(fake: FakeApi, fake_client: Client) -> None:
    fake.hang("POST", "events")
    async with recording(fake_client) as recorder:
        for number in range(5000):
            recorder.record(LOCATION, "Normal", "Many", f"number {number}")
        assert len(recorder._pending) == 1000
        await eventually(lambda: fake.count("POST", "events") == 1)
        assert not await recorder.flush(0.05), "and a shutdown does not wait for ever"


async def test_a_name_of_full_length_still_gives_a_valid_event_name(
    fake: FakeApi, fake_client: Client
) -> None:
    long = {**LOCATION, "metadata": {**LOCATION["metadata"], "name": "n" * 253}}  # type: ignore[dict-item]  # it is a mapping
    async with recording(fake_client) as recorder:
        recorder.record(long, "Normal", "InitSucceeded", "m")
        assert await recorder.flush(60)
    [event] = events(fake)
    assert len(event["metadata"]["name"]) == 253
    assert event["involvedObject"]["name"] == "n" * 253
