"""How the executor's parts tell what they did: in Kubernetes' words, as Events on the object."""

from collections.abc import Callable

from kubedr_server.kube.events import EventType
from kubedr_server.local.executor.objects import Object

__all__ = ["EventType", "Record"]

Record = Callable[[Object, EventType, str, str], None]
"""Records an Event: on which object, its type, reason and message. It neither waits nor raises."""
