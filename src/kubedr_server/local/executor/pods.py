"""One pod's life on this machine, from the first attempt to set it up to its last status."""

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from kubedr_server.kube.errors import Conflict, NotFound, Transient
from kubedr_server.kube.resources import PODS
from kubedr_server.local.executor import outcome, pod_status, process, volumes
from kubedr_server.local.executor.api_client import ExecutorClient
from kubedr_server.local.executor.environment import ConfigError
from kubedr_server.local.executor.events import EventType, Record
from kubedr_server.local.executor.logs import PodLogs
from kubedr_server.local.executor.objects import Clock, Object, moment, name_of, namespace_of, uid_of
from kubedr_server.local.executor.pod_setup import ImageError, Plan, PodSetup
from kubedr_server.local.executor.pod_status import KILLED, Termination
from kubedr_server.local.executor.settings import ExecutorSettings
from kubedr_server.local.executor.volumes import MountError

logger = logging.getLogger(__name__)

_CANNOT_START = 128
_STATUS_RETRY_SECONDS = 1.0
_LOG_LINES, _LOG_BYTES = 80, 2048

Build = Callable[[Object, datetime], Object]
"""Makes a status of the pod as it was last written, and the time."""


@dataclass(frozen=True)
class Ending:
    """Why and how fast a pod is to end. Reason and message become the pod's own; empty for a deletion."""

    grace: float
    reason: str = ""
    message: str = ""
    spare_waiting: bool = False
    """A pod that has not started stays as it is, to be started another time."""


@dataclass(frozen=True)
class Runtime:
    """What all pods share."""

    client: ExecutorClient
    setup: PodSetup
    settings: ExecutorSettings
    logs: PodLogs
    record: Record
    clock: Clock


