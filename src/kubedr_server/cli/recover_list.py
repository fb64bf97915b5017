"""What `kubedr recover list` shows: the backups in a repository."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final

from kubedr_server.catalogue import CatalogueEntry
from kubedr_server.contract import TAG
from kubedr_server.runner.catalogue import entry
from kubedr_server.runner.log import one_line, size
from kubedr_server.runner.repository import bucket_of, restic_for
from kubedr_server.runner.run import Run, scratch_directory
from kubedr_server.runner.settings import RepositorySettings, RunSettings

_HEADINGS: Final = ("SNAPSHOT", "TIME (UTC)", "CLUSTER", "POLICY", "REVISION", "SIZE", "FORMAT")


@dataclass(frozen=True)
class Choice:
    """Which backups are shown. `newest` is how many at most, of those that are complete; None for all."""

    cluster: str | None = None
    policy: str | None = None
    newest: int | None = None

    def takes(self, found: CatalogueEntry) -> bool:
        """Whether a snapshot is of that cluster and policy; a cluster is known by its first digits."""
        name = found.policy.rpartition("/")[2]
        return found.cluster_id.startswith(self.cluster or "") and self.policy in {None, found.policy, name}


@dataclass(frozen=True)
class Listing:
    """The chosen snapshots, the newest last. `older` is how many complete backups are not shown."""

    complete: Sequence[CatalogueEntry]
    incomplete: Sequence[CatalogueEntry] = ()
    older: int = 0


async def look(
    repository: RepositorySettings, settings: RunSettings, context: Run, choice: Choice
) -> Listing:
    """Read the repository and change nothing in it, not even a lock. Raises RunFailureError."""
    async with (
        scratch_directory(settings) as directory,
        restic_for(repository, settings, context, directory) as restic,
    ):
        bucket = bucket_of(repository)
        if bucket is not None:
            # The storage says in a second what restic would try again and again for minutes.
            await bucket.list(limit=1)
        await restic.repository_id()
        snapshots = await restic.snapshots(TAG)
    return choose([entry(snapshot) for snapshot in snapshots], choice)


def choose(found: Sequence[CatalogueEntry], choice: Choice) -> Listing:
    """Return what is to be shown of a repository's snapshots."""
    chosen = sorted((each for each in found if choice.takes(each)), key=lambda each: each.time)
    complete = [each for each in chosen if each.complete]
    shown = complete if choice.newest is None else complete[-choice.newest :]
    return Listing(shown, [each for each in chosen if not each.complete], len(complete) - len(shown))


def plain(found: CatalogueEntry) -> dict[str, Any]:
    """Return a backup as plain data for programs."""
    return {
        "snapshotId": found.snapshot_id,
        "time": found.time.astimezone(UTC).isoformat(timespec="seconds"),
        "cluster": found.cluster_id,
        "policy": found.policy,
        "run": found.run_id,
        **(found.backup.to_wire() if found.backup is not None else {}),
    }


def table(complete: Sequence[CatalogueEntry]) -> str:
    """Return backups as aligned columns. A cluster's uid and a snapshot's id are shortened."""
    rows = [_HEADINGS, *(_row(found) for found in complete)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(found: CatalogueEntry) -> tuple[str, ...]:
    backup = found.backup
    if backup is None:
        raise ValueError(f"snapshot {found.snapshot_id} is no complete backup")
    return (
        found.snapshot_id[:8],
        f"{found.time.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
        # Who writes to the repository writes the tags: nothing of them may move the cursor.
        one_line(found.cluster_id[:8]),
        one_line(found.policy),
        str(backup.revision),
        size(backup.snapshot_size),
        one_line(backup.snapshot_format),
    )
