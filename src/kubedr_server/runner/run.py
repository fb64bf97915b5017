"""One run from start to its result: settings, deadline, signals, the exit code.

Every way out passes the same place, which writes the result document: success, a failure with a reason,
the deadline, a signal, a fault of the runner's own.
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import stat
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeVar

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import (
    EXIT_CODES,
    BackupResult,
    CheckResult,
    DrillResult,
    Env,
    HealthResult,
    Operation,
    PruneResult,
    RestoreResult,
    RunResult,
)
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.log import Log
from kubedr_server.runner.room import Room, disk_failure
from kubedr_server.runner.settings import RunSettings


class _Settings(Protocol):
    """What every operation's settings have."""

    @property
    def run(self) -> RunSettings: ...


_S = TypeVar("_S", bound=_Settings)


@dataclass
class Run:
    """What a sequence gathers on its way and what is told of it, whether it succeeds or not."""

    log: Log
    warnings: list[str] = field(default_factory=list)
    repository_id: str | None = None
    room: Room | None = None
    """What was asked for before the run began to write."""

    def require_room(self, directory: Path, needed: int, what_for: str) -> None:
        """Fail (DiskFull) if a directory's file system has less than `needed` bytes free."""
        room = Room(directory, needed)
        room.require(what_for)
        self.room = room

    def warn(self, message: str) -> None:
        """Tell of something that does not end the run: in the log and in the result."""
        self.log.caution(message)
        self.warnings.append(message)


@dataclass(frozen=True)
class Outcome:
    """What a sequence has done. `message` is one sentence."""

    message: str
    backup: BackupResult | None = None
    restore: RestoreResult | None = None
    health: HealthResult | None = None
    check: CheckResult | None = None
    prune: PruneResult | None = None
    drill: DrillResult | None = None
    created: bool | None = None
    """Of an initialisation: whether it made the repository, or found one."""


def execute(
    operation: Operation,
    read_settings: Callable[[Mapping[str, str]], _S],
    sequence: Callable[[_S, Run], Awaitable[Outcome]],
    environ: Mapping[str, str],
) -> int:
    """Run a sequence, write its result, return the exit code."""
    log = Log(sys.stderr, utc_now)
    result = asyncio.run(_run(operation, read_settings, sequence, environ, log))
    return 0 if result.succeeded else EXIT_CODES[result.reason]


@asynccontextmanager
async def scratch_directory(settings: RunSettings) -> AsyncIterator[Path]:
    """Give a private, empty directory on scratch space that is removed afterwards.

    It is named by the run: what the same run left when it was killed is removed first.
    """
    name = hashlib.sha256(settings.run_id.encode()).hexdigest()[:12]
    directory = settings.scratch / f"run-{name}"
    try:
        await asyncio.to_thread(_fresh, directory)
    except OSError as error:
        raise RunFailureError(
            Reason.SETTING_MISSING,
            f"The scratch directory {settings.scratch} cannot be used: {error.strerror}.",
        ) from error
    try:
        yield directory
    finally:
        await asyncio.to_thread(remove_tree, directory)


def remove_tree(directory: Path) -> None:
    """Remove a directory with all that is in it, copies of write-protected directories included."""
    if not directory.is_dir():
        return
    for folder, _, _ in os.walk(directory):
        Path(folder).chmod(0o700)
    shutil.rmtree(directory, ignore_errors=True)


def write_result(result: RunResult, path: str | None, log: Log) -> None:
    """Write the result document to a file, or to standard output if none is named."""
    document = result.to_termination_message()
    if not path:
        sys.stdout.write(document.decode() + "\n")
        sys.stdout.flush()
        return
    try:
        _write_whole(Path(path), document)
    except OSError as error:
        log.fail(f"The result cannot be written to {path}: {error.strerror}. It is: {document.decode()}")


