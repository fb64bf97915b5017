"""Writes `recovery/`: what a person needs to get everything back by hand, and what a drill compares with.

Files whose facts have not changed are the same bytes in each backup, with no time of day in them and lists
in a fixed order, so that they cost nothing to store again.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from kubedr_server.contract import RECOVERY_FOLDER, SNAPSHOT_FILE
from kubedr_server.runner.etcd import Chosen, KeyHash
from kubedr_server.runner.programs import Program
from kubedr_server.runner.proof import Proof
from kubedr_server.runner.recovery_readme import readme
from kubedr_server.runner.restore_commands import members_of, restore_commands
from kubedr_server.snapshot.objects import Inventory

README: Final = "README.txt"
BACKUP: Final = "backup.json"
MEMBERS: Final = "members.json"
VERSIONS: Final = "versions.json"
ARGUMENTS: Final = "arguments.json"
DIGESTS: Final = "SHA256SUMS"

_CHUNK: Final = 1024 * 1024
_TOKEN: Final = "restored-1"


@dataclass(frozen=True)
class Facts:
    """All that is recorded. `arguments` is None if the policy names no static pods."""

    cluster_id: str
    policy: str
    snapshot_format: str
    chosen: Chosen
    proof: Proof
    key_hash: KeyHash | None
    inventory: Inventory
    programs: tuple[Program, ...]
    arguments: Mapping[str, list[str]] | None


@dataclass(frozen=True)
class Written:
    """The files of the folder: path below `staging` to size. `digests` has not yet that of the snapshot."""

    sizes: Mapping[str, int]
    digests: Mapping[str, str]


def write(staging: Path, facts: Facts, files: Iterable[str], extra: Mapping[str, bytes]) -> Written:
    """Write the folder below `staging`; its list of digests is empty yet, its size to be is returned.

    `files` are the paths of those files, already below `staging`, whose digests are recorded; `extra` are
    further files of the folder, by name.
    """
    members = _members(facts.chosen)
    commands = restore_commands(Path(SNAPSHOT_FILE), _TOKEN, members_of(members))
    contents: dict[str, bytes] = {
        README: readme(facts.snapshot_format, commands).encode(),
        BACKUP: _json(backup_document(facts)),
        MEMBERS: _json(members),
        VERSIONS: _json(_versions(facts)),
        **extra,
    }
    if facts.arguments is not None:
        contents[ARGUMENTS] = _json(dict(facts.arguments))
    digests = {name: _digest(staging / name) for name in files}
    digests |= {
        f"{RECOVERY_FOLDER}/{name}": hashlib.sha256(content).hexdigest() for name, content in contents.items()
    }
    folder = staging / RECOVERY_FOLDER
    folder.mkdir(mode=0o700)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    # restic may have listed the folder before `write_digests`: it has to find the name.
    (folder / DIGESTS).touch()
    contents[DIGESTS] = _digests(digests, facts.proof.sha256)
    return Written({f"{RECOVERY_FOLDER}/{name}": len(content) for name, content in contents.items()}, digests)


def write_digests(staging: Path, written: Written, snapshot_sha256: str) -> None:
    """Write the list of digests, with that of the snapshot file that a restore gives."""
    content = _digests(written.digests, snapshot_sha256)
    (staging / RECOVERY_FOLDER / DIGESTS).write_bytes(content)


def _digests(digests: Mapping[str, str], snapshot_sha256: str) -> bytes:
    complete = {**digests, SNAPSHOT_FILE: snapshot_sha256}
    return "".join(f"{complete[name]}  {name}\n" for name in sorted(complete)).encode()


def backup_document(facts: Facts) -> dict[str, Any]:
    """Return `backup.json`: what the restored snapshot, and an etcd started from it, must be like."""
    key_hash = facts.key_hash
    return {
        "clusterId": facts.cluster_id,
        "policy": facts.policy,
        "snapshotFormat": facts.snapshot_format,
        "snapshotSize": facts.proof.size,
        "sha256": facts.proof.sha256,
        "hash": facts.proof.hash,
        "revision": facts.proof.revision,
        "minimumRevision": facts.chosen.minimum_revision,
        "totalKeys": facts.proof.total_keys,
        "hashKV": None
        if key_hash is None
        else {
            "revision": key_hash.revision,
            "compactRevision": key_hash.compact_revision,
            "hash": key_hash.hash,
        },
        "objects": dict(facts.inventory.resources),
        "encryptedObjects": {
            f"{key.provider} {key.name}".strip(): count for key, count in facts.inventory.encrypted.items()
        },
    }


def _members(chosen: Chosen) -> list[dict[str, Any]]:
    members = [
        {
            "name": peer.get("name", ""),
            "id": f"{int(peer.get('ID', 0)):x}",
            "peerURLs": sorted(peer.get("peerURLs") or []),
            "clientURLs": sorted(peer.get("clientURLs") or []),
            "learner": bool(peer.get("isLearner")),
        }
        for peer in chosen.peers
    ]
    return sorted(members, key=lambda member: str(member["id"]))


def _versions(facts: Facts) -> dict[str, str]:
    versions = {program.name: ".".join(map(str, program.version)) for program in facts.programs}
    return {**versions, "etcd": facts.chosen.member.version, "kubedr": metadata.version("kubedr-server")}


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _digest(path: Path) -> str:
    state = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()
