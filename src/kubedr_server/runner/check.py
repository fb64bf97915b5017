"""`kubedr runner check`: the repository's structure, and a part of its data read back.

It takes no lock, because reading a large repository takes hours, and backups would have to wait. Without a
lock, what another run removes meanwhile can look like damage: so what was found is looked at once more
with the lock before anyone is woken.
"""

from kubedr_server.contract import CheckResult
from kubedr_server.runner import restic_upkeep
from kubedr_server.runner.log import size
from kubedr_server.runner.repository import bucket_of, open_repository
from kubedr_server.runner.restic_upkeep import RESTIC_MAX_PARTS
from kubedr_server.runner.run import Outcome, Run, scratch_directory
from kubedr_server.runner.s3 import Bucket
from kubedr_server.runner.settings import CheckSettings

_DATA = "data/"


async def check(settings: CheckSettings, context: Run) -> Outcome:
    """Check; RunFailureError (RepositoryDamaged) says what is damaged and what to do."""
    part, parts = restics_part(settings.part, settings.parts)
    bucket = bucket_of(settings.repository)
    async with (
        scratch_directory(settings.run) as directory,
        open_repository(settings.repository, settings.run, context, directory) as restic,
    ):
        context.log.tell(f"Checking the structure, and part {settings.part} of {settings.parts} of the data")
        found = await restic_upkeep.check(restic, part, parts, locked=False)
        if found is not None:
            context.log.caution(f"{found.errors[0]} Checking once more, with the repository locked.")
            found = await restic_upkeep.check(restic, part, parts, locked=True)
        if found is not None:
            raise restic_upkeep.damaged(restic, found)
        read = await _part_size(bucket, part, parts) if bucket is not None else 0
    told = (
        f"No fault in the repository's structure and in part {settings.part} of {settings.parts} of its data"
    )
    return Outcome(
        told + (f" ({size(read)})." if read else "."),
        check=CheckResult(part=settings.part, parts=settings.parts, bytes_read=read),
    )


def restics_part(part: int, parts: int) -> tuple[int, int]:
    """Return the part for restic, which knows 256 at most: of more, several in a row read the same one."""
    if parts <= RESTIC_MAX_PARTS:
        return part, parts
    return (part - 1) * RESTIC_MAX_PARTS // parts + 1, RESTIC_MAX_PARTS


async def _part_size(bucket: Bucket, part: int, parts: int) -> int:
    """Return the bytes of the packs that restic reads for a part: it goes by their names' first byte."""
    total = 0
    async for item in bucket.walk(_DATA):
        name = item.name.rpartition("/")[2]
        try:
            first = int(name[:2], 16)
        except ValueError:
            continue
        if first % parts == part - 1:
            total += item.size
    return total
