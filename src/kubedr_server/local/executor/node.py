"""The one node that local mode has: this machine, told of as a kubelet tells of its own."""

import os
import platform
from datetime import timedelta
from importlib.metadata import version
from typing import Any

from kubedr_server.kube.cache import Key
from kubedr_server.kube.client import Client
from kubedr_server.kube.errors import AlreadyExists, NotFound
from kubedr_server.kube.resources import Resource
from kubedr_server.local.executor.objects import Clock, Object, condition_of, stamp
from kubedr_server.local.executor.pod_status import HOST_IP
from kubedr_server.local.executor.settings import ExecutorSettings

NODES = Resource("", "v1", "nodes", "Node", namespaced=False)

HEARTBEAT = timedelta(minutes=5)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_PODS = "110"


class NodeController:
    """Registers the node and keeps its status."""

    def __init__(self, client: Client, settings: ExecutorSettings, clock: Clock) -> None:
        self._client = client
        self._settings = settings
        self._clock = clock

    async def reconcile(self, _: Key) -> timedelta | None:
        """Make the node, or what it lacks; then come back for the next heartbeat."""
        labels = self.labels()
        name = self._settings.node_name
        try:
            node = await self._client.get(NODES, None, name)
        except NotFound:
            new = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
            try:
                node = await self._client.create(NODES, new)
            except AlreadyExists:
                node = await self._client.get(NODES, None, name)
        if missing := {k: v for k, v in labels.items() if (node["metadata"].get("labels") or {}).get(k) != v}:
            await self._client.patch(NODES, None, name, {"metadata": {"labels": missing}})
        taints = (node.get("spec") or {}).get("taints") or []
        kept = [taint for taint in taints if taint["key"] != _NOT_READY]
        if kept != taints:
            await self._client.patch(NODES, None, name, {"spec": {"taints": kept}})
        status = self._status(node)
        await self._client.patch(NODES, None, name, {"status": status}, subresource="status")
        return HEARTBEAT

    def labels(self) -> dict[str, str]:
        """Return the node's labels: it is a control-plane node, since backups are bound to those."""
        return {
            "kubernetes.io/hostname": self._settings.node_name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": _architecture(),
            "node-role.kubernetes.io/control-plane": "",
            **self._settings.node_labels,
        }

    def _status(self, node: Object) -> dict[str, Any]:
        now = stamp(self._clock())
        old = condition_of(node, "Ready")
        since = old["lastTransitionTime"] if old and old["status"] == "True" else now
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024
        capacity = {"cpu": str(os.cpu_count() or 1), "memory": f"{memory}Ki", "pods": _PODS}
        return {
            "addresses": [
                {"type": "InternalIP", "address": HOST_IP},
                {"type": "Hostname", "address": self._settings.node_name},
            ],
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "KubeletReady",
                    "message": "local mode runs KubeDR's pods as processes",
                    "lastHeartbeatTime": now,
                    "lastTransitionTime": since,
                }
            ],
            "nodeInfo": {
                "architecture": _architecture(),
                "bootID": "",
                "containerRuntimeVersion": "process://1",
                "kernelVersion": platform.release(),
                "kubeProxyVersion": "",
                "kubeletVersion": f"kubedr-local {version('kubedr-server')}",
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": platform.system(),
                "systemUUID": "",
            },
        }


_NOT_READY = "node.kubernetes.io/not-ready"
"""The API server puts this taint on each new node, until a node controller, such as this one, removes it."""


def _architecture() -> str:
    return _ARCHITECTURES.get(platform.machine(), platform.machine())
