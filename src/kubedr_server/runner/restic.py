"""restic, one method for each thing it is asked to do; each takes a second to open the repository anew."""

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from kubedr_server.api.conditions import Reason
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.gate import Gate
from kubedr_server.runner.log import size
from kubedr_server.runner.process import Finished
from kubedr_server.runner.restic_call import ResticCall
from kubedr_server.runner.restic_messages import (
    BackupStatus,
    BackupSummary,
    Node,
    RestoreSummary,
    Snapshot,
    exit_error,
    parse,
    summary_of,
)

LOCK_PATIENCE = "2m"
"""How long a command waits for another that holds the repository's lock."""

_MAX_LIST_BYTES = 128 * 1024 * 1024
"""For the list of snapshots, which is one piece: there can be tens of thousands, of 1 to 2 KB."""

_INCOMPLETE = 3
_MOST_PROCESSORS = 2
"""With each one more, restic holds 15 MB more memory at its peak."""

_SNAPSHOTS = TypeAdapter(list[Snapshot] | None)


class Restic(ResticCall):
    """What backups, restores and initialisations need; see restic_upkeep for the rest."""

    async def repository_id(self, key: str | None = None) -> str:
        """Return the repository's id; fails if it does not exist or the password is wrong.

        `key` names the key that is tried first.
        """
        hint = [f"--key-hint={key}"] if key else []
        finished = await self.checked("cat", "config", "--no-lock", *hint)
        return str(_json_object(finished)["id"])

    def opened_id(self) -> str | None:
        """Return the id of the repository that a command has opened: restic's cache is named by it."""
        found = [each.name for each in self.cache.glob("*") if re.fullmatch(r"[0-9a-f]{64}", each.name)]
        return found[0] if len(found) == 1 else None

    async def init(self) -> None:
        """Make a repository (and the bucket, if it does not exist)."""
        await self.checked("init", "--json")

    async def backup(
        self,
        directory: Path,
        host: str,
        tags: Sequence[str],
        *,
        total: int,
        compare: bool,
        last: str,
        prove: Callable[[], Awaitable[None]],
    ) -> BackupSummary:
        """Store a directory's content, `total` bytes, as a snapshot's root.

        `last` names the directory in it that is read when `prove` has ended, and without which there is no
        snapshot. A failure of `prove` is raised, and there is none then. `compare` is for few files: restic
        looks at what the last snapshot had of each, which takes longer than to look for its content.

        Anything but a complete backup is a failure, and an incomplete snapshot is forgotten again: nobody may
        take it for a good one.
        """
        summary: BackupSummary | None = None

        def on_stdout(line: str) -> None:
            nonlocal summary
            message = parse(line)
            if message.get("message_type") == "status":
                self._report("stored", BackupStatus.model_validate(message).bytes_done, total)
            elif message.get("message_type") == "error":
                self.log.caution(f"restic: {line[:500]}")
            else:
                summary = summary_of(BackupSummary, message) or summary

        gate = await asyncio.to_thread(Gate, directory / last)
        calling = asyncio.ensure_future(
            self.call(
                "backup",
                "--json",
                f"--retry-lock={LOCK_PATIENCE}",
                f"--host={host}",
                # The paths in scratch differ from run to run: the host is enough to find the last snapshot.
                *(["--group-by=host"] if compare else ["--force"]),
                # Only for the percentage in the progress, which is known without walking the files twice.
                "--no-scan",
                *Gate.OPTIONS,
                *(f"--tag={tag}" for tag in tags),
                ".",
                cwd=directory,
                on_stdout=on_stdout,
                on_stop=gate.refuse,
                processors=_processors(),
            )
        )
        proving = asyncio.ensure_future(prove())
        try:
            await asyncio.wait({calling, proving}, return_when=asyncio.FIRST_COMPLETED)
            if not calling.done():
                await proving
            has_waited = await gate.open(calling)
            finished = await calling
        finally:
            # Stopped early, restic stores what nobody wants any more.
            for task in (calling, proving):
                task.cancel()
            await asyncio.gather(calling, proving, return_exceptions=True)
            gate.remove()
        is_proven = has_waited and finished.returncode != _INCOMPLETE
        if summary is not None and summary.snapshot_id and not is_proven:
            await self.forget(summary.snapshot_id)
        if finished.returncode == _INCOMPLETE:
            raise RunFailureError(
                Reason.BACKUP_INCOMPLETE,
                f"restic could not read all files, so nothing is kept: {exit_error(finished.stderr)[:500]}",
            )
        self.check_end(finished)
        if not has_waited:
            raise RunFailureError(
                Reason.REPOSITORY_FAILED,
                f"{self.program} did not wait for the proof, so nothing is kept: is this version known to "
                "work?",
            )
        if summary is None or not summary.snapshot_id:
            raise RunFailureError(
                Reason.REPOSITORY_FAILED,
                f"{self.program} ended with success and told no snapshot: is this version known to work?",
            )
        return summary

    async def snapshots(self, *tags: str) -> list[Snapshot]:
        """Return the snapshots that have all of the tags."""
        finished = await self.checked(
            "snapshots", "--json", "--no-lock", f"--tag={','.join(tags)}", capture_bytes=_MAX_LIST_BYTES
        )
        try:
            return _SNAPSHOTS.validate_json(finished.stdout or "null") or []
        except ValidationError as error:
            raise self.unreadable("snapshots") from error

    async def snapshot_ids(self) -> list[str]:
        """Return all snapshots' ids, in full."""
        finished = await self.checked("list", "snapshots", "--no-lock", "--quiet")
        return finished.stdout.split()

    async def read_back(self, snapshot_id: str) -> None:
        """Read one snapshot from the storage and not from the cache; restic compares it with its id."""
        await self.checked("cat", "snapshot", "--no-lock", "--no-cache", snapshot_id)

    async def list_files(self, snapshot_id: str) -> tuple[Snapshot, list[Node]]:
        """Return a snapshot and all that is in it. `snapshot_id` is the full id."""
        snapshot: Snapshot | None = None
        nodes: list[Node] = []

        def on_stdout(line: str) -> None:
            nonlocal snapshot
            message = parse(line)
            kind = message.get("message_type") or message.get("struct_type")
            if kind == "snapshot":
                snapshot = Snapshot.model_validate(message)
            elif kind == "node":
                nodes.append(Node.model_validate(message))

        try:
            await self.checked("ls", "--json", "--no-lock", snapshot_id, on_stdout=on_stdout)
        except ValidationError as error:
            raise self.unreadable("ls") from error
        if snapshot is None or snapshot.id != snapshot_id:
            raise self.unreadable("ls")
        return snapshot, nodes

    async def restore(self, snapshot_id: str, target: Path) -> RestoreSummary:
        """Write a snapshot's files into a directory and read them back."""
        summary: RestoreSummary | None = None

        def on_stdout(line: str) -> None:
            nonlocal summary
            message = parse(line)
            if message.get("message_type") == "status":
                status = BackupStatus.model_validate(message)
                self._report("restored", status.bytes_restored, status.total_bytes)
            elif message.get("message_type") == "error":
                self.log.caution(f"restic: {line[:500]}")
            else:
                summary = summary_of(RestoreSummary, message) or summary

        await self.checked(
            "restore",
            "--json",
            "--verify",
            f"--retry-lock={LOCK_PATIENCE}",
            f"--target={target}",
            snapshot_id,
            on_stdout=on_stdout,
        )
        if summary is None:
            raise self.unreadable("restore")
        return summary

    async def forget(self, snapshot_id: str) -> None:
        """Remove one snapshot, by its full id. Its data stay until the repository is pruned."""
        await self.checked("forget", "--json", f"--retry-lock={LOCK_PATIENCE}", snapshot_id)

    def _report(self, verb: str, done: int, total: int) -> None:
        if total:
            self.log.tell(f"{verb} {done / total:.0%} ({size(done)} of {size(total)})")


def _processors() -> int:
    """Return how many processors restic may use beside the proof, on a node that has other work to do."""
    return max(1, min(_MOST_PROCESSORS, len(os.sched_getaffinity(0)) // 2))


def _json_object(finished: Finished) -> dict[str, Any]:
    try:
        value = json.loads(finished.stdout)
    except ValueError:
        value = None
    if not isinstance(value, dict) or "id" not in value:
        raise RunFailureError(Reason.REPOSITORY_FAILED, "restic printed no repository id.")
    return value
