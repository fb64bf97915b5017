"""Binds PersistentVolumeClaims to directories: `<state>/volumes/<namespace>/<name>-<start of its uid>`.

The directory stays when the claim is deleted: what was restored into it is nobody's to remove by
accident. A new claim of the same name gets a new, empty directory.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

from kubedr_server.kube.cache import Key
from kubedr_server.kube.client import Client
from kubedr_server.kube.errors import NotFound
from kubedr_server.kube.resources import PVCS
from kubedr_server.local.executor.events import Record
from kubedr_server.local.executor.objects import Object, is_deleted, name_of, namespace_of, uid_of

PATH_ANNOTATION = "local.kubedr.catalogicsoftware.com/path"
"""Tells where a claim's files are: `kubectl get pvc NAME -o yaml`."""

ClaimLookup = Callable[[str, str], Awaitable[Path]]
"""Returns the directory of a claim by namespace and name. Raises LookupError if it is not bound."""


class ClaimController:
    """Reconciles PersistentVolumeClaims of any storage class."""

    def __init__(self, client: Client, record: Record, volumes: Path) -> None:
        self._client = client
        self._record = record
        self._volumes = volumes

    async def reconcile(self, key: Key) -> timedelta | None:
        """Bind a claim that is not bound yet."""
        try:
            claim = await self._client.get(PVCS, key.namespace, key.name)
        except NotFound:
            return None
        if is_deleted(claim) or (claim.get("status") or {}).get("phase") == "Bound":
            return None
        directory = self.directory(claim)
        await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True, mode=0o700)
        changes = {
            "metadata": {"annotations": {PATH_ANNOTATION: str(directory)}},
            "spec": {"volumeName": claim["spec"].get("volumeName") or f"pvc-{uid_of(claim)}"},
        }
        await self._client.patch(PVCS, key.namespace, key.name, changes)
        status = {
            "phase": "Bound",
            "accessModes": claim["spec"].get("accessModes") or ["ReadWriteOnce"],
            "capacity": (claim["spec"].get("resources") or {}).get("requests") or {},
        }
        await self._client.patch(PVCS, key.namespace, key.name, {"status": status}, subresource="status")
        self._record(claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {directory}")
        return None

    async def lookup(self, namespace: str, name: str) -> Path:
        """Return a bound claim's directory."""
        try:
            claim = await self._client.get(PVCS, namespace, name)
        except NotFound:
            raise LookupError(f'persistentvolumeclaim "{name}" not found') from None
        if (claim.get("status") or {}).get("phase") != "Bound":
            raise LookupError(f'persistentvolumeclaim "{name}" is not bound')
        return self.directory(claim)

    def directory(self, claim: Object) -> Path:
        """Return where a claim's files are."""
        return self._volumes / namespace_of(claim) / f"{name_of(claim)}-{uid_of(claim)[:8]}"
