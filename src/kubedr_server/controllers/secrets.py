"""Which keys a Secret has. Values are looked at only for being there, and are not kept.

Secrets are watched as metadata only, so that no cache of this process holds one. A Secret is read
once for each of its versions.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from kubedr_server.api.conditions import Reason
from kubedr_server.controllers.cluster import Cluster
from kubedr_server.kube.cache import Key
from kubedr_server.kube.resources import SECRETS


@dataclass(frozen=True)
class SecretState:
    """What is known of a Secret that something needs. `version` is empty if there is none."""

    name: str
    needed: tuple[str, ...]
    version: str = ""
    keys: frozenset[str] = frozenset()
    """The keys that have a value."""


@dataclass(frozen=True)
class Lack:
    """What is wrong with a Secret, for a condition."""

    reason: Reason
    message: str


def lack(secrets: Iterable[SecretState], namespace: str) -> Lack | None:
    """Return the first thing that is missing, or None."""
    for secret in secrets:
        if not secret.version:
            return Lack(
                Reason.SECRET_NOT_FOUND,
                f"Secret {secret.name} does not exist in namespace {namespace}; create it with the "
                f"{_keys(secret.needed)}",
            )
        missing = [key for key in secret.needed if key not in secret.keys]
        if missing:
            return Lack(
                Reason.SECRET_KEY_MISSING,
                f"Secret {secret.name} in namespace {namespace} has no value for the {_keys(missing)}",
            )
    return None


class SecretReader:
    """Looks at Secrets, once for each version."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known: dict[Key, tuple[str, frozenset[str]]] = {}

    async def look(self, namespace: str, name: str, needed: tuple[str, ...]) -> SecretState:
        """Return what is known of a Secret that has to have the `needed` keys."""
        key = Key(namespace, name)
        entry = self._cluster.informers[SECRETS].cache.entry(key)
        if entry is None:
            # The informer tells when it appears.
            self._known.pop(key, None)
            return SecretState(name, needed)
        known = self._known.get(key)
        if known is None or known[0] != entry.resource_version:
            secret = await self._cluster.live(SECRETS, key)
            if secret is None:
                self._known.pop(key, None)
                return SecretState(name, needed)
            keys = frozenset(key for key, value in (secret.get("data") or {}).items() if value)
            known = (secret["metadata"]["resourceVersion"], keys)
            self._known[key] = known
        return SecretState(name, needed, known[0], known[1])


def _keys(names: Iterable[str]) -> str:
    names = list(names)
    return ("key " if len(names) == 1 else "keys ") + ", ".join(names)
