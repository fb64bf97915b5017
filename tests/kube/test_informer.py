"""The informer's promise: after any fault the cache is equal to the cluster, and handlers knew of it all."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kubedr_server.kube.cache import Cached, Key, by_label
from kubedr_server.kube.client import Client
from kubedr_server.kube.informer import Informer, InformerSettings
from kubedr_server.kube.resources import CONFIGMAPS, SECRETS, Resource
from support.eventually import eventually
from support.fake_api import FakeApi

QUICK = InformerSettings(backoff_base=0.01, backoff_cap=0.05)


def configmap(name: str, namespace: str = "ns", value: str = "1") -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "labels": {"app": "test", "name": name}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"k": value}}


class Told:
    """A handler that remembers, and by which a test waits for a change."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str]] = []
        self.old: list[Cached | None] = []
        self._news = asyncio.Event()

    def __call__(self, change: str, old: Cached | None, new: Cached | None) -> None:
        about = new or old
        assert about is not None
        self.changes.append((change, about.name))
        self.old.append(old)
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def hears(self, change: str, name: str) -> None:
        await self.until(lambda: (change, name) in self.changes)


class Ends:
    """An observer that remembers why watches ended."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.lists = 0

    def watch_ended(self, resource: str, reason: str) -> None:
        self.reasons.append(reason)

    def listed(self, resource: str, seconds: float) -> None:
        self.lists += 1

    def cached(self, resource: str, objects: int) -> None:
        pass


@asynccontextmanager
async def running(
    client: Client,
    resource: Resource = CONFIGMAPS,
    namespace: str | None = None,
    *,
    settings: InformerSettings = QUICK,
    **options: Any,
) -> AsyncIterator[tuple[Informer, Told, Ends]]:
    told, ends = Told(), Ends()
    informer = Informer(
        client, resource, namespace, settings=settings, observer=ends, rng=random.Random(1), **options
    )
    informer.add_handler(told)
    task = asyncio.create_task(informer.run())
    try:
        async with asyncio.timeout(60):
            await informer.synced.wait()
        yield informer, told, ends
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def names(informer: Informer) -> list[str]:
    return sorted(cached.name for cached in informer.cache)


@pytest.mark.cluster
async def test_the_cache_follows_the_cluster(client: Client, namespace: str) -> None:
    await client.create(CONFIGMAPS, configmap("a", namespace))
    async with running(client, CONFIGMAPS, namespace, label_selector="app=test") as (informer, told, _):
        assert names(informer) == ["a"]
        await client.create(CONFIGMAPS, configmap("b", namespace))
        await told.hears("ADDED", "b")
        await client.patch(CONFIGMAPS, namespace, "a", {"data": {"k": "2"}})
        await told.hears("MODIFIED", "a")
        await client.delete(CONFIGMAPS, namespace, "b")
        await told.hears("DELETED", "b")
        found = informer.cache.get(namespace, "a")
        assert found is not None
        assert found["data"] == {"k": "2"}
        assert (found["apiVersion"], found["kind"]) == ("v1", "ConfigMap")
        assert names(informer) == ["a"]


@pytest.mark.cluster
async def test_a_list_of_several_pages_is_taken_in_whole(client: Client, namespace: str) -> None:
    await asyncio.gather(
        *(client.create(CONFIGMAPS, configmap(f"c{number}", namespace)) for number in range(12))
    )
    settings = InformerSettings(page_size=5)
    async with running(client, CONFIGMAPS, namespace, label_selector="app=test", settings=settings) as (
        informer,
        *_,
    ):
        assert len(informer.cache) == 12


@pytest.mark.cluster
async def test_secrets_are_cached_without_their_data(client: Client, namespace: str) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": namespace}}
    await client.create(SECRETS, {**secret, "data": {"password": "Y2FuYXJ5"}})
    async with running(client, SECRETS, namespace, metadata_only=True) as (informer, told, _):
        await client.patch(SECRETS, namespace, "s", {"data": {"password": "Y2FuYXJ5Mg=="}})
        await told.hears("MODIFIED", "s")
        entry = informer.cache.entry(Key(namespace, "s"))
        assert entry is not None
        assert b"Y2FuYXJ5" not in entry.json
        assert entry.decode()["kind"] == "Secret"


async def test_a_handler_that_comes_late_is_told_of_what_is_there(fake: FakeApi, fake_client: Client) -> None:
    await fake.put("configmaps", configmap("a"))
    async with running(fake_client) as (informer, *_):
        late = Told()
        informer.add_handler(late)
        assert late.changes == [("ADDED", "a")]


async def test_a_handler_that_fails_harms_no_other(fake: FakeApi, fake_client: Client) -> None:
    await fake.put("configmaps", configmap("a"))

    def broken(*_: Any) -> None:
        raise RuntimeError("as the test wants it")

    async with running(fake_client) as (informer, told, _):
        informer.add_handler(broken)
        await fake.put("configmaps", configmap("b"))
        await told.hears("ADDED", "b")
        after = Told()
        informer.add_handler(after)
        assert len(after.changes) == 2


async def test_indexes_are_kept(fake: FakeApi, fake_client: Client) -> None:
    async with running(fake_client, indexers={"name": by_label("name")}) as (informer, told, _):
        await fake.put("configmaps", configmap("a"))
        await told.hears("ADDED", "a")
        assert informer.cache.keys_by("name", "a") == {Key("ns", "a")}


@pytest.mark.fault
@pytest.mark.parametrize("in_stream", [True, False])
async def test_after_410_a_list_tells_of_what_was_missed(
    fake: FakeApi, fake_client: Client, in_stream: bool
) -> None:
    fake.gone_in_stream = in_stream
    for name in ("kept", "changed", "deleted"):
        await fake.put("configmaps", configmap(name))
    async with running(fake_client) as (informer, told, ends):
        await fake.watched()
        fake.mute()
        await fake.drop("configmaps", "ns", "deleted")
        await fake.put("configmaps", configmap("changed", value="2"))
        await fake.put("configmaps", configmap("added"))
        await fake.forget_history()
        fake.mute(False)
        fake.cut_watches()
        await told.hears("DELETED", "deleted")
        assert names(informer) == ["added", "changed", "kept"]
        assert sorted(told.changes[3:]) == [
            ("ADDED", "added"),
            ("DELETED", "deleted"),
            ("MODIFIED", "changed"),
        ]
        gone = told.old[told.changes.index(("DELETED", "deleted"))]
        assert gone is not None
        assert gone.decode()["data"] == {"k": "1"}, "handlers see the object as it was"
        assert ends.lists == 2
        assert "Gone" in ends.reasons


@pytest.mark.fault
async def test_a_name_with_a_new_uid_is_a_deletion_and_an_addition(
    fake: FakeApi, fake_client: Client
) -> None:
    await fake.put("configmaps", configmap("a"))
    async with running(fake_client) as (_, told, _ends):
        await fake.watched()
        fake.mute()
        await fake.drop("configmaps", "ns", "a")
        await fake.put("configmaps", configmap("a"))
        await fake.forget_history()
        fake.mute(False)
        fake.cut_watches()
        await told.until(lambda: len(told.changes) == 3)
        assert told.changes == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "a")]


@pytest.mark.fault
async def test_a_broken_connection_goes_on_where_it_broke(fake: FakeApi, fake_client: Client) -> None:
    async with running(fake_client) as (_, told, ends):
        for name in ("a", "b", "c"):
            await fake.watched()
            fake.cut_watches()
            await fake.put("configmaps", configmap(name))
            await told.hears("ADDED", name)
        assert ends.lists == 1, "no list is needed when the version is still known"
        assert told.changes == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]


@pytest.mark.fault
async def test_a_silent_watch_is_given_up_and_what_it_hid_is_found(
    fake: FakeApi, fake_client: Client
) -> None:
    await fake.put("configmaps", configmap("a"))
    settings = InformerSettings(inactivity_seconds=0.2, backoff_base=0.01, backoff_cap=0.05)
    async with running(fake_client, settings=settings) as (informer, told, ends):
        fake.mute()
        await fake.drop("configmaps", "ns", "a")
        await told.hears("DELETED", "a")
        assert len(informer.cache) == 0
        assert ends.reasons[0] == "ServerTimeout"


@pytest.mark.fault
async def test_a_bookmark_moves_the_place_to_go_on_from(fake: FakeApi, fake_client: Client) -> None:
    now = 0.0
    async with running(fake_client, clock=lambda: now) as (informer, told, ends):
        await fake.watched()
        now = 50.0
        assert informer.silence() == 50
        await fake.bookmark()
        await eventually(lambda: informer._version == str(fake.version))
        assert informer.silence() == 0
        fake._oldest = fake.version  # all before the bookmark is forgotten
        fake.cut_watches()
        await fake.put("configmaps", configmap("a"))
        await told.hears("ADDED", "a")
        assert ends.lists == 1


@pytest.mark.fault
async def test_a_list_that_fails_half_way_deletes_nothing(fake: FakeApi, fake_client: Client) -> None:
    for number in range(6):
        await fake.put("configmaps", configmap(f"c{number}"))
    settings = InformerSettings(page_size=2, backoff_base=0.01, backoff_cap=0.05)
    async with running(fake_client, settings=settings) as (informer, told, ends):
        await fake.watched()
        fake.fail("NEXT", "configmaps", 410, "Expired")
        await fake.forget_history()
        fake.cut_watches()
        await eventually(lambda: ends.lists == 2)
        assert fake.count("GET", watch=False) == 3 + 2 + 3, "the second list was begun anew"
        assert len(informer.cache) == 6
        assert not [change for change in told.changes if change[0] != "ADDED"]


@pytest.mark.fault
async def test_a_kind_that_does_not_exist_yet_is_waited_for(fake: FakeApi, fake_client: Client) -> None:
    fake.fail("GET", "configmaps", 404, "NotFound", times=3)
    await fake.put("configmaps", configmap("a"))
    async with running(fake_client) as (informer, *_):
        assert names(informer) == ["a"]


@pytest.mark.fault
async def test_a_server_that_is_down_is_not_asked_in_a_tight_loop(fake: FakeApi, fake_client: Client) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    fake.fail("GET", "configmaps", 500, "InternalError", times=8)
    settings = InformerSettings(backoff_base=1, backoff_cap=30)
    async with running(fake_client, settings=settings, sleep=sleep):
        pass
    assert len(slept) == 8
    bounds = [1, 2, 4, 8, 16, 30, 30, 30]
    assert all(0 < seconds <= bound for seconds, bound in zip(slept, bounds, strict=True))
    assert sum(slept) > 10


@pytest.mark.fault
async def test_watches_that_end_at_once_are_spaced(fake: FakeApi, fake_client: Client) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) > 5:
            await asyncio.Event().wait()

    fake.ends_watches = True
    settings = InformerSettings(backoff_base=1, backoff_cap=30)
    async with running(fake_client, settings=settings, sleep=sleep) as (_, _told, ends):
        await eventually(lambda: len(slept) > 5)
        assert set(ends.reasons) == {"ended"}
    assert slept[4] > 1
