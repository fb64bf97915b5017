import gc
import tracemalloc
from typing import Any

from kubedr_server.kube.cache import Cache, Key, by_label, by_owner_uid


def obj(name: str, namespace: str = "ns", *, owner: str = "", **labels: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "labels": labels}
    if owner:
        metadata["ownerReferences"] = [{"uid": owner}]
    return {"metadata": metadata, "spec": {"list": [1, 2]}}


def test_what_is_got_is_a_copy() -> None:
    cache = Cache()
    cache.put(obj("a"))
    first = cache.get("ns", "a")
    assert first is not None
    first["spec"]["list"].append(3)
    second = cache.get("ns", "a")
    assert second is not None
    assert second["spec"]["list"] == [1, 2]


def test_managed_fields_are_not_kept() -> None:
    cache = Cache()
    given = obj("a")
    given["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    _, new = cache.put(given)
    assert b"managedFields" not in new.json


def test_objects_are_listed_by_namespace_and_labels() -> None:
    cache = Cache()
    for given in (obj("a", "one", app="x"), obj("b", "one", app="y"), obj("c", "two", app="x")):
        cache.put(given)
    assert [item["metadata"]["name"] for item in cache.list("one")] == ["a", "b"]
    assert [item["metadata"]["name"] for item in cache.list(labels={"app": "x"})] == ["a", "c"]
    assert [item["metadata"]["name"] for item in cache.list("two", {"app": "y"})] == []


def test_an_index_follows_changes_and_removals() -> None:
    cache = Cache({"owner": by_owner_uid, "app": by_label("app")})
    cache.put(obj("a", owner="u1", app="x"))
    cache.put(obj("b", owner="u1"))
    assert cache.keys_by("owner", "u1") == {Key("ns", "a"), Key("ns", "b")}
    cache.put(obj("a", owner="u2", app="y"))
    assert cache.keys_by("owner", "u1") == {Key("ns", "b")}
    assert [item["metadata"]["name"] for item in cache.by("app", "y")] == ["a"]
    cache.remove(Key("ns", "a"))
    assert cache.by("owner", "u2") == []
    assert cache.keys_by("app", "y") == frozenset()


def test_ten_thousand_objects_take_few_times_their_json() -> None:
    padding = "x" * 800
    cache = Cache({"owner": by_owner_uid})
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(10_000):
            cache.put(
                obj(f"policy-{number}", owner=f"owner-{number % 50}", app="kubedr", text=padding[:10])
                | {"pad": padding}
            )
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    json_bytes = sum(len(cached.json) for cached in cache)
    assert len(cache) == 10_000
    assert taken < json_bytes + 10_000 * 1500
