"""Two servers behind one Service, with a certificate of their own making, as an API server sees them."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kubedr_server import server
from kubedr_server.api import crd
from kubedr_server.kube.client import Client
from kubedr_server.kube.errors import KubeError, NotFound
from kubedr_server.kube.resources import (
    BACKUP_LOCATIONS,
    CONFIGMAPS,
    CRDS,
    METADATA_BACKUP_POLICIES,
    METADATA_BACKUP_RECORDS,
    MUTATING_WEBHOOKS,
    NAMESPACES,
    SECRETS,
    VALIDATING_WEBHOOKS,
    Resource,
)
from kubedr_server.local.api.server import LocalAPI
from kubedr_server.manifests.webhooks import (
    ServiceTarget,
    mutating_configuration,
    validating_configuration,
)
from kubedr_server.settings import SelfSigned
from support.admission import location, policy, record
from support.apiserver import ApiServer, assets
from support.ports import free_port
from support.replica import Replica, settings_for

pytestmark = pytest.mark.cluster

APIS = ["embedded", *(["kube-apiserver"] if assets() else [])]
NAMESPACE = "kubedr-system"
SERVICE = "kubedr-webhook"
SECRET = "kubedr-webhook-tls"
CONFIGURATIONS = (
    (MUTATING_WEBHOOKS, "kubedr-mutating-webhook"),
    (VALIDATING_WEBHOOKS, "kubedr-validating-webhook"),
)
FINALIZER = "tests.example.com/hold"


@dataclass
class Site:
    """An API server with our CRDs and webhook configurations, whose Service leads to one port of loopback."""

    kubeconfig: Path
    client: Client
    port: int

    def replica(self, port: int = 0) -> Replica:
        """Start a server; the Service leads to it if it has the Service's port."""
        changes = {"self_signed": SelfSigned(), "port": port, "certificate_poll_seconds": 0.1}
        return Replica(settings_for(self.kubeconfig, **changes))

    async def refusal(self) -> str:
        """Create a wrong policy, and return why it was refused."""
        with pytest.raises(KubeError) as refused:
            await self.client.create(METADATA_BACKUP_POLICIES, policy(schedule="0 25 * * *"))
        return str(refused.value)

    async def judges(self) -> bool:
        """Whether the API server gets an answer from a server that it trusts."""
        return "hour must be between 0 and 23" in await self.refusal()

    async def secret(self) -> dict[str, str]:
        """Return what the replicas share; nothing if there is none."""
        try:
            data: dict[str, str] = (await self.client.get(SECRETS, NAMESPACE, SECRET))["data"]
        except NotFound:
            return {}
        return data

    async def bundles(self) -> list[str]:
        """Return whom the API server trusts."""
        found = [await self.client.get(resource, None, name) for resource, name in CONFIGURATIONS]
        return [webhook["clientConfig"].get("caBundle", "") for each in found for webhook in each["webhooks"]]


@pytest.fixture(params=APIS)
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    port, programs = free_port(), assets()
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "embedded" or programs is None:
            services = {f"{NAMESPACE}/{SERVICE}": f"https://127.0.0.1:{port}"}
            local = await stack.enter_async_context(LocalAPI(tmp_path / "api", services=services))
            kubeconfig = local.kubeconfig
        else:
            api = ApiServer(tmp_path / "api", programs)
            await asyncio.to_thread(api.__enter__)
            stack.callback(api.stop)
            kubeconfig = api.kubeconfig
        client = await stack.enter_async_context(await Client.from_kubeconfig(kubeconfig))
        found = Site(kubeconfig, client, port)
        await _install(found)
        yield found


async def _install(site: Site) -> None:
    client = site.client
    await client.create(NAMESPACES, _object("v1", "Namespace", NAMESPACE))
    for definition in crd.definitions():
        await client.apply(CRDS, definition, field_manager="test")
    for each in (BACKUP_LOCATIONS, METADATA_BACKUP_POLICIES, METADATA_BACKUP_RECORDS):
        await eventually(partial(_is_served, client, each))
    # The way that a Service's endpoints would be on a network.
    service = {
        **_object("v1", "Service", SERVICE),
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    }
    service["metadata"]["namespace"] = NAMESPACE
    await client.create(Resource("", "v1", "services", "Service"), service)
    target = ServiceTarget(SERVICE, NAMESPACE, site.port)
    builders = (mutating_configuration, validating_configuration)
    for (resource, name), build in zip(CONFIGURATIONS, builders, strict=True):
        await client.create(resource, build(name, target))


