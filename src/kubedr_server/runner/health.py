"""`kubedr runner health`: look whether the repository opens, what it holds, and whether it is locked.

The list of its snapshots goes to the pod's log (kubedr_server.catalogue). It is made of what restic's own
list says: no snapshot's files are looked at, so a thousand of them cost no more than one.
"""

from kubedr_server.catalogue import CatalogueEntry, encode
from kubedr_server.contract import TAG, HealthResult
from kubedr_server.runner import catalogue, restic_upkeep
from kubedr_server.runner.leftovers import remove_dead_locks_elsewhere
from kubedr_server.runner.log import Log, size
from kubedr_server.runner.repository import bucket_of, open_with, restic_for
from kubedr_server.runner.run import Outcome, Run, scratch_directory, utc_now
from kubedr_server.runner.s3 import Bucket
from kubedr_server.runner.settings import HealthSettings


async def health(settings: HealthSettings, context: Run) -> Outcome:
    """Open the repository, count what is in it, list its snapshots."""
    bucket = bucket_of(settings.repository)
    async with (
        scratch_directory(settings.run) as directory,
        restic_for(settings.repository, settings.run, context, directory) as restic,
    ):
        removed = await open_with(restic, bucket, context)
        entries = [catalogue.entry(snapshot) for snapshot in await restic.snapshots(TAG)]
        if bucket is not None:
            stored, locks = await _usage(bucket)
        else:
            locks, removed = await remove_dead_locks_elsewhere(restic, utc_now(), unlock=settings.unlock)
            stored = await restic_upkeep.stored_size(restic)
    _warn_of_incomplete(entries, context)
    _list(entries, context.log)
    whole = sum(entry.complete for entry in entries)
    found = HealthResult(snapshots=whole, repository_size=stored, locks=locks, locks_removed=removed)
    told = f"The repository opens and holds {_count(whole, 'backup')} in {size(stored)}"
    if removed:
        told += f"; of dead runs, {_count(removed, 'lock')} went"
    return Outcome(f"{told}; it has {_count(locks, 'lock')} now.", health=found)


async def _usage(bucket: Bucket) -> tuple[int, int]:
    """Return the bytes in the storage, and the number of locks, by one walk through the bucket."""
    stored = locks = 0
    async for item in bucket.walk():
        stored += item.size
        locks += item.name.startswith("locks/") and not item.name.endswith("/")
    return stored, locks


def _warn_of_incomplete(entries: list[CatalogueEntry], context: Run) -> None:
    incomplete = [entry for entry in entries if not entry.complete]
    if incomplete:
        first = incomplete[0]
        context.warn(
            f"Not counted, because not a whole backup: {_count(len(incomplete), 'snapshot')}, such as "
            f"{first.snapshot_id[:8]}: {first.why}."
        )


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _list(entries: list[CatalogueEntry], log: Log) -> None:
    for line in encode(entries):
        log.put(line)
