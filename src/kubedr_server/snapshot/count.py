"""Counts a snapshot's objects as a program of its own, so that it can run beside the work of another one.

    python -m kubedr_server.snapshot.count <snapshot file> <prefix>

prints one JSON object; a snapshot that cannot be read is exit code 3 and a sentence on standard error.
"""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Final

from kubedr_server.snapshot.errors import SnapshotError
from kubedr_server.snapshot.objects import EncryptionKey, Inventory, take_inventory

UNREADABLE: Final = 3


def to_json(inventory: Inventory) -> str:
    """Return an inventory as one line."""
    return json.dumps(
        {
            "resources": inventory.resources,
            "encrypted": [[key.provider, key.name, count] for key, count in inventory.encrypted.items()],
            "encryptedResources": inventory.encrypted_resources,
        }
    )


def from_json(text: str) -> Inventory:
    """Read what `to_json` gives; ValueError, KeyError or TypeError if it is something else."""
    value = json.loads(text)
    return Inventory(
        Counter(value["resources"]),
        Counter({EncryptionKey(provider, name): count for provider, name, count in value["encrypted"]}),
        Counter(value["encryptedResources"]),
    )


def main(arguments: list[str]) -> int:
    """Count, print, return the exit code."""
    snapshot, prefix = arguments
    try:
        inventory = take_inventory(Path(snapshot), prefix)
    except SnapshotError as error:
        sys.stderr.write(f"{error}\n")
        return UNREADABLE
    sys.stdout.write(to_json(inventory) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
