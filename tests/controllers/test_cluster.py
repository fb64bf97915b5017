"""What comes of our own writes is not told of again; everything else is, also while a write is on its way."""

import random
from contextlib import suppress
from typing import Any

import pytest

from kubedr_server.controllers.cluster import Cluster
from kubedr_server.kube.cache import Key
from kubedr_server.kube.client import Client
from kubedr_server.kube.resources import BACKUP_LOCATIONS, CRONJOBS, METADATA_BACKUP_POLICIES, Resource
from kubedr_server.kube.transport import Transport
from support.fake_api import FakeApi

KEY = Key("kubedr-system", "nightly")


class Told:
    """A cluster without a watch: changes are put into the caches, and what is told of is noted."""

    def __init__(self, client: Client) -> None:
        self.cluster = Cluster(client, None, rng=random.Random(1))
        self.versions: list[str] = []
        for resource in (CRONJOBS, BACKUP_LOCATIONS, METADATA_BACKUP_POLICIES):
            self.cluster.on_changes(
                resource,
                lambda _change, _old, new: self.versions.append(new.resource_version if new else "gone"),
            )

    def comes(self, version: str, resource: Resource = CRONJOBS) -> None:
        self.cluster.informers[resource]._put(an_object(version))

    def goes(self) -> None:
        self.cluster.informers[CRONJOBS]._remove(KEY)


def an_object(version: str) -> dict[str, Any]:
    return {
        "metadata": {"namespace": KEY.namespace, "name": KEY.name, "uid": "1", "resourceVersion": version}
    }


@pytest.fixture
async def told(fake: FakeApi) -> Any:
    async with Client(Transport(fake.connection())) as client:
        yield Told(client)


async def test_our_own_write_is_not_told_of_when_it_comes_after_its_answer(told: Told) -> None:
    with told.cluster.writing(CRONJOBS, KEY) as answered:
        answered(an_object("5"))
    told.comes("5")
    told.comes("6")
    assert told.versions == ["6"]


async def test_our_own_status_is_told_of_where_it_is_of_an_earlier_spec(told: Told) -> None:
    for version, generation in (("5", 2), ("6", 3)):
        status = an_object(version)
        status["metadata"]["generation"] = generation
        status["status"] = {"observedGeneration": 2}
        with told.cluster.writing(METADATA_BACKUP_POLICIES, KEY) as answered:
            answered(status)
        told.comes(version, METADATA_BACKUP_POLICIES)
    assert told.versions == ["6"]


async def test_our_own_write_is_not_told_of_when_it_comes_before_its_answer(told: Told) -> None:
    with told.cluster.writing(CRONJOBS, KEY) as answered:
        told.comes("5")
        answered(an_object("5"))
    assert told.versions == []


async def test_what_others_write_meanwhile_is_told_of_once_the_answer_is_there(told: Told) -> None:
    with told.cluster.writing(CRONJOBS, KEY) as answered:
        told.comes("4")
        told.comes("5")
        told.comes("6")
        assert told.versions == []
        answered(an_object("5"))
    assert told.versions == ["4", "6"]


async def test_a_write_that_fails_holds_nothing_back(told: Told) -> None:
    with suppress(TimeoutError), told.cluster.writing(CRONJOBS, KEY):
        told.comes("5")
        raise TimeoutError
    assert told.versions == ["5"]


async def test_a_deletion_is_told_of_also_of_what_we_wrote(told: Told) -> None:
    with told.cluster.writing(CRONJOBS, KEY) as answered:
        answered(an_object("5"))
    told.comes("5")
    told.goes()
    told.comes("5")
    assert told.versions == ["gone", "5"]


async def test_a_location_is_told_of_whoever_wrote_it(told: Told) -> None:
    with told.cluster.writing(BACKUP_LOCATIONS, KEY) as answered:
        answered(an_object("5"))
    told.comes("5", BACKUP_LOCATIONS)
    assert told.versions == ["5"]
