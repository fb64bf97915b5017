"""What the upkeep of a repository asks of restic: its size and locks, a check, a prune."""

import json
import re
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from kubedr_server.api.conditions import Reason
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.log import one_line
from kubedr_server.runner.process import Finished
from kubedr_server.runner.restic import LOCK_PATIENCE, Restic
from kubedr_server.runner.restic_errors import diagnose

RESTIC_MAX_PARTS = 256
"""restic tells packs apart by the first byte of their names."""

_FAILED = 1
_PACK = re.compile(r"\bpack:? ([0-9a-f]{64})\b|^\s+([0-9a-f]{64})$", re.MULTILINE)
_ADVICE = re.compile(
    r"^(The repository (?:is damaged|contains damaged)|restic repair|Damaged pack files can be|Fatal: |\s*$)"
)
_PRUNE_NEEDS_REPAIR = re.compile(
    r"packs from index missing|data seems to be missing|blobs? (?:is|are) missing"
)
_TOTAL_PRUNED = re.compile(r"^total prune: +\d+ blobs / ([0-9.]+) (B|KiB|MiB|GiB|TiB)$", re.MULTILINE)
_UNLOCKED = re.compile(r"removed (\d+) locks?")
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


@dataclass(frozen=True)
class Damage:
    """What a check found: restic's sentences, and the packs that they name."""

    errors: tuple[str, ...]
    packs: tuple[str, ...]


class Lock(BaseModel):
    """A lock as restic stores it. `time` is by the clock of the machine that holds it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    time: datetime
    exclusive: bool = False
    hostname: str = ""


async def stored_size(restic: Restic) -> int:
    """Return the bytes of all snapshots' data in the repository, where its files cannot be listed."""
    finished = await restic.checked("stats", "--json", "--no-lock", "--mode=raw-data")
    try:
        return int(json.loads(finished.stdout)["total_size"])
    except (ValueError, KeyError, TypeError) as error:
        raise restic.unreadable("stats") from error


async def locks(restic: Restic, limit: int) -> tuple[int, list[Lock]]:
    """Return how many locks there are, and the first `limit` of them; one that is just going is left out."""
    finished = await restic.checked("list", "locks", "--no-lock", "--quiet")
    ids = finished.stdout.split()
    found = []
    for lock_id in ids[:limit]:
        shown = await restic.call("cat", "lock", lock_id, "--no-lock")
        if shown.returncode == 0:
            try:
                found.append(Lock.model_validate_json(shown.stdout))
            except ValidationError as error:
                raise restic.unreadable("cat lock") from error
    return len(ids), found


async def unlock(restic: Restic) -> int:
    """Remove the locks that restic takes for stale; return how many. leftovers says when to ask for it."""
    finished = await restic.checked("unlock")
    match = _UNLOCKED.search(finished.stdout)
    return int(match[1]) if match else 0


async def check(restic: Restic, part: int, parts: int, *, locked: bool) -> Damage | None:
    """Check the repository's structure, and read one part of its data; None if there is no fault.

    Without `locked`, backups go on meanwhile, and what another process removes can look like a fault.
    """
    finished = await restic.call(
        "check",
        f"--read-data-subset={part}/{parts}",
        *([f"--retry-lock={LOCK_PATIENCE}"] if locked else ["--no-lock"]),
        on_stdout=_Progress(restic),
    )
    if finished.returncode != _FAILED:
        restic.check_end(finished)
        return None
    text = finished.stderr
    trouble = diagnose(text, restic.endpoint, restic.bucket)
    if trouble is not None:
        raise trouble
    errors = tuple(_short(line) for line in text.splitlines() if not _ADVICE.match(line))
    if "repository contains errors" not in text or not errors:
        restic.check_end(finished)
    packs = dict.fromkeys(match[1] or match[2] for match in _PACK.finditer(text))
    return Damage(errors, tuple(packs))


async def prune(restic: Restic, patience: str = LOCK_PATIENCE) -> int:
    """Free the room of data that no snapshot needs; return about how many bytes.

    Waits as long as `patience` for other runs to end. RunFailureError: RepositoryLocked if they do not,
    RepositoryDamaged if something is missing that snapshots need: nothing is freed then.
    """
    finished = await restic.call("prune", f"--retry-lock={patience}", on_stdout=_Progress(restic))
    if finished.returncode == _FAILED and _PRUNE_NEEDS_REPAIR.search(finished.stderr):
        packs = tuple(match[1] or match[2] for match in _PACK.finditer(finished.stderr))
        raise damaged(restic, Damage((_first_line(finished),), packs), "Nothing was freed. ")
    restic.check_end(finished)
    match = _TOTAL_PRUNED.search(finished.stdout)
    if match is None:
        raise restic.unreadable("prune")
    return int(float(match[1]) * _UNITS[match[2]])


def damaged(restic: Restic, damage: Damage, more: str = "") -> RunFailureError:
    """Return the failure for a repository with a fault, and what to do about it."""
    faults = "1 fault" if len(damage.errors) == 1 else f"{len(damage.errors)} faults"
    first = damage.errors[0] if damage.errors else "no details"
    mend = "'restic repair snapshots --forget'"
    if damage.packs:
        few = " ".join(damage.packs[:3]) + (" …" if len(damage.packs) > 3 else "")
        mend = f"'restic repair packs {few}', then {mend}"
    return RunFailureError(
        Reason.REPOSITORY_DAMAGED,
        f"The repository {restic.settings.url} is damaged. restic tells {faults}, first: {first}. {more}"
        "Backups that need this data do not restore. Keep a copy of the bucket as it is; see all of it with "
        f"'restic check --read-data'; mend it with {mend}; then back up anew and check the newest backups "
        "first.",
    )


class _Progress:
    """Tells restic's own words on standard output in the pod's log, and each thing only once."""

    def __init__(self, restic: Restic) -> None:
        self._restic = restic
        self._last = ""

    def __call__(self, line: str) -> None:
        text = one_line(line)[:300]
        if text and text != self._last:
            self._last = text
            self._restic.log.tell(f"restic: {text}")


def _first_line(finished: Finished) -> str:
    return next((_short(line) for line in finished.stderr.splitlines() if line.strip()), "no details")


def _short(line: str) -> str:
    """Return a line of restic's with names shortened to eight digits, as restic itself often does."""
    return re.sub(r"\b([0-9a-f]{8})[0-9a-f]{56}\b", r"\1", one_line(line))[:400]
