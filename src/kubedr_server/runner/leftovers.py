"""Removes what a killed run leaves in a bucket, and nothing that may still be in use.

Two things stop restic until someone cleans by hand:

- A lock. restic judges locks by host name and process id, which say nothing between pods: on the host
  network all share one name, and each has its own process ids. Here only age counts, measured by one clock:
  the storage's own, for the lock object's time and for now. restic renews a lock every five minutes, and
  gives up by itself once it could not for half an hour; a lock older than that has no owner.
  Where the storage is not S3, its clock and its files' times cannot be asked for. Locks go only if none of
  them is younger than what a clock that is an hour wrong can make of a live one, and if no other Job of
  this cluster is at work.
- The first half of a repository: `restic init` writes a key, then the config. Killed between, it refuses ever
  after, as "already contains keys". Such a key protects nothing, because no data can exist before the config.

Two initialisations at once leave two keys and one config, which only one of them fits.
"""

import asyncio
from datetime import datetime, timedelta

from kubedr_server.api.conditions import Reason
from kubedr_server.runner import restic_upkeep
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.log import Log
from kubedr_server.runner.restic import Restic
from kubedr_server.runner.s3 import Bucket, Listing

LOCK_LIFETIME = timedelta(minutes=30)
CLOCK_SKEW = timedelta(hours=1)
_LOCKS_SHOWN = 20
SETTLED = timedelta(seconds=20)
"""A key without a config that is older than this is nobody's work in progress: `init` takes a second."""

NOT_ITS_KEY = "ciphertext verification failed"
"""restic's words for a config that the key it tried does not fit."""

_POLL_SECONDS = 2.0
CONFIG = "config"
_KEYS = "keys/"


async def remove_dead_locks(bucket: Bucket, log: Log, lifetime: timedelta = LOCK_LIFETIME) -> int:
    """Remove locks whose owner must be dead; return how many."""
    listing = await bucket.list("locks/")
    dead = [
        item
        for item in listing.objects
        if not item.name.endswith("/") and listing.storage_time - item.modified > lifetime
    ]
    for item in dead:
        log.caution(
            f"Removing the repository lock {item.name.removeprefix('locks/')[:8]}: not renewed since "
            f"{item.modified:%Y-%m-%dT%H:%M:%SZ}, so its owner is dead."
        )
        await bucket.delete(item.name)
    return len(dead)


async def remove_dead_locks_elsewhere(restic: Restic, now: datetime, *, unlock: bool) -> tuple[int, int]:
    """Remove the locks in a repository that is not on S3 if all are dead; return how many are left and gone.

    `unlock`: no other Job of this cluster works with the repository. `now` is this machine's time.
    """
    count, shown = await restic_upkeep.locks(restic, _LOCKS_SHOWN)
    if not count:
        return 0, 0
    if not unlock or count != len(shown) or not all(is_dead_elsewhere(lock.time, now) for lock in shown):
        restic.log.tell(f"The repository has {count} locks, and they may be in use.")
        return count, 0
    restic.log.caution(
        f"Removing {count} repository locks: none was renewed for {LOCK_LIFETIME + CLOCK_SKEW}."
    )
    removed = min(await restic_upkeep.unlock(restic), count)
    return count - removed, removed


def is_dead_elsewhere(lock_time: datetime, now: datetime) -> bool:
    """Whether a lock's owner is dead, though its clock and this machine's may differ by an hour."""
    return now - lock_time > LOCK_LIFETIME + CLOCK_SKEW


async def prepare_for_init(bucket: Bucket, log: Log, settled: timedelta = SETTLED) -> bool:
    """Return whether a config is there already; if not, make sure that a repository can be made.

    Waits for an initialisation that seems to be under way, then removes the keys of one that died.
    RunFailureError (RepositoryFailed) if the place holds anything else: nothing is initialised over it.
    """
    while True:
        listing = await bucket.list()
        names = [item.name for item in listing.objects if not _is_folder_marker(item.name, item.size)]
        if CONFIG in names or (not listing.complete and await _has_config(bucket)):
            return True
        foreign = [name for name in names if not name.startswith(_KEYS)]
        if foreign or not listing.complete:
            raise _occupied(bucket, foreign[0] if foreign else names[0])
        if not names:
            return False
        if _is_settled(listing, settled):
            await _remove_keys(bucket, names, log)
            continue
        log.tell("A key without a config: waiting in case another initialisation is under way.")
        await asyncio.sleep(_POLL_SECONDS)


async def keep_the_key_that_fits(
    bucket: Bucket, restic: Restic, log: Log, settled: timedelta = SETTLED
) -> str | None:
    """Mend a repository that two initialisations made at once; return its id, or None if that is not it.

    Each wrote a key, and the later one's config is the one that stayed. The other key opens with the same
    password and does not fit this config; restic takes whichever it finds first. Nothing can be stored
    with a key that does not fit, so it goes, once nobody can be about to write the config it belongs to.
    """
    while True:
        listing = await bucket.list(_KEYS)
        names = [item.name for item in listing.objects if not item.name.endswith("/")]
        if len(names) < 2:
            return None
        if _is_settled(listing, settled):
            break
        log.tell("Several keys: waiting until another initialisation that is under way has ended.")
        await asyncio.sleep(_POLL_SECONDS)
    fits: str | None = None
    unfit = []
    for name in names:
        try:
            fits = await restic.repository_id(key=name.removeprefix(_KEYS))
        except RunFailureError as failure:
            if NOT_ITS_KEY not in failure.message:
                raise
            unfit.append(name)
    if fits is None:
        return None
    for name in unfit:
        log.caution(
            f"Removing the key {name.removeprefix(_KEYS)[:8]} of another initialisation: it opens nothing."
        )
        await bucket.delete(name)
    return fits


async def _remove_keys(bucket: Bucket, names: list[str], log: Log) -> None:
    """Remove keys, and put them back if a config appears meanwhile: without its key it would be lost."""
    log.caution("Removing the key that an interrupted initialisation left behind.")
    saved = {name: await bucket.get(name) for name in names}
    for name in names:
        await bucket.delete(name)
    if await _has_config(bucket):
        for name, body in saved.items():
            await bucket.put(name, body)


async def _has_config(bucket: Bucket) -> bool:
    listing = await bucket.list(CONFIG, limit=1)
    return any(item.name == CONFIG for item in listing.objects)


def _is_settled(listing: Listing, settled: timedelta) -> bool:
    return all(listing.storage_time - item.modified >= settled for item in listing.objects)


def _is_folder_marker(name: str, size: int) -> bool:
    """Web consoles make a "folder" by an empty object whose name ends with a slash."""
    return size == 0 and (name == "" or name.endswith("/"))


def _occupied(bucket: Bucket, example: str) -> RunFailureError:
    where = f"{bucket.location.endpoint}/{bucket.location.bucket}/{bucket.location.prefix}".rstrip("/")
    if example.startswith(("data/", "index/", "snapshots/", "locks/")):
        what = (
            f"holds a repository without its config (there is '{example}'): nothing is initialised over it. "
            "Restore the object 'config' from the bucket's versions or a copy, or give an empty place in "
            "spec.prefix."
        )
    else:
        what = (
            f"holds something that is no repository (for example '{example}'): give an empty place in "
            "spec.prefix."
        )
    return RunFailureError(Reason.REPOSITORY_FAILED, f"The place {where} {what}")
