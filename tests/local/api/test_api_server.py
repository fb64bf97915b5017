"""The API as a whole: its files, its restarts, its logs of pods, what it lets expire."""

import asyncio
import stat
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kubedr_server.kube.client import Client
from kubedr_server.kube.errors import KubeError
from kubedr_server.kube.resources import CONFIGMAPS, CRDS, EVENTS, PODS, Resource
from kubedr_server.local.api.database import Key
from kubedr_server.local.api.server import LocalAPI
from support.api_requests import Requests, Server
from support.eventually import eventually
from support.widgets import WIDGETS, widget

WIDGET = Resource("example.com", "v1", "widgets", "Widget")
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "default"},
    "spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]},
}


async def test_everything_in_the_state_directory_is_private(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with LocalAPI(state) as api:
        assert api.url.startswith("https://127.0.0.1:")
        files = [path for path in state.rglob("*") if path.is_file()]
        assert {path.name for path in files} >= {"kubeconfig", "api.db", "token", "server.key", "ca.key"}
        for path in [state, state / "pki", *files]:
            if path.parent != state / "pki" or path.is_dir():
                allowed = 0o700 if path.is_dir() else 0o644
                assert stat.S_IMODE(path.stat().st_mode) & ~allowed == 0 or path.name.startswith("api.db-")
        for name in ("kubeconfig", "api.db", "pki/token", "pki/server.key", "pki/ca.key"):
            assert stat.S_IMODE((state / name).stat().st_mode) == 0o600, name


async def test_objects_definitions_and_credentials_outlive_a_restart(tmp_path: Path) -> None:
    async with LocalAPI(tmp_path) as api:
        kubeconfig, port = api.kubeconfig.read_text(), int(api.url.rpartition(":")[2])
        async with await Client.from_kubeconfig(api.kubeconfig) as client:
            await client.create(CRDS, WIDGETS)
            await _created(client)
            version = (await client.list(WIDGET, "default")).resource_version
    async with LocalAPI(tmp_path, port=port) as api:
        assert api.kubeconfig.read_text() == kubeconfig
        async with await Client.from_kubeconfig(api.kubeconfig) as client:
            assert (await client.get(WIDGET, "default", "w"))["spec"] == {"size": 1, "mode": "A"}
            await client.delete(WIDGET, "default", "w")
            watch = client.watch(WIDGET, "default", resource_version=version, timeout_seconds=60)
            async with aclosing(watch) as events:
                assert (await anext(events)).type == "DELETED"


async def _created(client: Client) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await client.create(WIDGET, widget() | {"metadata": {"name": "w", "namespace": "default"}})
            except KubeError:
                await asyncio.sleep(0.02)  # the definition is not established yet
            else:
                return


async def test_a_second_process_is_kept_out_of_the_state_directory(tmp_path: Path) -> None:
    async with LocalAPI(tmp_path):
        with pytest.raises(RuntimeError, match="in use by another process: stop that one, or take another"):
            async with LocalAPI(tmp_path):
                pass


class Logs:
    """A source of logs that says one line, and what it was asked."""

    async def read(self, namespace: str, pod: str, container: str, **options: Any) -> AsyncIterator[bytes]:
        if container == "b":
            raise LookupError(f'container "b" in pod "{pod}" is waiting to start: ContainerCreating')
        yield f"{namespace}/{pod}/{container} tail={options['tail_lines']} ".encode()
        yield f"follow={options['follow']}\n".encode()


async def test_pod_logs_are_read_from_whoever_runs_the_pods(tmp_path: Path) -> None:
    async with LocalAPI(tmp_path) as api:
        api.set_log_source(Logs())
        async with await Client.from_kubeconfig(api.kubeconfig) as client:
            await client.create(PODS, POD)

        def read(**query: str) -> tuple[int, str]:
            with Requests.of(api.kubeconfig) as requests:
                reply = requests("GET", "/api/v1/namespaces/default/pods/p/log", **query)
            text = reply.body.decode() if reply.status == 200 else reply.message
            return reply.status, text

        assert await asyncio.to_thread(read, container="a", tailLines="5", follow="true") == (
            200, "default/p/a tail=5 follow=True\n",
        )  # fmt: skip
        assert await asyncio.to_thread(read) == (
            400, "a container name must be specified for pod p, choose one of: [a b]",
        )  # fmt: skip
        assert await asyncio.to_thread(read, container="b") == (
            400, 'container "b" in pod "p" is waiting to start: ContainerCreating',
        )  # fmt: skip
        assert (await asyncio.to_thread(read, container="z"))[1] == "container z is not valid for pod p"


async def test_events_are_forgotten_after_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    monkeypatch.setattr("kubedr_server.local.api.background.SWEEP_SECONDS", 0.05)

    def event(name: str, age: timedelta) -> dict[str, Any]:
        seen = (now - age).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": "default"},
                "involvedObject": {"namespace": "default"}, "lastTimestamp": seen}  # fmt: skip

    ahead = timedelta(0)
    async with (
        LocalAPI(tmp_path, clock=lambda: datetime.now(UTC) + ahead) as api,
        await Client.from_kubeconfig(api.kubeconfig) as client,
    ):
        await client.create(EVENTS, event("old", timedelta(hours=2)))
        await client.create(EVENTS, event("new", -timedelta(hours=1)))
        assert len((await client.list(EVENTS, "default")).items) == 2, "what was written just now stays"
        ahead = timedelta(minutes=61)
        await eventually(lambda: [entry.key.name for entry in api.store.list("events")] == ["new"])


