"""Puts local mode together in one process: the embedded API, the executor of its Jobs, KubeDR's server."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kubedr_server import server
from kubedr_server.api import crd
from kubedr_server.cli.local_state import Running, StateDirectory
from kubedr_server.kube.client import Client
from kubedr_server.kube.errors import KubeError
from kubedr_server.kube.resources import CRDS, NAMESPACES
from kubedr_server.kube.transport import ClientSettings
from kubedr_server.local.api.server import LocalAPI
from kubedr_server.local.executor.api_client import ExecutorClient
from kubedr_server.local.executor.executor import Executor
from kubedr_server.local.executor.logs import PodLogs
from kubedr_server.local.executor.objects import has_condition, utc_now
from kubedr_server.local.executor.process import ProcessId
from kubedr_server.local.executor.settings import ExecutorSettings
from kubedr_server.ops.tls import CertificateError
from kubedr_server.settings import SelfSigned, Settings

LOOPBACK = "127.0.0.1"
IMAGE = f"kubedr.local/backup:{version('kubedr-server')}"
"""The image of the pods in local mode. It exists nowhere: this program stands for it."""

_FIELD_MANAGER = "kubedr-local"
_ESTABLISHED_SECONDS = 30.0
_UNLIMITED = ClientSettings(qps=0)


class LocalModeError(Exception):
    """Local mode cannot start; the message says what to change."""


FAILURES = (OSError, LocalModeError, KubeError, CertificateError, server.ServerFailedError)
"""What local mode can end with, and what is told in one sentence."""


@dataclass(frozen=True)
class Options:
    """What `kubedr local start` is told."""

    state: StateDirectory
    port: int = 0
    """The API's port; 0: the one of the last start, or any free one."""

    namespace: str = "kubedr-system"
    serve: bool = True
    kubeconfig_out: Path | None = None
    tools_dir: Path | None = None


async def run(options: Options, stop: asyncio.Event, ready: Callable[[Running], None]) -> None:
    """Run local mode until `stop` is set; `ready` is called once everything works.

    Raises LocalModeError, and what the parts raise when they fail.
    """
    state = options.state
    process = ProcessId.of(os.getpid())
    if process is None:
        raise LocalModeError("/proc is not readable: local mode needs Linux")
    port = options.port or _last_port(state)
    # Whoever finds this file may rely on everything behind it.
    state.kubeconfig.unlink(missing_ok=True)
    logs = PodLogs(state.logs, utc_now)
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(_api(state, port, options.port != 0, logs))
        (state.api / "port").write_text(str(urlsplit(api.url).port), "ascii")
        running = Running(process, api.url, image=IMAGE)
        state.tell(running)
        client = await stack.enter_async_context(
            await ExecutorClient.from_kubeconfig(api.kubeconfig, settings=_UNLIMITED)
        )
        await _install(client, options.namespace)
        executor = Executor(client, executor_settings(state.path, IMAGE, options.tools_dir), logs)
        await stack.enter_async_context(executor)
        vital = [await stack.enter_async_context(_beside(executor.wait()))]
        if options.serve:
            serving, metrics_url = await _start_server(stack, options, api.kubeconfig, stop)
            vital.append(serving)
            running = replace(running, metrics_url=metrics_url)
        running = replace(running, ready=True)
        _publish_kubeconfig(api.kubeconfig, state.kubeconfig, options.kubeconfig_out)
        state.tell(running)
        ready(running)
        await _first(stop, vital)


def executor_settings(state_dir: Path, image: str, tools_dir: Path | None) -> ExecutorSettings:
    """Return the executor's settings: programs are found where this process finds them."""
    path = os.environ.get("PATH") or os.defpath
    return ExecutorSettings(state_dir.absolute(), image, tools_dir and tools_dir.absolute(), path)


