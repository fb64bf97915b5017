"""How a snapshot file lies in the repository: the one place where that is decided.

A layout takes the proven file apart for storing, and puts it together after a restore. The backup's result
and the restic snapshot's tags name the layout, so a repository can hold several.
"""

from pathlib import Path
from typing import Final, Protocol

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import SEGMENTS_FOLDER, SNAPSHOT_FILE
from kubedr_server.runner.etcd import Member
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.run import remove_tree
from kubedr_server.runner.together import in_thread
from kubedr_server.snapshot.errors import SnapshotError
from kubedr_server.snapshot.placement import MANY_RECORDS
from kubedr_server.snapshot.rebuild_script import Rebuilt
from kubedr_server.snapshot.segments import rebuild as rebuild_from
from kubedr_server.snapshot.segments import rebuild_program, write_segments

REBUILD_PROGRAM: Final = "rebuild.py"
_BLOCK: Final = 4096


class Layout(Protocol):
    """What a way of storing a snapshot has to do. `name` is recorded as the snapshot's format."""

    name: str
    few_files: bool

    def peak_bytes(self, member: Member) -> int:
        """Return how much scratch space the snapshot of a member takes at most."""
        ...

    async def arrange(self, snapshot: Path, staging: Path) -> dict[str, int]:
        """Put the snapshot into `staging`, which restic stores; others may read `snapshot` meanwhile.

        Returns the files that must be in the repository afterwards: path below `staging` to size.
        RunFailureError (SnapshotCorrupt) if it cannot be read.
        """
        ...

    def tools(self) -> dict[str, bytes]:
        """Return the files, by name, that a person needs to put the snapshot together by hand."""
        ...

    async def try_out(self, staging: Path, target: Path) -> Rebuilt | None:
        """Write to `target` what a restore of `staging` would give; None where nothing was taken apart.

        RunFailureError (RebuildDiffers) if it cannot be put together.
        """
        ...

    async def rebuild(self, restored: Path) -> Path:
        """Return the snapshot file, made of what was restored; SnapshotCorrupt if it cannot be."""
        ...


class FileLayout:
    """The snapshot as the one file that etcd gave: plain restic brings it back without this project."""

    name = "file"
    few_files = True

    def peak_bytes(self, member: Member) -> int:
        """Return the size of the file, which is not copied."""
        return member.db_size

    async def arrange(self, snapshot: Path, staging: Path) -> dict[str, int]:
        """Give the file its name."""
        file = staging / SNAPSHOT_FILE
        await in_thread(file.hardlink_to, snapshot)
        return {SNAPSHOT_FILE: file.stat().st_size}

    def tools(self) -> dict[str, bytes]:
        """Return none: nothing has to be put together."""
        return {}

    async def try_out(self, staging: Path, target: Path) -> None:
        """Return None: it is the file itself that is stored."""

    async def rebuild(self, restored: Path) -> Path:
        """Find the file."""
        snapshot = restored / SNAPSHOT_FILE
        if not await in_thread(snapshot.is_file):
            raise _lacks(f"file '{SNAPSHOT_FILE}'")
        return snapshot


class SegmentsLayout:
    """The snapshot's records in many small files, of which one backup shares most with the next."""

    name = "segments"
    few_files = False

    def peak_bytes(self, member: Member) -> int:
        """Return what the file and the segments take, and later the segments and the rebuilt file.

        The segments hold what the file has in use, in blocks of a file system that are partly empty. A small
        segment has two records on average, and one of a large record half an empty block.
        """
        empty = min(member.keys, MANY_RECORDS) * _BLOCK // 2
        return member.db_size + member.db_size_in_use * 5 // 4 + empty

    async def arrange(self, snapshot: Path, staging: Path) -> dict[str, int]:
        """Write the segments."""
        try:
            manifest = await in_thread(write_segments, snapshot, staging / SEGMENTS_FOLDER)
        except SnapshotError as error:
            raise RunFailureError(
                Reason.SNAPSHOT_CORRUPT,
                f"The etcd snapshot is damaged: {error}. Run it again; if it stays so, look at the disk and "
                "the memory of etcd's node.",
            ) from error
        return {f"{SEGMENTS_FOLDER}/{path}": count for path, count in manifest.sizes.items()}

    def tools(self) -> dict[str, bytes]:
        """Return the program that needs nothing but Python."""
        return {REBUILD_PROGRAM: rebuild_program()}

    async def try_out(self, staging: Path, target: Path) -> Rebuilt:
        """Rebuild, as `recovery/rebuild.py` does it."""
        try:
            return await in_thread(rebuild_from, staging / SEGMENTS_FOLDER, target)
        except SnapshotError as error:
            raise RunFailureError(
                Reason.REBUILD_DIFFERS,
                f"The snapshot cannot be put together from its segments ({error}): no backup was made. "
                "Please report this with the log; spec.snapshotFormat: file stores the snapshot as it is "
                "meanwhile.",
            ) from error

    async def rebuild(self, restored: Path) -> Path:
        """Put the file together, and remove the segments."""
        segments, snapshot = restored / SEGMENTS_FOLDER, restored / SNAPSHOT_FILE
        if not await in_thread(segments.is_dir):
            raise _lacks(f"directory '{SEGMENTS_FOLDER}'")
        try:
            await in_thread(rebuild_from, segments, snapshot)
        except SnapshotError as error:
            raise RunFailureError(
                Reason.SNAPSHOT_CORRUPT,
                f"The etcd snapshot cannot be put together from what was restored: {error}. Check the "
                "repository with 'restic check --read-data', and restore another backup.",
            ) from error
        await in_thread(remove_tree, segments)
        return snapshot


def layout_named(name: str) -> Layout:
    """Return a layout by the name that was recorded; RunFailureError if this version does not know it."""
    if name == SegmentsLayout.name:
        return SegmentsLayout()
    if name == FileLayout.name:
        return FileLayout()
    raise RunFailureError(
        Reason.REPOSITORY_FAILED,
        f"The snapshot is stored in the format '{name}', which this version does not know: use a newer "
        "image.",
    )


def _lacks(what: str) -> RunFailureError:
    return RunFailureError(
        Reason.SNAPSHOT_CORRUPT,
        f"The restic snapshot holds no {what}: it is no backup of KubeDR, or it is incomplete.",
    )
