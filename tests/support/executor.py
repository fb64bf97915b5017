"""An executor on an API, and the objects that its tests run."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kubedr_server.kube.client import Client
from kubedr_server.kube.errors import NotFound
from kubedr_server.kube.resources import EVENTS, Resource
from kubedr_server.kube.transport import ClientSettings
from kubedr_server.local.executor.api_client import ExecutorClient
from kubedr_server.local.executor.executor import Executor
from kubedr_server.local.executor.logs import PodLogs
from kubedr_server.local.executor.objects import utc_now
from kubedr_server.local.executor.settings import ExecutorSettings

IMAGE = "kubedr/backup:test"
UNLIMITED = ClientSettings(qps=0)


@asynccontextmanager
async def executor_on(kubeconfig: Path, state_dir: Path, **settings: Any) -> AsyncIterator[PodLogs]:
    """Run an executor on the API of a kubeconfig. Gives the logs of its pods."""
    logs = PodLogs(state_dir / "logs", utc_now)
    whole = ExecutorSettings(state_dir, IMAGE, first_retry=0.1, leftover_grace=60.0, **settings)
    async with (
        await ExecutorClient.from_kubeconfig(kubeconfig, settings=UNLIMITED) as client,
        Executor(client, whole, logs),
    ):
        yield logs


def pod_spec(*command: str, **more: Any) -> dict[str, Any]:
    """Return the spec of a pod of our image that runs a program."""
    container = {"name": "main", "image": IMAGE, "command": list(command), **more.pop("container", {})}
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "containers": [container],
        "tolerations": [{"operator": "Exists"}],
        **more,
    }


def pod(namespace: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Return a pod."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": spec,
    }


def job(namespace: str, name: str, spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a Job of one pod."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"backoffLimit": 0, "template": {"metadata": {}, "spec": spec}, **more},
    }


def cronjob(namespace: str, name: str, schedule: str, spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a CronJob whose Jobs run one pod each."""
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "schedule": schedule,
            "jobTemplate": {"spec": {"backoffLimit": 0, "template": {"spec": spec}}},
            **more,
        },
    }


async def wait_for(
    client: Client,
    resource: Resource,
    namespace: str,
    name: str,
    holds: Callable[[dict[str, Any]], Any],
    seconds: float = 60.0,
) -> dict[str, Any]:
    """Wait until an object is as it should be, and return it."""
    obj: dict[str, Any] = {}
    try:
        async with asyncio.timeout(seconds):
            while True:
                obj = await client.get(resource, namespace, name)
                if holds(obj):
                    return obj
                await asyncio.sleep(0.05)
    except TimeoutError:
        status = json.dumps(obj.get("status"), indent=1)
        pytest.fail(f"{resource.kind} {name} is not as expected: {status}")


async def wait_gone(
    client: Client, resource: Resource, namespace: str, name: str, seconds: float = 60.0
) -> None:
    """Wait until an object does not exist any more."""
    async with asyncio.timeout(seconds):
        with contextlib.suppress(NotFound):
            while await client.get(resource, namespace, name):  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.05)


def terminated(pod: dict[str, Any]) -> dict[str, Any]:
    """Return how a pod's container ended; empty while it has not."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or [{}]
    found: dict[str, Any] = (statuses[0].get("state") or {}).get("terminated") or {}
    return found


def waiting_reason(pod: dict[str, Any]) -> str:
    """Return why a pod's container has not started yet."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or [{}]
    return str(((statuses[0].get("state") or {}).get("waiting") or {}).get("reason") or "")


async def wait_for_event(client: Client, namespace: str, name: str, words: str) -> None:
    """Wait for an event on an object whose `<reason>: <message>` begins so: it is written by and by."""
    told: list[str] = []
    try:
        async with asyncio.timeout(60):
            while not any(each.startswith(words) for each in told):
                await asyncio.sleep(0.05)
                events = (await client.list(EVENTS, namespace)).items
                mine = [event for event in events if event["involvedObject"]["name"] == name]
                told = [f"{event['reason']}: {event['message']}" for event in mine]
    except TimeoutError:
        pytest.fail(f"no event of {name} begins with {words!r}: {told}")