async def run_executor(
    kubeconfig: Path, settings: ExecutorSettings, stop: asyncio.Event, ready: Callable[[], None]
) -> None:
    """Run nothing but an executor, on any API server, until `stop` is set."""
    logs = PodLogs(settings.logs_dir, utc_now)
    async with (
        await ExecutorClient.from_kubeconfig(kubeconfig, settings=_UNLIMITED) as client,
        Executor(client, settings, logs) as executor,
        _beside(executor.wait()) as working,
    ):
        ready()
        await _first(stop, [working])


@contextlib.asynccontextmanager
async def _api(state: StateDirectory, port: int, chosen: bool, logs: PodLogs) -> AsyncIterator[LocalAPI]:
    """Start the embedded API. A port that was not asked for is given up if another program has it."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            api = await stack.enter_async_context(LocalAPI(state.api, port=port, logs=logs))
        except OSError as error:
            if chosen or port == 0:
                raise LocalModeError(
                    f"the API cannot listen on {LOOPBACK}:{port}: {error.strerror}; give another --port"
                ) from error
            api = await stack.enter_async_context(LocalAPI(state.api, port=0, logs=logs))
        yield api


def _last_port(state: StateDirectory) -> int:
    """Return the port of the last start, so that a kubeconfig stays valid; 0 if there was none."""
    path = state.api / "port"
    try:
        return int(path.read_text("ascii"))
    except (FileNotFoundError, ValueError):
        return 0


async def _install(client: Client, namespace: str) -> None:
    """Make the custom resources and the server's namespace."""
    for definition in crd.definitions():
        await client.apply(CRDS, definition, field_manager=_FIELD_MANAGER)
    wanted = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    await client.apply(NAMESPACES, wanted, field_manager=_FIELD_MANAGER)
    async with asyncio.timeout(_ESTABLISHED_SECONDS):
        for definition in crd.definitions():
            name = definition["metadata"]["name"]
            while True:
                if has_condition(await client.get(CRDS, None, name), "Established"):
                    break
                await asyncio.sleep(0.05)


async def _start_server(
    stack: contextlib.AsyncExitStack, options: Options, kubeconfig: Path, stop: asyncio.Event
) -> tuple["asyncio.Task[None]", str]:
    """Start KubeDR's server; return its task, and where its metrics are, once its webhooks can be called."""
    settings = Settings(
        namespace=options.namespace,
        kubeconfig=kubeconfig,
        bind=LOOPBACK,
        port=0,
        metrics_port=0,
        self_signed=SelfSigned(register_url=f"https://{LOOPBACK}"),
        runner_image=IMAGE,
        leader_elect=False,
        drain_seconds=0.0,
    )
    where: list[server.Running] = []
    told = asyncio.Event()

    def started(running: server.Running) -> None:
        where.append(running)
        told.set()

    serving = await stack.enter_async_context(_beside(server.run(settings, started=started)))
    await _any(serving, told, stop)
    if serving.done():
        await serving
    return serving, f"http://{LOOPBACK}:{where[0].metrics_port}/metrics" if where else ""


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator["asyncio.Task[None]"]:
    """Run something beside the block, and end it with the block."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _first(stop: asyncio.Event, vital: list["asyncio.Task[None]"]) -> None:
    """Wait until we are to stop, or a part has ended that never should: its error is raised."""
    await _any(*vital, stop)
    if not stop.is_set():
        for task in vital:
            if task.done():
                await task
                raise LocalModeError("a part of local mode ended by itself; see its log")


async def _any(*what: "asyncio.Task[None] | asyncio.Event") -> None:
    """Wait until one of the tasks is done, or one of the events set."""
    waiting = [asyncio.create_task(each.wait()) for each in what if isinstance(each, asyncio.Event)]
    tasks = [each for each in what if isinstance(each, asyncio.Task)]
    try:
        await asyncio.wait([*waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _publish_kubeconfig(source: Path, *targets: Path | None) -> None:
    for target in targets:
        if target is not None:
            temporary = target.with_name(target.name + ".new")
            temporary.touch(0o600)
            shutil.copyfile(source, temporary)
            temporary.replace(target)
