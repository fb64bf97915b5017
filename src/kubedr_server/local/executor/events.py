"""How the executor's parts tell what they did: in Kubernetes' words, as Events on the object."""

from collections.abc import Awaitable, Callable
from typing import Literal

from kubedr_server.local.executor.objects import Object

EventType = Literal["Normal", "Warning"]

Record = Callable[[Object, EventType, str, str], Awaitable[None]]
"""Records an Event: on which object, its type, reason and message. It never raises."""
