"""What a backup that was fetched says of etcd's members."""

import json
from pathlib import Path

from kubedr_server.contract import RECOVERY_FOLDER
from kubedr_server.runner.recovery import MEMBERS
from kubedr_server.runner.restore_commands import UNKNOWN, Member, members_of


def read_members(directory: Path) -> list[Member]:
    """Return the members that a fetched backup names; `UNKNOWN` if it names none that can be used."""
    try:
        listed = json.loads((directory / RECOVERY_FOLDER / MEMBERS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return [UNKNOWN]
    return members_of(listed)
