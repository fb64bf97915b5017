"""Directories of a node that may be backed up."""

import re
from pathlib import PurePosixPath
from typing import Final

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")

FORBIDDEN: Final = (
    "/dev",
    "/proc",
    "/run",
    "/sys",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/etcd",
    "/var/lib/kubelet/plugins",
    "/var/lib/kubelet/pods",
    "/var/run",
)
"""Kernel interfaces, sockets, the data of running containers (the backup's own scratch volume among them),
and etcd's live files, of which a copy is worthless beside the snapshot. A parent of one holds it, too."""


def problem(path: str) -> str | None:
    """Say why a node's directory cannot be backed up; None if it can."""
    if not path.startswith("/"):
        return "must be an absolute path"
    if _CONTROL.search(path):
        return "must not contain control characters"
    if path == "/":
        return "must not be the root directory: name the directory of the certificates"
    parts = path.split("/")[1:]
    if ".." in parts or "." in parts:
        return "must not contain '.' or '..' as a part"
    if "" in parts:
        return "must not have two '/' in a row or end with '/'"
    asked = PurePosixPath(path)
    for forbidden in map(PurePosixPath, FORBIDDEN):
        if asked.is_relative_to(forbidden) or forbidden.is_relative_to(asked):
            relation = (
                "is" if asked == forbidden else "lies in" if asked.is_relative_to(forbidden) else "contains"
            )
            return f"{relation} {forbidden}, which must not be backed up as files"
    return None
