"""What a snapshot holds, as Kubernetes sees it: how many objects of each resource, encrypted by which key.

Two things are read from it. A drill compares the counts with those of the etcd that it started from the
backup. And an object that kube-apiserver encrypted is worth nothing without its key, which etcd does
not hold: a backup without it has to say so while the key still exists.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from kubedr_server.snapshot.bolt_file import BoltFile
from kubedr_server.snapshot.errors import NotASnapshotError
from kubedr_server.snapshot.mvcc import KEY_BUCKET, parse_head, parse_revision

VALUE_PREFIX_SIZE: Final = 320
"""How much of a value is kept: enough for an encryption prefix with the longest names."""

DEFAULT_PREFIX: Final = "/registry"
OTHER: Final = "(other)"
"""Where keys outside of the prefix are counted: etcd may serve more than one cluster, or other programs."""

_DIGEST_SIZE: Final = 16
_ENCRYPTED: Final = re.compile(rb"k8s:enc:([^:]+):(?:v[0-9]+):([^:]*):")


class LiveObject(NamedTuple):
    """A key that was not deleted: its value's first bytes, and the revision that wrote it."""

    key: bytes
    value_prefix: bytes
    revision: int


class EncryptionKey(NamedTuple):
    """A key of kube-apiserver's encryption configuration: provider (`aescbc`, `kms`, …) and key name."""

    provider: str
    name: str


@dataclass
class Inventory:
    """How many live objects there are by resource, such as `pods` or `example.com/widgets`; and by key.

    `encrypted` counts the objects that are encrypted at rest; `encrypted_resources` says which they are.
    """

    resources: Counter[str] = field(default_factory=Counter)
    encrypted: Counter[EncryptionKey] = field(default_factory=Counter)
    encrypted_resources: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """All live objects."""
        return self.resources.total()


def live_objects(snapshot: Path) -> Iterator[LiveObject]:
    """Yield each key's newest version, the most recently written first; deleted keys are left out.

    Raises SnapshotError. Memory: about 100 bytes a key, for a digest of each one that was seen.
    """
    with BoltFile(snapshot) as bolt:
        bucket = next((each for each in list(bolt.buckets()) if each.name == KEY_BUCKET), None)
        if bucket is None:
            raise NotASnapshotError(f"{snapshot.name} has no bucket 'key': it is no database of etcd")
        seen: set[bytes] = set()
        for key, record in bolt.records(bucket, backwards=True):
            head = parse_head(record)
            digest = hashlib.blake2b(head.key, digest_size=_DIGEST_SIZE).digest()
            if digest in seen:
                continue
            seen.add(digest)
            revision = parse_revision(key)
            if not revision.tombstone:
                end = min(head.value_end, head.value_start + VALUE_PREFIX_SIZE)
                yield LiveObject(head.key, record[head.value_start : end], revision.main)


def take_inventory(snapshot: Path, prefix: str = DEFAULT_PREFIX) -> Inventory:
    """Count the live objects below kube-apiserver's `--etcd-prefix`. Raises SnapshotError."""
    inventory = Inventory()
    root = prefix.strip("/").encode()
    for each in live_objects(snapshot):
        resource = resource_of(each.key, root)
        inventory.resources[resource] += 1
        key = encryption_key(each.value_prefix)
        if key is not None:
            inventory.encrypted[key] += 1
            inventory.encrypted_resources[resource] += 1
    return inventory


def resource_of(key: bytes, root: bytes) -> str:
    """Return the resource that an object belongs to: `pods`, `example.com/widgets`, or OTHER.

    The server puts its own kinds at `<prefix>/<resource>/…`, and custom ones at
    `<prefix>/<group>/<resource>/…`; a group's name has a dot, and a resource's has none.
    """
    path = key.removeprefix(b"/")
    if root:
        if not path.startswith(root + b"/"):
            return OTHER
        path = path[len(root) + 1 :]
    first, _, rest = path.partition(b"/")
    name = first
    if b"." in first and rest:
        name = first + b"/" + rest.partition(b"/")[0]
    elif first == b"services" and rest.startswith(b"endpoints/"):
        # Both lie below `services/`, for a reason that only history knows.
        name = b"endpoints"
    return name.decode(errors="replace") or OTHER


def encryption_key(value_prefix: bytes) -> EncryptionKey | None:
    """Return the key that a value is encrypted with; None if it is stored as it is."""
    if not value_prefix.startswith(b"k8s:enc:"):
        return None
    found = _ENCRYPTED.match(value_prefix)
    if found is None:
        return EncryptionKey("unknown", "")
    return EncryptionKey(found[1].decode(errors="replace"), found[2].decode(errors="replace"))
