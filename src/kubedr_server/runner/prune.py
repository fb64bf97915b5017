"""`kubedr runner prune`: free the room of data that no snapshot needs any more."""

from kubedr_server.contract import PruneResult
from kubedr_server.runner import restic_upkeep
from kubedr_server.runner.log import size
from kubedr_server.runner.repository import bucket_of, open_repository
from kubedr_server.runner.run import Outcome, Run, scratch_directory
from kubedr_server.runner.s3 import Bucket
from kubedr_server.runner.settings import PruneSettings


async def prune(settings: PruneSettings, context: Run) -> Outcome:
    """Prune. While another run works with the repository nothing is freed: RepositoryLocked, to try later."""
    bucket = bucket_of(settings.repository)
    async with (
        scratch_directory(settings.run) as directory,
        open_repository(settings.repository, settings.run, context, directory) as restic,
    ):
        before = await _size(bucket)
        freed = await restic_upkeep.prune(restic)
        after = await _size(bucket)
        if before is not None and after is not None:
            # What the storage counts, and not what restic estimates: the index shrinks, too.
            freed = max(0, before - after)
        else:
            after = await restic_upkeep.stored_size(restic)
    return Outcome(
        f"Freed {size(freed)}; the repository now takes {size(after)}.",
        prune=PruneResult(bytes_freed=freed, repository_size=after),
    )


async def _size(bucket: Bucket | None) -> int | None:
    if bucket is None:
        return None
    total = 0
    async for item in bucket.walk():
        total += item.size
    return total
