"""What a reconciler is: gather the state of one key, decide purely, carry the decision out."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from kubedr_server.api.base import Resource as Model
from kubedr_server.controllers.cluster import Cluster
from kubedr_server.controllers.decision import Decision
from kubedr_server.controllers.outcome import Done, Outcome, RequeueAfter
from kubedr_server.controllers.settings import ControllerSettings
from kubedr_server.controllers.writer import Writer
from kubedr_server.kube.cache import Key
from kubedr_server.kube.resources import Resource

M = TypeVar("M", bound=Model)


class Reconciler(Protocol):
    """Makes one kind of object so. `reconcile` may raise a KubeError: the runtime knows what follows."""

    resource: Resource

    async def reconcile(self, key: Key) -> Outcome:
        """Look at one object, whatever it was that called attention to it."""


@dataclass(frozen=True)
class Context:
    """What every reconciler works with."""

    cluster: Cluster
    writer: Writer
    settings: ControllerSettings
    clock: Callable[[], datetime]
    rng: random.Random


@dataclass(frozen=True)
class Read(Generic[M]):
    """An object as it was read, and the same parsed."""

    raw: Mapping[str, Any]
    model: M


async def read(cluster: Cluster, resource: Resource, model: type[M], key: Key) -> Read[M] | None:
    """Return the object of a key, not older than our own writes, or None if there is none."""
    raw = await cluster.fresh(resource, key)
    return None if raw is None else Read(raw, model.model_validate(raw))


def outcome(decision: Decision) -> Outcome:
    """Return when a decision that was carried out has to be made again."""
    return Done() if decision.wake_after is None else RequeueAfter(decision.wake_after)