class Pod:
    """Runs one pod once. `run` it as a task; `end` may be called at any time."""

    def __init__(self, pod: Object, runtime: Runtime) -> None:
        self.uid = uid_of(pod)
        self._pod = pod
        self._runtime = runtime
        self._ending: Ending | None = None
        self._told = asyncio.Event()
        self._directory = runtime.settings.pods_dir / self.uid
        self._container: Object = pod["spec"]["containers"][0]

    def end(self, ending: Ending) -> None:
        """Have the pod end. The first reason counts; later calls can only make it faster."""
        if self._ending is None or ending.grace < self._ending.grace:
            first = self._ending or ending
            self._ending = replace(first, grace=ending.grace)
            self._told.set()

    async def run(self) -> None:
        """Set the pod up, run its program, write its last status and remove what was its own."""
        end = await asyncio.to_thread(outcome.recall, self._outcome_path)
        if end is None:
            end = await self._left_behind()
        if end is None:
            plan = await self._wait_for_plan()
            if plan is not None:
                end = await self._run(plan)
        if end is not None:
            await self._write(lambda pod, now: pod_status.ended(pod, end, now))
        elif self._ending is not None and not self._ending.spare_waiting:
            ending = self._ending
            await self._write(
                lambda pod, now: pod_status.never_started(pod, ending.reason, ending.message, now)
            )
        await asyncio.to_thread(self._remove)

    async def _wait_for_plan(self) -> Plan | None:
        """Try to set the pod up until it can be, as a kubelet does. None if it is ended before."""
        delay = self._runtime.settings.first_retry
        before = ""
        while not self._told.is_set():
            try:
                return await self._runtime.setup.prepare(self._pod, self._directory)
            except ImageError as error:
                self._event("Warning", "Failed", str(error))
                await self._wait("ErrImagePull", str(error))
                await self._told.wait()
                break
            except MountError as error:
                self._event("Warning", "FailedMount", str(error))
                reason, message, shown = "ContainerCreating", str(error), ""
            except ConfigError as error:
                self._event("Warning", "Failed", f"Error: {error}")
                reason, message = "CreateContainerConfigError", str(error)
                shown = message
            except Transient as error:
                reason, message, shown = "ContainerCreating", str(error), ""
            except OSError as error:
                message = f"cannot write {error.filename}: {error.strerror}"
                self._event("Warning", "FailedMount", f"MountVolume.SetUp failed : {message}")
                reason, shown = "ContainerCreating", ""
            if message != before:
                await self._wait(reason, shown)
            before = message
            try:
                left = self._deadline_left()
                async with asyncio.timeout(delay if left is None else min(delay, left)):
                    await self._told.wait()
            except TimeoutError:
                delay = min(delay * 2, self._runtime.settings.longest_retry)
                self._check_deadline()
        return None

    async def _wait(self, reason: str, message: str) -> None:
        await self._write(lambda pod, now: pod_status.waiting(pod, reason, message, now))

    async def _run(self, plan: Plan) -> Termination:
        runtime, name = self._runtime, self._container["name"]
        self._event(
            "Normal", "Pulled", f'Container image "{self._container["image"]}" already present on machine'
        )
        log = await asyncio.to_thread(runtime.logs.create, self._pod, name)
        began = runtime.clock()
        try:
            search_path = plan.environment["PATH"]
            if await asyncio.to_thread(shutil.which, plan.arguments[0], path=search_path) is None:
                message = f'exec: "{plan.arguments[0]}": executable file not found in $PATH'
                self._event("Warning", "Failed", f"Error: {message}")
                end = Termination(_CANNOT_START, "StartError", message, began, runtime.clock())
            else:
                self._event("Normal", "Created", f"Created container: {name}")
                program = await process.start(
                    plan.arguments, plan.environment, plan.directory, self._record_path, log
                )
                self._event("Normal", "Started", f"Started container {name}")
                end = await self._watch(plan, program, began)
        finally:
            log.close()
            runtime.logs.end(self._pod, name)
        # From here on a restart tells this outcome, and not that the process was lost.
        try:
            await asyncio.to_thread(outcome.remember, self._outcome_path, end)
        except OSError as error:
            logger.warning("pod %s: its outcome cannot be kept for a restart: %s", name_of(self._pod), error)
        return end

    async def _watch(self, plan: Plan, program: process.Process, began: datetime) -> Termination:
        """Wait for the program's end, and bring it about where the pod is to end."""
        waiting = asyncio.create_task(program.wait())
        # The status is written while the program runs: it may not wait for an API that does not answer.
        over = asyncio.Event()
        telling = asyncio.create_task(self._write(lambda pod, now: pod_status.running(pod, began, now), over))
        try:
            while not waiting.done():
                told = asyncio.create_task(self._told.wait())
                await asyncio.wait(
                    {waiting, told}, timeout=self._deadline_left(), return_when=asyncio.FIRST_COMPLETED
                )
                await _cancelled(told)
                self._check_deadline()
                if self._ending is not None and not waiting.done():
                    self._told.clear()
                    self._event("Normal", "Killing", f"Stopping container {self._container['name']}")
                    await self._stop(program, waiting)
            code = await waiting
        except BaseException:
            # Cancelled: nothing may go on running that nobody watches.
            await _cancelled(telling)
            await asyncio.shield(program.end(0))
            await _cancelled(waiting)
            raise
        over.set()
        # Not cancelled: a request that is under way could arrive after the last status.
        await asyncio.gather(telling, return_exceptions=True)
        message = await asyncio.to_thread(self._message, plan.termination_message, code)
        ending = self._ending or Ending(0)
        reason = "Completed" if code == 0 else "Error"
        now = self._runtime.clock()
        return Termination(code, reason, message, began, now, ending.reason, ending.message)

    async def _stop(self, program: process.Process, waiting: asyncio.Task[int]) -> None:
        """End the program; being told again meanwhile, with a shorter grace, makes it faster."""
        while self._ending is not None and not waiting.done():
            stopping = asyncio.create_task(program.end(self._ending.grace))
            told = asyncio.create_task(self._told.wait())
            await asyncio.wait({stopping, told}, return_when=asyncio.FIRST_COMPLETED)
            self._told.clear()
            await _cancelled(told)
            if stopping.done():
                return
            await _cancelled(stopping)

    async def _left_behind(self) -> Termination | None:
        """End what an earlier incarnation of local mode started. A pod is never run twice."""
        found = await asyncio.to_thread(process.read_record, self._record_path)
        if found is None and (self._pod.get("status") or {}).get("phase") != "Running":
            return None
        grace = self._runtime.settings.leftover_grace
        was_running = found is not None and await process.end_recorded(found, grace)
        what = "its process was still running and was ended" if was_running else "its process is gone"
        message = f"Local mode was not running for a while in which nobody watched this pod; {what}."
        self._event("Warning", "NodeLost", message)
        written = await asyncio.to_thread(outcome.termination_message, self._directory / "termination-log")
        now = self._runtime.clock()
        began = moment((self._pod.get("status") or {}).get("startTime")) or now
        return Termination(
            KILLED, "ContainerStatusUnknown", written or message, began, now, "NodeLost", message
        )

    def _deadline_left(self) -> float | None:
        """Return the seconds until the pod's own deadline."""
        seconds = self._pod["spec"].get("activeDeadlineSeconds")
        started = moment((self._pod.get("status") or {}).get("startTime"))
        if seconds is None or started is None or self._ending is not None:
            return None
        return max(0.0, (started + timedelta(seconds=seconds) - self._runtime.clock()).total_seconds())

    def _check_deadline(self) -> None:
        if self._deadline_left() == 0.0:
            message = "Pod was active on the node longer than the specified deadline"
            grace = self._pod["spec"].get("terminationGracePeriodSeconds", 30)
            self.end(Ending(grace, "DeadlineExceeded", message))

    async def _write(self, build: Build, over: asyncio.Event | None = None) -> None:
        """Write the pod's status, however long the API is away, or until it is `over`.

        A pod that is gone needs none.
        """
        over = over or asyncio.Event()
        name, namespace = name_of(self._pod), namespace_of(self._pod)
        status = build(self._pod, self._runtime.clock())
        # With the uid, a pod of the same name that came after is never taken for this one.
        body = {"metadata": {"uid": self.uid}, "status": status}
        while not over.is_set():
            try:
                patched = await self._runtime.client.patch(PODS, namespace, name, body, subresource="status")
            except (NotFound, Conflict):
                return
            except Transient:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), _STATUS_RETRY_SECONDS)
            else:
                self._pod = patched
                return

    def _message(self, path: Path, code: int) -> str:
        text = outcome.termination_message(path)
        if text or code == 0 or self._container.get("terminationMessagePolicy") != "FallbackToLogsOnError":
            return text
        return self._runtime.logs.tail(self._pod, self._container["name"], _LOG_LINES, _LOG_BYTES)

    @property
    def _record_path(self) -> Path:
        return self._directory / process.RECORD

    @property
    def _outcome_path(self) -> Path:
        return self._directory / "outcome.json"

    def _remove(self) -> None:
        volumes.remove(self._directory)

    def _event(self, event_type: EventType, reason: str, message: str) -> None:
        self._runtime.record(self._pod, event_type, reason, message)


async def _cancelled(task: "asyncio.Task[object]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
