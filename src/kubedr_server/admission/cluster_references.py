"""References, read from the API server."""

from typing import Any, Final

from kubedr_server.admission.facts import ReferencedKind
from kubedr_server.kube.client import Client
from kubedr_server.kube.errors import NotFound
from kubedr_server.kube.resources import (
    BACKUP_LOCATIONS,
    METADATA_BACKUP_POLICIES,
    METADATA_BACKUP_RECORDS,
    METADATA_RESTORES,
    PVCS,
    SECRETS,
    Resource,
)

_RESOURCES: Final[dict[ReferencedKind, Resource]] = {
    "BackupLocation": BACKUP_LOCATIONS,
    "MetadataBackupPolicy": METADATA_BACKUP_POLICIES,
    "MetadataBackupRecord": METADATA_BACKUP_RECORDS,
    "PersistentVolumeClaim": PVCS,
}
_ENDED: Final = ("Completed", "Failed")


class ClusterReferences:
    """Asks the API server at each review: admission must judge by what is, not by a cache that fills."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def secret_keys(self, namespace: str, name: str) -> frozenset[str] | None:
        """Return the keys of a Secret that have a value; None if there is no such Secret."""
        try:
            secret = await self._client.get(SECRETS, namespace, name)
        except NotFound:
            return None
        return frozenset(key for key, value in (secret.get("data") or {}).items() if value)

    async def exists(self, kind: ReferencedKind, namespace: str, name: str) -> bool:
        """Return whether an object exists."""
        try:
            await self._client.get(_RESOURCES[kind], namespace, name)
        except NotFound:
            return False
        return True

    async def policies_of_location(self, namespace: str, location: str) -> tuple[str, ...]:
        """Return the policies, those being deleted apart, whose destination is the location."""
        policies = await self._list(METADATA_BACKUP_POLICIES, namespace)
        return tuple(
            sorted(
                _name(policy)
                for policy in policies
                if _spec(policy).get("destination") == location
                and not policy["metadata"].get("deletionTimestamp")
            )
        )

    async def records_of_location(self, namespace: str, location: str) -> tuple[str, ...]:
        """Return the records in the location. Those being deleted count: their snapshots are still there."""
        records = await self._list(METADATA_BACKUP_RECORDS, namespace)
        policies: set[str] = set()
        if any(not _spec(record).get("backuploc") for record in records):
            found = await self._list(METADATA_BACKUP_POLICIES, namespace)
            policies = {_name(policy) for policy in found if _spec(policy).get("destination") == location}
        return tuple(
            sorted(
                _name(record)
                for record in records
                if _spec(record).get("backuploc") == location
                or (not _spec(record).get("backuploc") and _spec(record).get("policy") in policies)
            )
        )

    async def restores_of_record(self, namespace: str, record: str) -> tuple[str, ...]:
        """Return the restores of the record that have not ended."""
        restores = await self._list(METADATA_RESTORES, namespace)
        return tuple(
            sorted(
                _name(restore)
                for restore in restores
                if _spec(restore).get("mbrName") == record
                and (restore.get("status") or {}).get("restoreStatus") not in _ENDED
                and not restore["metadata"].get("deletionTimestamp")
            )
        )

    async def _list(self, resource: Resource, namespace: str) -> list[dict[str, Any]]:
        return (await self._client.list(resource, namespace)).items


def _name(obj: dict[str, Any]) -> str:
    return str(obj["metadata"]["name"])


def _spec(obj: dict[str, Any]) -> dict[str, Any]:
    return obj.get("spec") or {}
