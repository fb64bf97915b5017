"""Tells on an object that it cannot be reconciled, where its own reconciler could not get that far."""

import logging
from collections.abc import Callable
from datetime import datetime

from kubedr_server.api.base import StatusBase
from kubedr_server.api.conditions import ConditionType, Reason
from kubedr_server.controllers import conditions
from kubedr_server.controllers.cluster import Cluster
from kubedr_server.controllers.settings import FIELD_MANAGER
from kubedr_server.kube import errors
from kubedr_server.kube.cache import Key
from kubedr_server.kube.resources import Resource

logger = logging.getLogger(__name__)


class Refusals:
    """Writes the condition Ready=False for what needs a person."""

    def __init__(self, cluster: Cluster, clock: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._clock = clock

    async def tell(self, resource: Resource, key: Key, error: Exception) -> None:
        """Write why an object is not reconciled. It never fails: the log has the reason as well."""
        reason = Reason.REFUSED if isinstance(error, errors.KubeError) else Reason.INVALID
        try:
            await self._write(resource, key, reason, str(error))
        except (errors.KubeError, ValueError) as second:
            logger.warning("the status of %s %s is not written: %s", resource.kind, key, second)

    async def _write(self, resource: Resource, key: Key, reason: Reason, message: str) -> None:
        obj = await self._cluster.fresh(resource, key)
        if obj is None:
            return
        generation = obj["metadata"].get("generation", 0)
        # Only what all kinds have: the rest may be what cannot be read.
        known = StatusBase.model_validate(
            {"conditions": (obj.get("status") or {}).get("conditions") or []}
        ).conditions
        ready = conditions.condition(
            ConditionType.READY, "False", reason, message, generation=generation, now=self._clock()
        )
        merged = conditions.merge(known, [ready])
        if merged == known:
            return
        body = {
            "metadata": {"resourceVersion": obj["metadata"]["resourceVersion"]},
            "status": {
                "conditions": [condition.to_wire() for condition in merged],
                "observedGeneration": generation,
            },
        }
        answer = await self._cluster.client.patch(
            resource, key.namespace, key.name, body, subresource="status", field_manager=FIELD_MANAGER
        )
        self._cluster.wrote(resource, answer)
