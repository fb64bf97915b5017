"""`kubedr runner drill`: prove that a backup comes back, by bringing it back.

The backup is fetched and proven as for a restore, made into a data directory, and an etcd is started on it:
in the scratch directory, on Unix sockets that only this user can reach, because what it serves is the
cluster's secrets. What that etcd answers is compared with what the snapshot holds. Nothing of it is kept.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import RECOVERY_FOLDER, TAG_ETCD_VERSION, DrillResult
from kubedr_server.runner import programs
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.fetch import Fetched, fetch
from kubedr_server.runner.log import one_line
from kubedr_server.runner.process import Finished, run
from kubedr_server.runner.programs import Program
from kubedr_server.runner.recovery import BACKUP
from kubedr_server.runner.repository import open_repository
from kubedr_server.runner.run import Outcome, Run, scratch_directory
from kubedr_server.runner.settings import DrillSettings
from kubedr_server.snapshot.objects import DEFAULT_PREFIX, OTHER, take_inventory

_MARGIN_BYTES = 128 * 1024 * 1024
"""etcd's write-ahead log (64 MB, laid out at once), and restic's cache."""

_CLIENT = "unix://client:1"
_PEER = "unix://peer:1"
_NAME = "drill"
_START_SECONDS = 120.0
_POLL_SECONDS = 0.1
_PROBE_KEY = "kubedr-drill"
_COUNT = re.compile(r'^"Count" : ([0-9]+)$', re.MULTILINE)


async def drill(settings: DrillSettings, context: Run) -> Outcome:
    """Bring a backup back into a running etcd, and compare; RunFailureError (DrillFailed) if it differs."""
    etcd = await programs.find(programs.ETCD, settings.run.search_path)
    etcdctl = await programs.find(programs.ETCDCTL, settings.run.search_path)
    etcdutl = await programs.find(programs.ETCDUTL, settings.run.search_path)
    async with scratch_directory(settings.run) as directory:
        started = time.monotonic()
        async with open_repository(settings.repository, settings.run, context, directory) as restic:
            files = directory / "files"
            files.mkdir(mode=0o700)
            fetched = await fetch(
                restic,
                settings.snapshot_id,
                settings.repository.url,
                files,
                etcdutl,
                settings.run.search_path,
                context.log,
                # The files, and a database of the same size made of them.
                lambda needed, what: context.require_room(
                    settings.run.scratch, 2 * needed + _MARGIN_BYTES, what
                ),
            )
        place = directory / "etcd"
        place.mkdir(mode=0o700)
        member = _Member(etcd, etcdctl, etcdutl, place, settings.run.search_path)
        context.log.tell("Making a data directory of the snapshot")
        await member.restore(fetched.database)
        context.log.tell(f"Starting {etcd} on it; {_origin(fetched)}")
        async with member.running():
            await member.answer()
            seconds = round(time.monotonic() - started, 3)
            await _compare(fetched, files, member, context)
    proof = fetched.proof
    return Outcome(
        f"Brought back snapshot {fetched.snapshot.id[:8]} into a running etcd in {seconds:.1f} seconds: "
        f"revision {proof.revision} and all objects are as they were backed up.",
        drill=DrillResult(
            snapshot_id=fetched.snapshot.id,
            revision=proof.revision,
            total_keys=proof.total_keys,
            hash=proof.hash,
            recovery_duration_secs=seconds,
        ),
    )


async def _compare(fetched: Fetched, files: Path, member: "_Member", context: Run) -> None:
    """Compare what the etcd answers with what was recorded when it was backed up, and with the snapshot."""
    revision = await member.revision()
    if revision != fetched.proof.revision:
        raise _failed(f"the etcd is at revision {revision}, and the snapshot at {fetched.proof.revision}")
    recorded = await asyncio.to_thread(_recorded, files)
    objects = recorded.get("objects") or (await asyncio.to_thread(take_inventory, fetched.database)).resources
    total = await member.count("")
    if total != sum(objects.values()):
        raise _failed(f"the etcd holds {total} keys, and {sum(objects.values())} were backed up")
    for resource, expected in sorted(objects.items()):
        if resource in (OTHER, "services"):  # what is left of the total, and services hold the endpoints
            continue
        found = await member.count(_prefix(resource))
        if found != expected:
            raise _failed(f"the etcd holds {found} {resource}, and {expected} were backed up")
    await _compare_hash(recorded.get("hashKV"), member, context)
    kinds = len(objects)
    context.log.tell(f"It answers: revision {revision}, {total} objects of {kinds} resources, as backed up")
    await member.write()
    context.log.tell("It takes writes")


async def _compare_hash(recorded: dict[str, int] | None, member: "_Member", context: Run) -> None:
    """Compare etcd's own hash of all keys and their history with that of the member that was backed up."""
    if recorded is None:
        return
    own = await member.key_hash(recorded["revision"])
    if own[0] != recorded["compactRevision"]:
        # It covers what follows on the last compaction: they cannot be compared if one came in between.
        context.log.tell("Its HashKV is not compared: etcd was compacted while it was backed up")
    elif own[1] != recorded["hash"]:
        raise _failed(f"its HashKV is {own[1]}, and that of the member that was backed up {recorded['hash']}")
    else:
        context.log.tell(f"Its HashKV {own[1]} is that of the member that was backed up")


