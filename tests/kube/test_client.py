"""Ordinary requests, on a real API server where there is one."""

import asyncio
import base64
from contextlib import aclosing
from typing import Any

import pytest

from kubedr_server.kube import errors
from kubedr_server.kube.client import Client, WatchEvent
from kubedr_server.kube.resources import CONFIGMAPS, NAMESPACES, PODS, SECRETS
from support.apiserver import ApiServer

pytestmark = pytest.mark.cluster


def configmap(name: str, namespace: str, **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "test"}},
        "data": data,
    }


async def test_an_object_is_created_read_replaced_patched_and_deleted(client: Client, namespace: str) -> None:
    created = await client.create(CONFIGMAPS, configmap("a", namespace, k="1"))
    assert await client.get(CONFIGMAPS, namespace, "a") == created
    replaced = await client.replace(CONFIGMAPS, {**created, "data": {"k": "2"}})
    assert replaced["metadata"]["resourceVersion"] != created["metadata"]["resourceVersion"]
    patched = await client.patch(CONFIGMAPS, namespace, "a", {"data": {"k": None, "l": "3"}})
    assert patched["data"] == {"l": "3"}
    await client.delete(CONFIGMAPS, namespace, "a")
    with pytest.raises(errors.NotFound):
        await client.get(CONFIGMAPS, namespace, "a")


async def test_creating_what_exists_is_refused_as_such(client: Client, namespace: str) -> None:
    await client.create(CONFIGMAPS, configmap("a", namespace))
    with pytest.raises(errors.AlreadyExists):
        await client.create(CONFIGMAPS, configmap("a", namespace))


async def test_replacing_what_has_changed_is_a_conflict(client: Client, namespace: str) -> None:
    created = await client.create(CONFIGMAPS, configmap("a", namespace, k="1"))
    await client.patch(CONFIGMAPS, namespace, "a", {"data": {"k": "2"}})
    with pytest.raises(errors.Conflict):
        await client.replace(CONFIGMAPS, created)


async def test_deleting_by_the_uid_of_another_object_is_a_conflict(client: Client, namespace: str) -> None:
    await client.create(CONFIGMAPS, configmap("a", namespace))
    with pytest.raises(errors.Conflict):
        await client.delete(CONFIGMAPS, namespace, "a", uid="00000000-0000-0000-0000-000000000000")
    assert await client.get(CONFIGMAPS, namespace, "a")


async def test_apply_creates_and_then_changes(client: Client, namespace: str) -> None:
    await client.apply(CONFIGMAPS, configmap("a", namespace, k="1"), field_manager="kubedr")
    applied = await client.apply(CONFIGMAPS, configmap("a", namespace, k="2"), field_manager="kubedr")
    assert applied["data"] == {"k": "2"}


async def test_the_status_is_written_through_its_subresource(client: Client, namespace: str) -> None:
    written = await client.patch(
        NAMESPACES,
        None,
        namespace,
        {"status": {"conditions": [{"type": "Seen", "status": "True"}]}},
        kind="merge",
        subresource="status",
    )
    assert written["status"]["conditions"][0]["type"] == "Seen"


async def test_a_list_is_read_in_pages_and_its_items_say_what_they_are(
    client: Client, namespace: str
) -> None:
    await asyncio.gather(
        *(client.create(CONFIGMAPS, configmap(f"c{number:02}", namespace)) for number in range(25))
    )
    pages = [
        len(page.items)
        async for page in client.pages(CONFIGMAPS, namespace, label_selector="app=test", limit=10)
    ]
    assert pages == [10, 10, 5]
    found = await client.list(CONFIGMAPS, namespace, label_selector="app=test", limit=10)
    assert sorted(item["metadata"]["name"] for item in found.items) == [
        f"c{number:02}" for number in range(25)
    ]
    assert {(item["apiVersion"], item["kind"]) for item in found.items} == {("v1", "ConfigMap")}
    assert (await client.list(CONFIGMAPS, namespace, label_selector="app=other")).items == []


async def test_a_watch_tells_what_happened_since_the_list(client: Client, namespace: str) -> None:
    before = await client.list(CONFIGMAPS, namespace)
    await client.create(CONFIGMAPS, configmap("a", namespace, k="1"))
    await client.patch(CONFIGMAPS, namespace, "a", {"data": {"k": "2"}})
    await client.delete(CONFIGMAPS, namespace, "a")
    seen: list[WatchEvent] = []
    watch = client.watch(
        CONFIGMAPS,
        namespace,
        resource_version=before.resource_version,
        label_selector="app=test",
        timeout_seconds=300,
    )
    async with aclosing(watch):
        async for event in watch:
            seen.append(event)
            if event.type == "DELETED":
                break
    assert [event.type for event in seen if event.type != "BOOKMARK"] == ["ADDED", "MODIFIED", "DELETED"]
    assert seen[-1].object["data"] == {"k": "2"}


async def test_a_watch_ends_when_the_server_was_asked_to_end_it(client: Client, namespace: str) -> None:
    before = await client.list(CONFIGMAPS, namespace)
    watch = client.watch(
        CONFIGMAPS,
        namespace,
        resource_version=before.resource_version,
        label_selector="app=x",
        timeout_seconds=1,
    )
    async with aclosing(watch), asyncio.timeout(60):
        assert [event async for event in watch if event.type != "BOOKMARK"] == []


async def test_metadata_of_secrets_is_read_without_their_data(client: Client, namespace: str) -> None:
    canary = base64.b64encode(b"canary-secret").decode()
    await client.create(
        SECRETS,
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": "s",
                "namespace": namespace,
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": canary, "note": "kept"},
            },
            "data": {"password": canary},
        },
    )
    found = await client.list(SECRETS, namespace, metadata_only=True)
    assert canary not in str(found)
    [secret] = found.items
    assert (secret["apiVersion"], secret["kind"], secret["metadata"]["name"]) == ("v1", "Secret", "s")
    assert secret["metadata"]["annotations"] == {"note": "kept"}


async def test_what_is_not_valid_names_its_fields(
    real_api: ApiServer | None, client: Client, namespace: str
) -> None:
    if real_api is None:
        pytest.skip("the fake API server validates nothing")
    with pytest.raises(errors.Invalid) as raised:
        await client.create(
            PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {}}, namespace
        )
    assert "spec.containers" in [cause.field for cause in raised.value.causes]


async def test_who_may_not_is_told_so_and_who_is_not_known_too(real_api: ApiServer | None) -> None:
    if real_api is None:
        pytest.skip("the fake API server knows no roles")
    async with await Client.from_kubeconfig(real_api.kubeconfig_of_nobody) as nobody:
        with pytest.raises(errors.Forbidden, match="nobody"):
            await nobody.list(SECRETS, "default")