async def test_thousands_of_objects_take_little_work_to_make_and_to_list(tmp_path: Path) -> None:
    async with (
        LocalAPI(tmp_path) as api,
        await Client.from_kubeconfig(api.kubeconfig) as client,
    ):

        def config(name: str) -> dict[str, Any]:
            meta = {"name": name, "namespace": "default", "uid": name}
            return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"x": "y" * 500}}

        names = [f"c{index}" for index in range(1000)]
        # Of this process, client and all: how much else the machine has to do does not count.
        begin = time.process_time()
        await asyncio.gather(*(api.store.create(Key("configmaps", "default", n), config(n)) for n in names))
        assert time.process_time() - begin < 3.0
        begin = time.process_time()
        listed = await client.list(CONFIGMAPS, "default", limit=0)
        assert len(listed.items) == 1000
        assert time.process_time() - begin < 1.0


def test_discovery_tells_both_old_and_new_clients(embedded: Server) -> None:
    requests = embedded.requests
    old = requests("GET", "/apis/batch/v1").json
    assert {entry["name"] for entry in old["resources"]} == {
        "cronjobs",
        "cronjobs/status",
        "jobs",
        "jobs/status",
    }
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    new = requests("GET", "/apis", accept=accept).json
    assert new["kind"] == "APIGroupDiscoveryList"
    [batch] = [item for item in new["items"] if item["metadata"].get("name") == "batch"]
    resources = batch["versions"][0]["resources"]
    assert [entry["resource"] for entry in resources] == ["cronjobs", "jobs"]
    assert requests("GET", "/apis/nothing/v1").status == 404
    assert requests("GET", "/nothing").status == 404


def test_openapi_documents_are_named_by_their_hash(embedded: Server) -> None:
    requests = embedded.requests
    index = requests("GET", "/openapi/v3").json["paths"]
    location = index["apis/batch/v1"]["serverRelativeURL"]
    document = requests("GET", location).json
    jobs = document["paths"]["/apis/batch/v1/namespaces/{namespace}/jobs/{name}"]["patch"]
    assert jobs["x-kubernetes-group-version-kind"] == {"group": "batch", "version": "v1", "kind": "Job"}
    assert {"dryRun", "fieldManager", "fieldValidation", "force"} <= {p["name"] for p in jobs["parameters"]}
    schemas = document["components"]["schemas"]
    references = _references(document)
    assert references
    assert references <= {f"#/components/schemas/{name}" for name in schemas}
    spec = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert spec["x-kubernetes-patch-merge-key"] == "name"
    old = requests("GET", "/openapi/v2").json
    assert old["definitions"]["io.k8s.api.batch.v1.Job"]["properties"]["spec"]["$ref"] == (
        "#/definitions/io.k8s.api.batch.v1.JobSpec"
    )


def _references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(_references(item) for item in value.values()))
    return set().union(*(_references(item) for item in value)) if isinstance(value, list) else set()
