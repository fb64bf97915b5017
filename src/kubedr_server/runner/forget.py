"""`kubedr runner forget`: remove one snapshot, named by its id."""

from kubedr_server.api.conditions import Reason
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.repository import full_id, open_repository
from kubedr_server.runner.run import Outcome, Run, scratch_directory
from kubedr_server.runner.settings import ForgetSettings


async def forget(settings: ForgetSettings, context: Run) -> Outcome:
    """Forget a snapshot. That it is gone already is a success: the wish is fulfilled."""
    wanted = settings.snapshot_id
    async with (
        scratch_directory(settings.run) as directory,
        open_repository(settings.repository, settings.run, context, directory) as restic,
    ):
        found = await full_id(restic, wanted)
        if found is None:
            return Outcome(
                f"Snapshot {wanted[:8]} was not in the repository any more: there was nothing to do."
            )
        context.log.tell(f"Forgetting snapshot {found[:8]}")
        await restic.forget(found)
        # restic tells success for a snapshot that it could not remove, too.
        if await full_id(restic, found) is not None:
            raise RunFailureError(
                Reason.REPOSITORY_FAILED,
                f"Snapshot {found[:8]} is still in the repository after restic forgot it: may the access "
                "key delete "
                "objects, or does the bucket lock them?",
            )
        return Outcome(f"Forgot snapshot {found[:8]}. Its space is freed when the repository is pruned.")