def _recorded(files: Path) -> dict[str, Any]:
    """Return what the backup recorded of itself; nothing if an older version made it."""
    path = files / RECOVERY_FOLDER / BACKUP
    if not path.is_file():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}


def _prefix(resource: str) -> str:
    return f"{DEFAULT_PREFIX}/{'services/endpoints' if resource == 'endpoints' else resource}/"


class _Member:
    """An etcd of one member in a directory of its own, reached by Unix sockets in it."""

    def __init__(
        self, etcd: Program, etcdctl: Program, etcdutl: Program, directory: Path, search_path: str
    ) -> None:
        self._etcd = etcd
        self._etcdctl = etcdctl
        self._etcdutl = etcdutl
        self._directory = directory
        self._env = {"PATH": search_path, "HOME": str(directory), "TMPDIR": str(directory)}
        self._data = directory / "data"
        self._server: asyncio.Task[Finished] | None = None

    async def restore(self, database: Path) -> None:
        """Make the data directory; etcdutl compares the snapshot with its trailer once more."""
        finished = await self._run(
            self._etcdutl.path,
            "snapshot",
            "restore",
            database,
            f"--data-dir={self._data}",
            f"--name={_NAME}",
            f"--initial-cluster={_NAME}={_PEER}",
            f"--initial-advertise-peer-urls={_PEER}",
        )
        if finished.returncode != 0:
            raise _failed(f"'etcdutl snapshot restore' refused it: {_why(finished)}")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run etcd as long as the block runs."""
        self._server = asyncio.create_task(
            self._run(
                self._etcd.path,
                f"--name={_NAME}",
                f"--data-dir={self._data}",
                f"--listen-client-urls={_CLIENT}",
                f"--advertise-client-urls={_CLIENT}",
                f"--listen-peer-urls={_PEER}",
                f"--initial-advertise-peer-urls={_PEER}",
                f"--initial-cluster={_NAME}={_PEER}",
                "--log-level=warn",
            ),
            name="etcd",
        )
        try:
            yield
        finally:
            self._server.cancel()
            await asyncio.gather(self._server, return_exceptions=True)

    async def answer(self) -> None:
        """Wait until etcd serves a linearizable read."""
        try:
            async with asyncio.timeout(_START_SECONDS):
                while True:
                    if self._server is not None and self._server.done():
                        raise _failed(f"{self._etcd} did not run on it: {_why(self._server.result())}")
                    finished = await self._ask("endpoint", "health")
                    if finished.returncode == 0:
                        return
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise _failed(f"etcd did not answer within {_START_SECONDS:.0f} seconds") from None

    async def revision(self) -> int:
        """Return the revision, by a linearizable read."""
        finished = await self._ask("get", _PROBE_KEY, "--consistency=l", "--write-out=json")
        try:
            return int(json.loads(finished.stdout)["header"]["revision"])
        except (ValueError, KeyError, TypeError):
            raise _failed(f"the etcd does not tell its revision: {_why(finished)}") from None

    async def count(self, prefix: str) -> int:
        """Return how many keys begin with a prefix."""
        finished = await self._ask("get", prefix, "--prefix", "--count-only", "--write-out=fields")
        found = _COUNT.search(finished.stdout)
        if finished.returncode != 0 or found is None:
            raise _failed(f"the etcd does not count its keys: {_why(finished)}")
        return int(found[1])

    async def key_hash(self, revision: int) -> tuple[int, int]:
        """Return the revision of the last compaction, and the hash of what follows on it up to a revision."""
        finished = await self._ask("endpoint", "hashkv", f"--rev={revision}", "--write-out=json")
        try:
            answer = json.loads(finished.stdout)[0]["HashKV"]
            return int(answer.get("compact_revision", 0)), int(answer.get("hash", 0))
        except (ValueError, KeyError, TypeError, IndexError):
            raise _failed(f"the etcd does not tell its HashKV: {_why(finished)}") from None

    async def write(self) -> None:
        """Put a key, and delete it."""
        for words in (("put", _PROBE_KEY, "drill"), ("del", _PROBE_KEY)):
            finished = await self._ask(*words)
            if finished.returncode != 0:
                raise _failed(f"the etcd takes no writes: {_why(finished)}")

    async def _ask(self, *words: str) -> Finished:
        return await self._run(self._etcdctl.path, f"--endpoints={_CLIENT}", *words)

    async def _run(self, *argv: str | Path) -> Finished:
        return await run(argv, env=self._env, cwd=self._directory)


def _origin(fetched: Fetched) -> str:
    """Say which etcd was backed up: that of the image, which a drill starts, may be of another release."""
    return f"it was backed up from etcd {one_line(fetched.snapshot.tag(TAG_ETCD_VERSION) or '(unknown)')}"


def _why(finished: Finished) -> str:
    return one_line(finished.last_words)[:300]


def _failed(what: str) -> RunFailureError:
    return RunFailureError(
        Reason.DRILL_FAILED,
        f"The backup was fetched whole, and does not come back: {what}. Do not count on this backup: make "
        "another one now, and look at the drill's log.",
    )
