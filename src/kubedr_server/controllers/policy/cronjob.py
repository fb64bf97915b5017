"""Whether a CronJob is what the policy says."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicy
from kubedr_server.controllers.decision import Object
from kubedr_server.controllers.settings import SPEC_DIGEST_ANNOTATION

_KEYS: Final = {
    "containers": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "ownerReferences": "uid",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
"""Lists that server-side apply merges by a key. Entries that others put there are theirs and stay."""


def foreign_owner(live: Object, policy: MetadataBackupPolicy) -> str | None:
    """Return the kind and name of another owner that controls the CronJob, or None."""
    for owner in live["metadata"].get("ownerReferences") or ():
        if owner.get("controller") and owner.get("uid") != policy.metadata.uid:
            return f"{owner.get('kind')} {owner.get('name')} ({owner.get('uid')})"
    return None


def stamped(wanted: Object) -> Object:
    """Return the CronJob with the digest of all that is said of it, on an annotation.

    So what is no longer said is a difference, too: `difference` compares nothing that is not said.
    """
    metadata = wanted["metadata"]
    annotations = {**(metadata.get("annotations") or {}), SPEC_DIGEST_ANNOTATION: _digest(wanted)}
    return {**wanted, "metadata": {**metadata, "annotations": annotations}}


@dataclass(frozen=True)
class Settled:
    """What we applied last, and the generation that came of it.

    The API server writes some values in its own way (a quantity of `1000m` becomes `1`). So what
    differs from our words is applied once, and what came of it is then taken to be the same.
    """

    uid: str
    generation: int
    digest: str


def settled(applied: Object, answer: Object) -> Settled | None:
    """Return what to remember of an apply and its answer; None where generations are not counted."""
    metadata = answer["metadata"]
    generation = metadata.get("generation")
    return Settled(metadata["uid"], generation, _digest(applied)) if generation else None


def difference(live: Object, wanted: Object, known: Settled | None = None) -> str | None:
    """Return the path of the first field that is not as wanted, or None.

    Fields that we have no opinion on are not compared: the API server fills in defaults, and other
    programs may own them. What has no value and what is empty are the same to the API server.
    """
    found = _difference(live.get("metadata"), wanted["metadata"], "metadata")
    if found is not None or (known is not None and known == settled(wanted, live)):
        return found
    return _difference(live.get("spec"), wanted["spec"], "spec")


def _digest(wanted: Object) -> str:
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()


def _difference(live: Any, wanted: Any, path: str) -> str | None:
    if isinstance(wanted, Mapping):
        if not isinstance(live, Mapping):
            return path if wanted else None
        return _first(_difference(live.get(key), value, f"{path}.{key}") for key, value in wanted.items())
    if isinstance(wanted, list | tuple):
        return _list_difference(live if isinstance(live, list) else [], wanted, path)
    if live is None and not wanted:
        return None
    return None if live == wanted else path


def _list_difference(live: Sequence[Any], wanted: Sequence[Any], path: str) -> str | None:
    key = _KEYS.get(path.rpartition(".")[2])
    if key is None:
        if len(live) != len(wanted):
            return path
        return _first(
            _difference(is_, should, f"{path}[{index}]")
            for index, (is_, should) in enumerate(zip(live, wanted, strict=True))
        )
    known = {item.get(key): item for item in live if isinstance(item, Mapping)}
    return _first(_difference(known.get(item[key]), item, f"{path}[{item[key]}]") for item in wanted)


def _first(paths: Iterable[str | None]) -> str | None:
    return next((path for path in paths if path is not None), None)
