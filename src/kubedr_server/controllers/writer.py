"""Carries out a decision, in the order that makes an interrupted one harmless (see `decision`)."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from kubedr_server.api.base import StatusBase
from kubedr_server.controllers.cluster import RECORD, UNFINISHED, Cluster, scoped
from kubedr_server.controllers.decision import (
    Announcement,
    Apply,
    Create,
    Decision,
    Delete,
    Merge,
    Object,
    Write,
)
from kubedr_server.controllers.settings import FIELD_MANAGER
from kubedr_server.kube import errors
from kubedr_server.kube.cache import Key
from kubedr_server.kube.events import EventRecorder
from kubedr_server.kube.resources import METADATA_BACKUP_RECORDS, METADATA_RESTORES, Resource

logger = logging.getLogger(__name__)


class Writer:
    """Writes what decisions say, through the one client that stops writing when leadership is lost."""

    def __init__(self, cluster: Cluster, recorder: EventRecorder) -> None:
        self._cluster = cluster
        self._recorder = recorder

    async def carry_out(
        self, decision: Decision, resource: Resource, obj: Mapping[str, Any]
    ) -> list[tuple[Object, Object]]:
        """Do all that `decision` says about `obj`; return what was applied with the answers to it.

        Raises a KubeError where a write fails; what comes after it is then not done.
        """
        applied: list[tuple[Object, Object]] = []
        for write in decision.before:
            answer = await self.write(write)
            if answer is not None and isinstance(write, Apply):
                applied.append((write.object, answer))
        if decision.status is not None:
            await self.write_status(resource, obj, decision.status)
        for event in decision.events:
            self.announce(obj, event)
        for write in decision.after:
            await self.write(write)
        return applied

    async def write_status(self, resource: Resource, obj: Mapping[str, Any], wanted: StatusBase) -> None:
        """Make the status so, if it is not. Raises Conflict if the object has changed since it was read."""
        current = obj.get("status") or {}
        # Through the model, so that two ways to write one moment are no difference.
        patch = merge_patch(type(wanted).model_validate(current).to_wire(), wanted.to_wire())
        if not patch:
            return
        metadata = obj["metadata"]
        body = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": patch}
        key = Key(metadata["namespace"], metadata["name"])
        with self._cluster.writing(resource, key) as answered:
            answered(await self._patch(Merge(resource, *key, body, "status")))

    def announce(self, obj: Mapping[str, Any], event: Announcement) -> None:
        """Record an Event of `obj`."""
        self._recorder.record(obj, event.type, event.reason, event.message, event.once)

    async def write(self, write: Write) -> dict[str, Any] | None:
        """Make one write, and return the object as it is now; None if it is gone."""
        client = self._cluster.client
        if isinstance(write, Delete):
            if self._is_read(write):
                # The webhook would refuse it. The restore's end calls attention to it again.
                logger.info(
                    "%s %s/%s is not deleted while a restore reads it",
                    write.resource.kind,
                    write.namespace,
                    write.name,
                )
                return None
            # On a Conflict another object has taken the name: the one that was meant is gone.
            with suppress(errors.NotFound, errors.Conflict):
                await client.delete(write.resource, write.namespace, write.name, uid=write.uid)
            return None
        if isinstance(write, Apply):
            metadata = write.object["metadata"]
            with self._cluster.writing(
                write.resource, Key(metadata["namespace"], metadata["name"])
            ) as answered:
                answer = await client.apply(write.resource, write.object, field_manager=FIELD_MANAGER)
                answered(answer)
            return answer
        if isinstance(write, Create):
            answer = await client.create(write.resource, write.object)
            if write.status is not None:
                metadata = answer["metadata"]
                body = {
                    "metadata": {"resourceVersion": metadata["resourceVersion"]},
                    "status": write.status,
                }
                answer = await self._patch(
                    Merge(write.resource, metadata["namespace"], metadata["name"], body, "status")
                )
        else:
            try:
                answer = await self._patch(write)
            except errors.NotFound:
                return None
        self._cluster.wrote(write.resource, answer)
        return answer

    def _is_read(self, write: Delete) -> bool:
        """Whether a record is to be deleted that a restore is still working with."""
        if write.resource is not METADATA_BACKUP_RECORDS:
            return False
        users = self._cluster.keys_by(METADATA_RESTORES, RECORD, scoped(write.namespace, write.name))
        return bool(users & self._cluster.keys_by(METADATA_RESTORES, UNFINISHED, write.namespace))

    async def _patch(self, write: Merge) -> dict[str, Any]:
        return await self._cluster.client.patch(
            write.resource,
            write.namespace,
            write.name,
            write.body,
            subresource=write.subresource,
            field_manager=FIELD_MANAGER,
        )


def merge_patch(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return what turns one status into the other, field by field; empty if they are equal.

    Good for statuses as they are here: values and lists, no maps in which a key could be left over.
    """
    patch: dict[str, Any] = {name: value for name, value in wanted.items() if current.get(name) != value}
    patch.update({name: None for name in current if name not in wanted})
    return patch
