"""Runs a part of the runner for a person at a terminal: no pod, no cluster, no environment of settings."""

import asyncio
import re
import signal
import tempfile
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO, TypeVar

import click

from kubedr_server.api.conditions import Reason
from kubedr_server.cli.recover_access import Access
from kubedr_server.contract import EXIT_CODES
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.log import Log, one_line
from kubedr_server.runner.run import Run, remove_tree
from kubedr_server.runner.settings import RepositorySettings, RunSettings

_R = TypeVar("_R")
Work = Callable[[RepositorySettings, RunSettings, Run], Coroutine[Any, Any, _R]]

_PROGRESS = re.compile(r"(?:re)?stored \d+% ")
_CLEAR_LINE: Final = "\r\x1b[K"

REMEDIES: Final[dict[Reason, str]] = {
    Reason.WRONG_S3_CREDENTIALS: "The keys are what is in --access-key-file and --secret-key-file.",
    Reason.S3_ACCESS_DENIED: (
        "Listing takes s3:ListBucket and s3:GetObject; fetching also s3:PutObject and s3:DeleteObject "
        "below locks/."
    ),
    Reason.BUCKET_NOT_FOUND: "The place is --repository: s3:<url>/<bucketName>[/<prefix>].",
    Reason.STORAGE_UNREACHABLE: "The place is --repository: s3:<url>/<bucketName>[/<prefix>].",
    Reason.STORAGE_TLS_FAILED: "The authority's certificate is named by --ca-file.",
    Reason.WRONG_REPOSITORY_PASSWORD: "The password is what is in --password-file.",
    Reason.REPOSITORY_NOT_FOUND: "The place is --repository: s3:<url>/<bucketName>[/<prefix>].",
    Reason.REPOSITORY_LOCKED: (
        "If the cluster that held the lock is gone for good, 'restic unlock --remove-all' removes it now."
    ),
    Reason.SNAPSHOT_NOT_FOUND: "See what there is with: kubedr recover list",
    Reason.SNAPSHOT_CORRUPT: "Nothing was written to --to. Fetch another snapshot: kubedr recover list",
    Reason.TARGET_NOT_EMPTY: "Give another directory with --to; it is made if it does not exist.",
    Reason.DISK_FULL: "The files go to --to, and restic's cache to $TMPDIR.",
}
"""What to do here, where the runner's own sentence speaks of Secrets and of a BackupLocation's fields."""


class TerminalLog(Log):
    """The runner's log for a person. On a terminal, progress is one line that changes."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream, _utc_now)
        self._terminal = stream.isatty()
        self._transient = False

    def tell(self, message: str) -> None:
        """Write what happens."""
        self._line(message, transient=self._terminal and _PROGRESS.match(message) is not None)

    def caution(self, message: str) -> None:
        """Write what someone should look at, though the run goes on."""
        self._line(f"Warning: {message}")

    def fail(self, message: str) -> None:
        """Write why the run ends."""
        self._line(f"Error: {message}")

    def _line(self, message: str, *, transient: bool = False) -> None:
        before = _CLEAR_LINE if self._transient else ""
        self._stream.write(f"{before}{one_line(message)}{'' if transient else chr(10)}")
        self._stream.flush()
        self._transient = transient


def run(access: Access, stream: TextIO, work: Work[_R]) -> _R:
    """Do `work` with a scratch directory of its own, and return its result.

    A failure is told, with what to do, and ends the process with the runner's exit code for it. Raises
    click.UsageError for a setting that is missing.
    """
    log = TerminalLog(stream)
    # Secrets that were typed and restic's cache are in it, and go with it.
    scratch = Path(tempfile.mkdtemp(prefix="kubedr-recover-"))
    try:
        # Before the event loop begins: Ctrl-C at a prompt has to end it.
        repository = access.settings(scratch)
        settings = RunSettings(
            run_id=scratch.name,
            scratch=scratch,
            deadline_seconds=float("inf"),
            cluster_id="",
            search_path=access.search_path,
        )
        return asyncio.run(_until_stopped(work(repository, settings, Run(log))))
    except RunFailureError as failure:
        log.fail(failure.message)
        if failure.reason in REMEDIES:
            log.tell(REMEDIES[failure.reason])
        code = EXIT_CODES[failure.reason]
    except asyncio.CancelledError:
        log.fail("Stopped before it was done. Nothing half is left behind.")
        code = EXIT_CODES[Reason.CANCELLED]
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        log.fail(f"The system refused an operation: {error.strerror or error}{where}.")
        code = EXIT_CODES[Reason.INTERNAL_ERROR]
    finally:
        remove_tree(scratch)
    raise click.exceptions.Exit(code)


async def _until_stopped(work: Coroutine[Any, Any, _R]) -> _R:
    """Do the work; SIGINT and SIGTERM cancel it once, so that its clean-up is not interrupted."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    stopped = False

    def stop() -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            task.cancel()

    handled = (signal.SIGTERM, signal.SIGINT)
    for number in handled:
        loop.add_signal_handler(number, stop)
    try:
        return await task
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


def _utc_now() -> datetime:
    return datetime.now(UTC)
