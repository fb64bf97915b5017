"""What a decision about a location depends on."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kubedr_server.api.backup_location import (
    CA_BUNDLE_KEY,
    BackupLocation,
    needed_keys,
)
from kubedr_server.controllers.run import Run
from kubedr_server.controllers.secrets import SecretReader, SecretState

_MAINTENANCE: Final = frozenset(
    {"healthSchedule", "checkSchedule", "checkParts", "pruneSchedule", "suspendMaintenance"}
)
"""Fields of the spec that opening the repository does not depend on."""


@dataclass(frozen=True)
class Comparison:
    """What came of comparing the list that a look at the repository left with the records."""

    job_uid: str
    compared: bool
    """False if the list could not be read: the next look brings another."""

    remark: str = ""
    """What a person should know of it; empty if there is nothing."""


@dataclass(frozen=True)
class LocationState:
    """All that a decision about a location depends on. `luck` is random, from 0 to 1."""

    location: BackupLocation
    secrets: tuple[SecretState, ...]
    runs: tuple[Run, ...]
    """Its initialisations."""

    luck: float = 0.0
    maintenance: tuple[Run, ...] = ()
    """Its looks, checks and prunings."""

    busy: tuple[str, ...] = ()
    """All other Jobs of ours that work with the same repository and have not ended."""

    comparison: Comparison | None = None


def attempt_key(location: BackupLocation, secrets: Sequence[SecretState]) -> str:
    """Return what names the inputs of an attempt. Secrets count by their version, never by their content."""
    spec = {key: value for key, value in location.spec.to_wire().items() if key not in _MAINTENANCE}
    versions = [[secret.name, secret.version] for secret in secrets]
    return hashlib.sha256(json.dumps([spec, versions], sort_keys=True).encode()).hexdigest()[:16]


def next_attempt(location: BackupLocation, secrets: Sequence[SecretState]) -> str:
    """Return what tells the attempt that is due, or under way, from all others."""
    key = attempt_key(location, secrets)
    return f"{key}-{failures(location, key)}"


def failures(location: BackupLocation, key: str) -> int:
    """Return how many attempts with these inputs have failed."""
    same = location.status.attempt_key == key
    return (location.status.consecutive_failures or 0) if same else 0


async def location_secrets(secrets: SecretReader, location: BackupLocation) -> tuple[SecretState, ...]:
    """Return the state of the Secrets that opening a location's repository takes."""
    namespace, spec = location.metadata.namespace, location.spec
    needed = needed_keys(spec)
    found = [await secrets.look(namespace, spec.credentials, needed)]
    if spec.ca_secret is not None:
        found.append(await secrets.look(namespace, spec.ca_secret, (CA_BUNDLE_KEY,)))
    return tuple(found)
