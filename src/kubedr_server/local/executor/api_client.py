"""The two requests that only a scheduler and a kubelet make: binding a pod, and ending its deletion."""

from kubedr_server.kube.client import Client
from kubedr_server.kube.errors import BadRequest, NotFound
from kubedr_server.kube.resources import PODS
from kubedr_server.local.executor.objects import Object, name_of, namespace_of, uid_of


class ExecutorClient(Client):
    """A client that can also do what no controller does."""

    async def bind(self, pod: Object, node: str) -> None:
        """Give a pod to a node. Raises NotFound, and Conflict if it has one already."""
        name, namespace = name_of(pod), namespace_of(pod)
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": uid_of(pod)},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            await self._write("POST", PODS.path(namespace, name, "binding"), binding)
        except (NotFound, BadRequest):
            # An API without this subresource: there, the field is written like any other.
            await self.patch(PODS, namespace, name, {"spec": {"nodeName": node}})

    async def finish_deletion(self, pod: Object) -> None:
        """Say that nothing of a pod runs any more: it goes, as soon as its finalizers are gone.

        Raises NotFound, and Conflict if another pod has the name now.
        """
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": uid_of(pod)},
        }
        await self._write("DELETE", PODS.path(namespace_of(pod), name_of(pod)), options)