def _object(version: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}}


async def _is_served(client: Client, resource: Resource) -> bool:
    try:
        await client.list(resource, NAMESPACE)
    except KubeError:
        return False
    return True


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await holds():  # noqa: ASYNC110 - the API server has no event for it
            await asyncio.sleep(0.05)


async def _served_by(port: int) -> str:
    return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))


async def test_a_replica_takes_over_with_the_same_certificate(site: Site) -> None:
    first, second = site.replica(site.port), site.replica()
    ports = [(await replica.started()).webhook_port for replica in (first, second)]
    shared = await site.secret()
    assert set(await site.bundles()) == {shared["ca.crt"]}
    assert await _served_by(ports[0]) == await _served_by(ports[1])
    await eventually(site.judges)

    await first.end()
    third = site.replica(site.port)
    await third.started()
    assert await site.secret() == shared
    assert await _served_by(site.port) == await _served_by(ports[1])
    await eventually(site.judges)
    for replica in (second, third):
        await replica.end()


async def test_replicas_agree_on_a_new_certificate_when_theirs_is_lost(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SELF_SIGNED_CHECK_SECONDS", 0.1)
    replicas = [site.replica(site.port), site.replica()]
    ports = [(await replica.started()).webhook_port for replica in replicas]
    before, was_served = await site.secret(), await _served_by(site.port)

    await site.client.delete(SECRETS, NAMESPACE, SECRET)

    async def is_agreed() -> bool:
        shared = await site.secret()
        served = {await _served_by(port) for port in ports}
        trusted = set(await site.bundles()) == {shared.get("ca.crt")}
        return bool(shared) and shared != before and len(served) == 1 and served != {was_served} and trusted

    await eventually(is_agreed)
    await eventually(site.judges)
    for replica in replicas:
        await replica.end()


async def test_without_any_server_all_but_our_kinds_can_be_changed_and_what_is_going_can_go(
    site: Site,
) -> None:
    replica = site.replica(site.port)
    await replica.started()
    await eventually(site.judges)
    client, held = site.client, record()
    held["metadata"]["finalizers"] = [FINALIZER]
    await client.create(METADATA_BACKUP_RECORDS, held)
    await client.create(BACKUP_LOCATIONS, location())
    await client.create(METADATA_BACKUP_POLICIES, policy())
    await client.delete(METADATA_BACKUP_RECORDS, NAMESPACE, held["metadata"]["name"])
    await replica.end()

    assert "failed calling webhook" in await site.refusal(), "what cannot be judged is not stored"
    await client.create(
        CONFIGMAPS,
        {**_object("v1", "ConfigMap", "repair"), "metadata": {"name": "repair", "namespace": NAMESPACE}},
    )
    await client.delete(SECRETS, NAMESPACE, SECRET)
    await client.patch(
        BACKUP_LOCATIONS, NAMESPACE, "offsite", {"status": {"initStatus": "Failed"}}, subresource="status"
    )
    await client.delete(METADATA_BACKUP_POLICIES, NAMESPACE, "nightly")
    name = held["metadata"]["name"]
    finalizers = [each for each in await _finalizers(client, name) if each != FINALIZER]
    await client.patch(METADATA_BACKUP_RECORDS, NAMESPACE, name, {"metadata": {"finalizers": finalizers}})
    for resource, configuration in CONFIGURATIONS:
        await client.delete(resource, None, configuration)
    await client.create(METADATA_BACKUP_POLICIES, policy("without-webhooks"))


async def _finalizers(client: Client, name: str) -> list[str]:
    found: list[str] = (await client.get(METADATA_BACKUP_RECORDS, NAMESPACE, name))["metadata"]["finalizers"]
    return found
