"""The scheduler: gives each pod to the one node, or says why it cannot run there."""

from datetime import timedelta

from kubedr_server.kube.cache import Key
from kubedr_server.kube.errors import NotFound
from kubedr_server.kube.resources import PODS
from kubedr_server.local.executor import affinity, pod_status
from kubedr_server.local.executor.api_client import ExecutorClient
from kubedr_server.local.executor.events import Record
from kubedr_server.local.executor.node import NODES
from kubedr_server.local.executor.objects import (
    Clock,
    condition_of,
    is_deleted,
    name_of,
    namespace_of,
    uid_of,
)

_AGAIN = timedelta(seconds=5)
"""A node's labels may change; a pod that fits nowhere is looked at again."""


class Scheduler:
    """Reconciles pods that have no node yet."""

    def __init__(self, client: ExecutorClient, record: Record, clock: Clock, node_name: str) -> None:
        self._client = client
        self._record = record
        self._clock = clock
        self._node_name = node_name

    async def reconcile(self, key: Key) -> timedelta | None:
        """Bind one pod."""
        try:
            pod = await self._client.get(PODS, key.namespace, key.name)
        except NotFound:
            return None
        if pod["spec"].get("nodeName") or is_deleted(pod) or pod["spec"].get("schedulingGates"):
            return None
        node = await self._client.get(NODES, None, self._node_name)
        why = affinity.refusal(pod, node)
        now = self._clock()
        if why is None:
            await self._client.bind(pod, self._node_name)
            message = f"Successfully assigned {key} to {self._node_name}"
            self._record(pod, "Normal", "Scheduled", message)
            return None
        message = f"0/1 nodes are available: 1 {why}."
        old = condition_of(pod, "PodScheduled")
        if old is None or old.get("message") != message:
            body = {"metadata": {"uid": uid_of(pod)}, "status": pod_status.unschedulable(pod, message, now)}
            await self._client.patch(PODS, namespace_of(pod), name_of(pod), body, subresource="status")
            self._record(pod, "Warning", "FailedScheduling", message)
        return _AGAIN
