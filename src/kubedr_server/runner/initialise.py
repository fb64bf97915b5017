"""`kubedr runner init`: make sure that there is a repository, and that the password opens it.

Nothing keeps two of these from working on one empty place: S3 has no lock, and restic checks before it
writes. So what counts is what is there afterwards, and both end with the same repository.

Where the storage is not S3, the runner cannot list it or remove a key. There a second config may replace the
first, or take it away: what the storage refuses to overwrite, restic removes, as if it were half of its own.
So nothing is called made before it has outlived any other initialisation, and what two of them have spoilt is
told with what to do.
"""

import asyncio
from datetime import timedelta

from kubedr_server.api.conditions import Reason
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.leftovers import NOT_ITS_KEY, SETTLED, keep_the_key_that_fits, prepare_for_init
from kubedr_server.runner.repository import bucket_of, restic_for
from kubedr_server.runner.restic import Restic
from kubedr_server.runner.run import Outcome, Run, scratch_directory
from kubedr_server.runner.s3 import Bucket
from kubedr_server.runner.settings import InitSettings

_SOMEONE_WAS_FASTER = ("already exists", "already contains keys", "already initialized", "already own it")
_ATTEMPTS = 3


async def initialise(settings: InitSettings, context: Run, settled: timedelta = SETTLED) -> Outcome:
    """Open the repository, or make it where there is nothing. An existing one is a success.

    `settled` is the age at which what another initialisation has written is not work in progress any more.
    """
    async with (
        scratch_directory(settings.run) as directory,
        restic_for(settings.repository, settings.run, context, directory) as restic,
    ):
        bucket = bucket_of(settings.repository)
        for attempt in range(_ATTEMPTS):
            if await _exists(bucket, restic, context, settled):
                return _found(await _open(bucket, restic, context, settled), context)
            context.log.tell("Making the repository")
            try:
                await restic.init()
            except RunFailureError as failure:
                if bucket is None:
                    return _found(await _others(restic, failure, context, settled), context)
                met = any(words in failure.message for words in _SOMEONE_WAS_FASTER)
                if not met or attempt == _ATTEMPTS - 1:
                    raise
                context.log.tell("Another initialisation was faster.")
            else:
                break
        # Read back: what was made has to open, before anyone is told that it is there.
        repository_id = await _open(bucket, restic, context, settled)
        if bucket is None:
            repository_id = await _outlived(restic, context, settled)
        else:
            repository_id = (
                await keep_the_key_that_fits(bucket, restic, context.log, settled) or repository_id
            )
        context.repository_id = repository_id
        return Outcome(f"Made the repository {repository_id[:8]}.", created=True)


def _found(repository_id: str, context: Run) -> Outcome:
    context.repository_id = repository_id
    return Outcome(
        f"The repository {repository_id[:8]} was there already and opens with the password.", created=False
    )


async def _open(bucket: Bucket | None, restic: Restic, context: Run, settled: timedelta) -> str:
    """Return the repository's id, after mending what two initialisations at once have left."""
    try:
        return await restic.repository_id()
    except RunFailureError as failure:
        if bucket is None or NOT_ITS_KEY not in failure.message:
            raise
        mended = await keep_the_key_that_fits(bucket, restic, context.log, settled)
        if mended is None:
            raise
        return mended


async def _others(restic: Restic, failure: RunFailureError, context: Run, settled: timedelta) -> str:
    """Return the id of the repository that another initialisation has made; raises if it is not that."""
    try:
        return await _outlived(restic, context, settled)
    except RunFailureError as later:
        known = any(words in failure.message for words in _SOMEONE_WAS_FASTER)
        raise (later if known else failure) from None


async def _outlived(restic: Restic, context: Run, settled: timedelta) -> str:
    """Return the repository's id, once any other initialisation that was under way must have ended."""
    context.log.tell("Waiting in case another initialisation is under way.")
    await asyncio.sleep(settled.total_seconds())
    if not await _opens(restic):
        raise RunFailureError(
            Reason.REPOSITORY_FAILED,
            f"{restic.settings.url} holds a key and no config: two initialisations have met there, or one "
            "was interrupted. If it has no snapshots, empty it, and the repository is made anew; else bring "
            "the file 'config' back from a copy.",
        )
    return await restic.repository_id()


async def _exists(bucket: Bucket | None, restic: Restic, context: Run, settled: timedelta) -> bool:
    if bucket is None:
        return await _opens(restic)
    context.log.tell(f"Asking the storage at {bucket.location.endpoint}")
    try:
        return await prepare_for_init(bucket, context.log, settled)
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
