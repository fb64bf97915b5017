"""The command that makes each etcd member's data directory of a restored snapshot.

The backup knows the members' names and peer URLs, which have to be said again. A person who has to put them
together at night gets one of them wrong.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kubedr_server.runner.log import one_line

DATA_DIRECTORY: Final = "/var/lib/etcd-restored"
_BREAK: Final = " \\\n    "


@dataclass(frozen=True)
class Member:
    """One member of the etcd that was backed up."""

    name: str
    peer_urls: tuple[str, ...]


UNKNOWN: Final = Member("NAME", ("https://ADDRESS:2380",))
"""What stands in the command where the backup does not say it."""


def members_of(listed: Any) -> list[Member]:
    """Return the members that a `members.json` lists; `UNKNOWN` if it lists none that can be used."""
    try:
        members = [Member(str(each["name"]), tuple(map(str, each["peerURLs"]))) for each in listed]
    except (TypeError, KeyError):
        return [UNKNOWN]
    # One that was added and never started has no name yet.
    return [member for member in members if member.name and member.peer_urls] or [UNKNOWN]


def restore_commands(snapshot: Path, token: str, members: Sequence[Member]) -> list[tuple[str, str]]:
    """Return each member's name and its command, in the order of their names.

    The `token` has to be one that the cluster never had: with etcd's default, the restored members may get
    the very ids of the old ones, which then take them for their own.
    """
    ordered = sorted(members, key=lambda member: member.name)
    cluster = ",".join(f"{member.name}={url}" for member in ordered for url in member.peer_urls)
    commands: list[tuple[str, str]] = []
    for member in ordered:
        parts = [
            f"etcdutl snapshot restore {_word(str(snapshot))} --data-dir {DATA_DIRECTORY}",
            f"--name {_word(member.name)} --initial-advertise-peer-urls {_word(','.join(member.peer_urls))}",
            f"--initial-cluster {_word(cluster)} --initial-cluster-token {_word(token)}",
            "--bump-revision 1000000000 --mark-compacted",
        ]
        commands.append((one_line(member.name), _BREAK.join(parts)))
    return commands


def _word(text: str) -> str:
    """Quote for a shell. Who writes to the repository writes the names: nothing of them may run."""
    return shlex.quote(one_line(text))