async def _run(
    operation: Operation,
    read_settings: Callable[[Mapping[str, str]], _S],
    sequence: Callable[[_S, Run], Awaitable[Outcome]],
    environ: Mapping[str, str],
    log: Log,
) -> RunResult:
    started = utc_now()
    context = Run(log)
    outcome: Outcome | None = None
    reason = Reason.SUCCEEDED
    with _stopped_by_signals() as signals:
        try:
            settings = read_settings(environ)
            outcome = await _with_deadline(settings.run.deadline_seconds, sequence(settings, context))
            message = outcome.message
        except RunFailureError as failure:
            reason, message = _told(failure, context)
        except asyncio.CancelledError:
            reason = Reason.CANCELLED
            message = f"The run was stopped by {' and '.join(signals) or 'its caller'} before it was done."
        except OSError as error:
            reason, message = _told(disk_failure(error) or _refused(error), context)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run has to end with a result
            log.fail("".join(traceback.format_tb(error.__traceback__)[-3:]))
            reason = Reason.INTERNAL_ERROR
            message = (
                f"The runner failed by a fault of its own ({type(error).__name__}): please report its log."
            )
    if reason is Reason.SUCCEEDED:
        log.tell(message)
    else:
        log.fail(message)
    result = RunResult(
        operation=operation,
        outcome="Succeeded" if reason is Reason.SUCCEEDED else "Failed",
        reason=reason,
        message=message,
        run_id=environ.get(Env.RUN_ID, ""),
        start_time=started,
        completion_time=utc_now(),
        repository_id=context.repository_id,
        created=outcome.created if outcome else None,
        warnings=context.warnings,
        backup=outcome.backup if outcome else None,
        restore=outcome.restore if outcome else None,
        health=outcome.health if outcome else None,
        check=outcome.check if outcome else None,
        prune=outcome.prune if outcome else None,
        drill=outcome.drill if outcome else None,
    )
    # Before the event loop is closed: that waits for threads, such as one that still resolves a name.
    write_result(result, environ.get(Env.RESULT_PATH), log)
    return result


async def _with_deadline(seconds: float, work: Awaitable[Outcome]) -> Outcome:
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            return await work
    except TimeoutError:
        if not deadline.expired():
            raise
        raise RunFailureError(
            Reason.DEADLINE_EXCEEDED,
            f"The run was not done within its {seconds:g} seconds and was stopped: its log tells the step "
            "it was at. Look for what is slow there, or raise the deadline.",
        ) from None


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[list[str]]:
    """Let SIGTERM and SIGINT cancel the current task; gives the names of those that came.

    Only the first cancels: a second would interrupt the clean-up that the first began.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    received: list[str] = []

    def stop(number: signal.Signals) -> None:
        received.append(number.name)
        if len(received) == 1 and task is not None:
            task.cancel()

    handled = (signal.SIGTERM, signal.SIGINT)
    for number in handled:
        loop.add_signal_handler(number, stop, number)
    try:
        yield received
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


def _told(failure: RunFailureError, context: Run) -> tuple[Reason, str]:
    if failure.reason is Reason.DISK_FULL and context.room is not None:
        return failure.reason, f"{failure.message} {context.room.told()}"
    return failure.reason, failure.message


def _refused(error: OSError) -> RunFailureError:
    where = f" ({error.filename})" if error.filename else ""
    return RunFailureError(
        Reason.INTERNAL_ERROR, f"The system refused an operation: {error.strerror or error}{where}."
    )


def _fresh(directory: Path) -> None:
    remove_tree(directory)
    directory.mkdir(mode=0o700)


def _write_whole(path: Path, document: bytes) -> None:
    """Replace the file at once; in place where that cannot be, as a pod's /dev/termination-log."""
    if not path.exists() or stat.S_ISREG(path.stat().st_mode):
        temporary: str | None = None
        try:
            descriptor, temporary = tempfile.mkstemp(prefix=".kubedr-result-", dir=path.parent)
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), 0o644)
                file.write(document)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except OSError:
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)
        else:
            return
    with path.open("wb") as file:
        file.write(document)


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)
