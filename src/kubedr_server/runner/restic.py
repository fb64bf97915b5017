"""restic, one method for each thing it is asked to do.

Secrets reach it through files only: the password's own mounted file, and the S3 keys in a credentials file
that exists as long as this object is entered. Its environment holds nothing else of the pod's, because
restic's S3 client also takes keys from AWS_* and MINIO_* variables.

There is a cache, in the run's scratch directory: it is as large as the repository's index and snapshot
files, and spares fetching these for each of a run's four or five commands. It ends with the run.
"""

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from kubedr_server.api.conditions import Reason
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.log import Log, size
from kubedr_server.runner.process import Finished, run
from kubedr_server.runner.programs import Program
from kubedr_server.runner.restic_errors import RetryWatch, ended
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
from kubedr_server.runner.s3 import DEFAULT_REGION, parse_location
from kubedr_server.runner.settings import RepositorySettings

_PROGRESS_PER_SECOND = "0.2"
_LOCK_PATIENCE = "2m"
_INCOMPLETE = 3
_SNAPSHOTS = TypeAdapter(list[Snapshot] | None)


class Restic:
    """A repository, opened by restic anew for each command. `directory` is private and on scratch space."""

    def __init__(
        self,
        program: Program,
        settings: RepositorySettings,
        directory: Path,
        search_path: str,
        log: Log,
        monotonic: Callable[[], float],
    ) -> None:
        self._program = program
        self._settings = settings
        self._directory = directory
        self._search_path = search_path
        self._log = log
        self._monotonic = monotonic
        self._credentials = directory / "s3-credentials"
        location = parse_location(settings.url)
        self._endpoint = location.endpoint if location else settings.url
        self._bucket = location.bucket if location else ""

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._write_credentials)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._credentials.unlink(missing_ok=True)

    async def repository_id(self) -> str:
        """Return the repository's id; fails if it does not exist or the password is wrong."""
        finished = await self._checked("cat", "config", "--no-lock")
        return str(_json_object(finished)["id"])

    async def init(self) -> None:
        """Make a repository (and the bucket, if it does not exist)."""
        await self._checked("init", "--json")

    async def backup(self, directory: Path, host: str, tags: Sequence[str]) -> BackupSummary:
        """Store a directory's content as a snapshot's root.

        Anything but a complete backup is a failure, and an incomplete snapshot is forgotten again: nobody may
        take it for a good one.
        """
        summary: BackupSummary | None = None

        def on_stdout(line: str) -> None:
            nonlocal summary
            message = parse(line)
            if message.get("message_type") == "status":
                self._report("stored", BackupStatus.model_validate(message))
            elif message.get("message_type") == "error":
                self._log.caution(f"restic: {line[:500]}")
            else:
                summary = summary_of(BackupSummary, message) or summary

        finished = await self._run(
            "backup",
            "--json",
            f"--retry-lock={_LOCK_PATIENCE}",
            f"--host={host}",
            # The paths in scratch differ from run to run: the host is enough to find the last snapshot.
            "--group-by=host",
            *(f"--tag={tag}" for tag in tags),
            ".",
            cwd=directory,
            on_stdout=on_stdout,
        )
        if finished.returncode == _INCOMPLETE:
            if summary is not None and summary.snapshot_id:
                await self.forget(summary.snapshot_id)
            raise RunFailureError(
                Reason.BACKUP_INCOMPLETE,
                f"restic could not read all files, so nothing is kept: {exit_error(finished.stderr)[:500]}",
            )
        self._check(finished)
        if summary is None or not summary.snapshot_id:
            raise RunFailureError(
                Reason.REPOSITORY_FAILED,
                f"{self._program} ended with success and told no snapshot: is this version known to work?",
            )
        return summary

    async def snapshots(self, *tags: str) -> list[Snapshot]:
        """Return the snapshots that have all of the tags."""
        finished = await self._checked("snapshots", "--json", "--no-lock", f"--tag={','.join(tags)}")
        try:
            return _SNAPSHOTS.validate_json(finished.stdout or "null") or []
        except ValidationError as error:
            raise self._unreadable("snapshots") from error

    async def snapshot_ids(self) -> list[str]:
        """Return all snapshots' ids, in full."""
        finished = await self._checked("list", "snapshots", "--no-lock", "--quiet")
        return finished.stdout.split()

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
            await self._checked("ls", "--json", "--no-lock", snapshot_id, on_stdout=on_stdout)
        except ValidationError as error:
            raise self._unreadable("ls") from error
        if snapshot is None or snapshot.id != snapshot_id:
            raise self._unreadable("ls")
        return snapshot, nodes

    async def restore(self, snapshot_id: str, target: Path) -> RestoreSummary:
        """Write a snapshot's files into a directory and read them back."""
        summary: RestoreSummary | None = None

        def on_stdout(line: str) -> None:
            nonlocal summary
            message = parse(line)
            if message.get("message_type") == "status":
                self._report("restored", BackupStatus.model_validate(message))
            elif message.get("message_type") == "error":
                self._log.caution(f"restic: {line[:500]}")
            else:
                summary = summary_of(RestoreSummary, message) or summary

        await self._checked(
            "restore",
            "--json",
            "--verify",
            f"--retry-lock={_LOCK_PATIENCE}",
            f"--target={target}",
            snapshot_id,
            on_stdout=on_stdout,
        )
        if summary is None:
            raise self._unreadable("restore")
        return summary

    async def forget(self, snapshot_id: str) -> None:
        """Remove one snapshot, by its full id. Its data stay until the repository is pruned."""
        await self._checked("forget", "--json", f"--retry-lock={_LOCK_PATIENCE}", snapshot_id)

    async def _checked(self, *arguments: str, **options: Any) -> Finished:
        finished = await self._run(*arguments, **options)
        self._check(finished)
        return finished

    def _check(self, finished: Finished) -> None:
        if finished.returncode != 0:
            message = exit_error(finished.stderr)
            raise ended(finished.returncode, message, self._endpoint, self._bucket, self._settings.url)

    async def _run(
        self, *arguments: str, cwd: Path | None = None, on_stdout: Callable[[str], None] | None = None
    ) -> Finished:
        return await run(
            [self._program.path, *self._global_options(), *arguments],
            env=self._environment(),
            cwd=cwd or self._directory,
            on_stdout=on_stdout,
            on_stderr=RetryWatch(self._endpoint, self._bucket, self._log, self._monotonic),
        )

    def _global_options(self) -> list[str]:
        options = [f"--cache-dir={self._directory / 'cache'}", "--cleanup-cache"]
        if self._bucket:
            options += ["-o", "s3.bucket-lookup=path"]
            if self._settings.region is not None:
                options += ["-o", f"s3.region={self._settings.region}"]
        if self._settings.ca_file is not None:
            options.append(f"--cacert={self._settings.ca_file}")
        if self._settings.insecure:
            options.append("--insecure-tls")
        return options

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": self._search_path,
            "HOME": str(self._directory),
            "TMPDIR": str(self._directory),
            "AWS_SHARED_CREDENTIALS_FILE": str(self._credentials),
            "AWS_DEFAULT_REGION": self._settings.region or DEFAULT_REGION,
            # No way back to a machine's own identity when the keys are refused.
            "AWS_EC2_METADATA_DISABLED": "true",
            "RESTIC_REPOSITORY": self._settings.url,
            "RESTIC_PASSWORD_FILE": str(self._settings.password_file),
            "RESTIC_PROGRESS_FPS": _PROGRESS_PER_SECOND,
        }

    def _write_credentials(self) -> None:
        keys = self._settings.keys
        text = (
            "[default]\n"
            f"aws_access_key_id = {_quoted(keys.access_key)}\n"
            f"aws_secret_access_key = {_quoted(keys.secret_key)}\n"
        )
        self._credentials.unlink(missing_ok=True)
        descriptor = os.open(self._credentials, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)

    def _report(self, verb: str, status: BackupStatus) -> None:
        if status.total_bytes:
            done = status.bytes_done or status.bytes_restored
            self._log.tell(f"{verb} {status.percent_done:.0%} ({size(done)} of {size(status.total_bytes)})")

    def _unreadable(self, command: str) -> RunFailureError:
        return RunFailureError(
            Reason.REPOSITORY_FAILED,
            f"What {self._program} printed for '{command}' could not be understood: "
            "is this version known to work?",
        )


def _quoted(value: str) -> str:
    """Quote a value for restic's INI reader, which else takes `#`, `;` and quotes for its own."""
    if "`" not in value:
        return f"`{value}`"
    if '"""' not in value:
        return f'"""{value}"""'
    raise RunFailureError(
        Reason.WRONG_S3_CREDENTIALS,
        "A key with both a backtick and three double quotes in it cannot be given to restic: make other "
        "S3 keys.",
    )


def _json_object(finished: Finished) -> dict[str, Any]:
    try:
        value = json.loads(finished.stdout)
    except ValueError:
        value = None
    if not isinstance(value, dict) or "id" not in value:
        raise RunFailureError(Reason.REPOSITORY_FAILED, "restic printed no repository id.")
    return value
