"""`kubedr runner init`: make sure that there is a repository, and that the password opens it."""

from kubedr_server.api.conditions import Reason
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.leftovers import prepare_for_init
from kubedr_server.runner.repository import bucket_of, restic_for
from kubedr_server.runner.restic import Restic
from kubedr_server.runner.run import Outcome, Run, scratch_directory
from kubedr_server.runner.s3 import Bucket
from kubedr_server.runner.settings import InitSettings


async def initialise(settings: InitSettings, context: Run) -> Outcome:
    """Open the repository, or make it where there is nothing. An existing one is a success."""
    async with (
        scratch_directory(settings.run) as directory,
        restic_for(settings.repository, settings.run, context, directory) as restic,
    ):
        bucket = bucket_of(settings.repository)
        if await _exists(bucket, restic, context):
            context.repository_id = await restic.repository_id()
            return Outcome(
                f"The repository {context.repository_id[:8]} was there already and opens with the password.",
                created=False,
            )
        context.log.tell("Making the repository")
        await restic.init()
        # Read back: what was made has to open, before anyone is told that it is there.
        context.repository_id = await restic.repository_id()
        return Outcome(f"Made the repository {context.repository_id[:8]}.", created=True)


async def _exists(bucket: Bucket | None, restic: Restic, context: Run) -> bool:
    if bucket is None:
        return await _opens(restic)
    context.log.tell(f"Asking the storage at {bucket.location.endpoint}")
    try:
        return await prepare_for_init(bucket, context.log)
    except RunFailureError as failure:
        if failure.reason is not Reason.BUCKET_NOT_FOUND:
            raise
        context.log.tell(
            f"There is no bucket '{bucket.location.bucket}' yet: it is made with the repository."
        )
        return False


async def _opens(restic: Restic) -> bool:
    try:
        await restic.repository_id()
    except RunFailureError as failure:
        if failure.reason is Reason.REPOSITORY_NOT_FOUND:
            return False
        raise
    return True
