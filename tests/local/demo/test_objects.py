"""The demo's objects are many, different, and the same each time."""

import json

from kubedr_server.local.demo.objects import objects


def test_the_same_seed_gives_the_same_objects_and_another_gives_others() -> None:
    first = list(objects(500, seed=7))
    assert first == list(objects(500, seed=7))
    assert {stored.value for stored in first}.isdisjoint(stored.value for stored in objects(500, seed=8))


def test_objects_lie_where_kubernetes_puts_them() -> None:
    found = list(objects(2_000))
    assert len({stored.key for stored in found}) == len(found) >= 2_000
    for stored in found:
        metadata = json.loads(stored.value)["metadata"]
        assert stored.key.startswith("/registry/")
        assert stored.key.rsplit("/", 1)[1] == metadata["name"]
        assert metadata.get("namespace", "") in stored.key
    assert {stored.key.split("/")[2] for stored in found if stored.expires} == {"events"}
