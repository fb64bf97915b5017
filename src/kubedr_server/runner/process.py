"""Runs the programs that do the work: nothing inherited that was not meant, nothing left behind.

A child gets exactly the environment it is given: a stray AWS_PROFILE or MINIO_ROOT_USER of the pod must
not decide which keys restic uses. It stays in the runner's process group, so that whoever ends that
group (a container runtime, a terminal, the local executor) ends the child with it; when the runner itself
stops early, it ends the child, politely first: restic removes its lock on SIGINT.
"""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kubedr_server.api.conditions import Reason
from kubedr_server.runner.failure import RunFailureError

_CHUNK = 64 * 1024
_MAX_LINE = 1024 * 1024
MAX_CAPTURE = 4 * 1024 * 1024
_GRACE_SECONDS = 15.0

OnLine = Callable[[str], None]
OnStop = Callable[["asyncio.Future[int]"], Awaitable[None]]


@dataclass(frozen=True)
class Finished:
    """A program that has ended by itself. Of a long output only the end is kept (`MAX_CAPTURE`)."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def last_words(self) -> str:
        """The last line that is not blank of standard error, or else of standard output."""
        for text in (self.stderr, self.stdout):
            lines = [line for line in text.splitlines() if line.strip()]
            if lines:
                return lines[-1].strip()
        return f"exit code {self.returncode}"


async def run(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    on_stdout: OnLine | None = None,
    on_stderr: OnLine | None = None,
    on_stop: OnStop | None = None,
    grace_seconds: float = _GRACE_SECONDS,
    capture_bytes: int = MAX_CAPTURE,
) -> Finished:
    """Run a program to its end; any exit code is returned.

    `on_stdout` and `on_stderr` see each line as it comes and may raise: the program is then ended, and the
    exception is the caller's. The same happens when the caller is cancelled. A program is ended with
    SIGINT, and with SIGKILL `grace_seconds` later. `on_stop` is awaited after SIGINT, with what is done when
    the program has ended, to let go a program that waits for something. Of standard output the last
    `capture_bytes` are kept. Raises RunFailureError (ProgramMissing) if it does not start.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=dict(env),
            cwd=cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise RunFailureError(
            Reason.PROGRAM_MISSING, f"The program {argv[0]} does not start: {error.strerror}."
        ) from error
    if process.stdout is None or process.stderr is None:
        raise RuntimeError("asyncio gave no pipe that it was asked for")
    readers = [
        asyncio.create_task(_read(process.stdout, on_stdout, capture_bytes)),
        asyncio.create_task(_read(process.stderr, on_stderr, MAX_CAPTURE)),
    ]
    try:
        stdout, stderr = await asyncio.gather(*readers)
        returncode = await process.wait()
    finally:
        try:
            await _end(process, grace_seconds, on_stop)
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
    return Finished(returncode, stdout, stderr)


async def _end(process: asyncio.subprocess.Process, grace_seconds: float, on_stop: OnStop | None) -> None:
    if process.returncode is not None:
        return
    try:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        async with asyncio.timeout(grace_seconds):
            ending = asyncio.ensure_future(process.wait())
            if on_stop is not None:
                await on_stop(ending)
            await ending
    except TimeoutError:
        pass
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _read(stream: asyncio.StreamReader, on_line: OnLine | None, keep: int) -> str:
    """Read to the end, hand out whole lines, return the text (its end, if it is very long)."""
    kept = bytearray()
    pending = bytearray()
    while chunk := await stream.read(_CHUNK):
        kept += chunk
        del kept[:-keep]
        if on_line is None:
            continue
        pending += chunk
        *lines, rest = pending.split(b"\n")
        pending = bytearray(rest[-_MAX_LINE:])
        for line in lines:
            on_line(line.decode(errors="replace").rstrip("\r"))
    if pending and on_line is not None:
        on_line(pending.decode(errors="replace"))
    return kept.decode(errors="replace")
