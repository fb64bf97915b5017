"""How a snapshot file lies in the repository: the one place where that is decided.

A layout takes the proven file apart for storing, and puts it together after a restore. The backup's result
and the restic snapshot's tags name the layout, so a repository can hold several.
"""

import asyncio
from pathlib import Path
from typing import Protocol

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import SNAPSHOT_FILE
from kubedr_server.runner.etcd import Member
from kubedr_server.runner.failure import RunFailureError


class Layout(Protocol):
    """What a way of storing a snapshot has to do. `name` is recorded as the snapshot's format."""

    name: str

    def peak_bytes(self, member: Member) -> int:
        """Return how much scratch space the snapshot of a member takes at most."""
        ...

    async def arrange(self, snapshot: Path, staging: Path) -> dict[str, int]:
        """Put the snapshot into `staging`, which restic stores; `snapshot` is consumed.

        Returns the files that must be in the repository afterwards: path below `staging` to size.
        """
        ...

    def tools(self) -> dict[str, bytes]:
        """Return the files, by name, that a person needs to put the snapshot together by hand."""
        ...

    async def try_out(self, staging: Path, target: Path) -> bool:
        """Write to `target` what a restore of `staging` would give; False where nothing was taken apart.

        RunFailureError (RebuildDiffers) if it cannot be put together.
        """
        ...

    async def rebuild(self, restored: Path) -> Path:
        """Return the snapshot file, made of what was restored; SnapshotCorrupt if it cannot be."""
        ...


class FileLayout:
    """The snapshot as the one file that etcd gave: plain restic brings it back without this project."""

    name = "file"

    def peak_bytes(self, member: Member) -> int:
        """Return the size of the file, which is moved and not copied."""
        return member.db_size

    async def arrange(self, snapshot: Path, staging: Path) -> dict[str, int]:
        """Move the file to its name."""
        return await asyncio.to_thread(self._arrange, snapshot, staging)

    def tools(self) -> dict[str, bytes]:
        """Return none: nothing has to be put together."""
        return {}

    async def try_out(self, staging: Path, target: Path) -> bool:
        """Return False: it is the file itself that is stored."""
        return False

    async def rebuild(self, restored: Path) -> Path:
        """Find the file."""
        snapshot = restored / SNAPSHOT_FILE
        if not await asyncio.to_thread(snapshot.is_file):
            raise RunFailureError(
                Reason.SNAPSHOT_CORRUPT,
                f"The restic snapshot holds no file '{SNAPSHOT_FILE}': it is no backup of KubeDR, or it is "
                "incomplete.",
            )
        return snapshot

    @staticmethod
    def _arrange(snapshot: Path, staging: Path) -> dict[str, int]:
        target = staging / SNAPSHOT_FILE
        snapshot.replace(target)
        return {SNAPSHOT_FILE: target.stat().st_size}


def layout_named(name: str) -> Layout:
    """Return a layout by the name that was recorded; RunFailureError if this version does not know it."""
    if name == FileLayout.name:
        return FileLayout()
    raise RunFailureError(
        Reason.REPOSITORY_FAILED,
        f"The snapshot is stored in the format '{name}', which this version does not know: use a newer "
        "image.",
    )
