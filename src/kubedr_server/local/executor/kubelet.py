"""Runs the pods of this node: one `Pod` for each that has to run, and the end of their deletion."""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from kubedr_server.kube.cache import Key
from kubedr_server.kube.errors import Conflict, NotFound
from kubedr_server.kube.resources import PODS
from kubedr_server.local.executor import process, volumes
from kubedr_server.local.executor.job_pods import is_finished
from kubedr_server.local.executor.objects import Object, is_deleted, uid_of
from kubedr_server.local.executor.pods import Ending, Pod, Runtime

logger = logging.getLogger(__name__)

_DEFAULT_GRACE = 30.0
_FORCED_GRACE = 1.0
_RETRY_SECONDS = 5.0
_STOPPED = ("Terminated", "Pod was terminated because local mode was stopped.")


class Kubelet:
    """Reconciles pods that are bound to this node."""

    def __init__(self, runtime: Runtime, requeue: Callable[[Key, float], None]) -> None:
        self._runtime = runtime
        self._requeue = requeue
        self._pods: dict[Key, tuple[Pod, asyncio.Task[None]]] = {}
        self._stopping = False

    async def reconcile(self, key: Key) -> timedelta | None:
        """Start, end or let go of one pod."""
        try:
            pod = await self._runtime.client.get(PODS, key.namespace, key.name)
        except NotFound:
            pod = None
        known = self._pods.get(key)
        if known is not None and (pod is None or known[0].uid != uid_of(pod)):
            # Deleted by force. Its successor must not start while it runs.
            known[0].end(Ending(_FORCED_GRACE))
            await asyncio.wait({known[1]})
            return timedelta()
        if pod is None:
            await asyncio.to_thread(self._runtime.logs.forget, key.namespace, key.name)
            return None
        if pod["spec"].get("nodeName") != self._runtime.settings.node_name:
            return None
        if is_deleted(pod):
            await self._delete(pod, known[0] if known else None)
        elif known is None and not is_finished(pod) and not self._stopping:
            self._start(key, pod)
        return None

    def _start(self, key: Key, obj: Object) -> None:
        pod = Pod(obj, self._runtime)
        task = asyncio.create_task(self._run(key, pod), name=f"pod {key}")
        self._pods[key] = (pod, task)

    async def _run(self, key: Key, pod: Pod) -> None:
        delay = 0.0
        try:
            await pod.run()
        except Exception:
            logger.exception("pod %s cannot be run; trying again", key)
            delay = _RETRY_SECONDS
        finally:
            del self._pods[key]
            # Its last status was seen while it was still known here: what that asks for is due now.
            self._requeue(key, delay)

    async def _delete(self, obj: Object, pod: Pod | None) -> None:
        """End a pod whose deletion was asked for. Only when nothing of it runs may the object go."""
        if pod is not None:
            grace = obj["metadata"].get("deletionGracePeriodSeconds", _DEFAULT_GRACE)
            pod.end(Ending(max(float(grace), _FORCED_GRACE)))
            return
        if not is_finished(obj):
            # It never started here, or was started by an earlier incarnation: its end is written first.
            pod = Pod(obj, self._runtime)
            pod.end(Ending(_FORCED_GRACE))
            await pod.run()
        if obj["metadata"].get("deletionGracePeriodSeconds") != 0:
            try:
                await self._runtime.client.finish_deletion(obj)
            except (NotFound, Conflict):
                return

    async def stop(self) -> None:
        """End all pods and wait for their last status."""
        self._stopping = True
        tasks = {task for _, task in self._pods.values()}
        for pod, _ in self._pods.values():
            pod.end(Ending(self._runtime.settings.shutdown_grace, *_STOPPED, spare_waiting=True))
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=self._runtime.settings.shutdown_grace * 2)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def clean_up(self, existing: set[str]) -> None:
        """End and remove what is left of pods that were deleted while nobody looked; `existing` are uids."""
        for directory in await asyncio.to_thread(_children, self._runtime.settings.pods_dir):
            if directory.name in existing:
                continue
            found = await asyncio.to_thread(process.read_record, directory / process.RECORD)
            if found is not None:
                await process.end_recorded(found, self._runtime.settings.leftover_grace)
            await asyncio.to_thread(volumes.remove, directory)
        await asyncio.to_thread(self._runtime.logs.keep_only, existing)


def _children(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.is_dir() else []
