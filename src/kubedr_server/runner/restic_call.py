"""How restic is called: its arguments, its environment, its secrets, and how its end is judged.

Secrets reach it through files, where restic can read them so: the password's own mounted file, and the S3
keys in a credentials file that exists as long as this object is entered. The credentials of other storage it
takes from its environment only; they are in that of no other process. Nothing else of the pod's environment
is passed on, because restic's S3 client also takes keys from AWS_* and MINIO_* variables, and a proxy from
HTTPS_PROXY.

There is a cache, in the run's scratch directory: it is as large as the repository's index and snapshot
files, and spares fetching these for each of a run's commands. It ends with the run.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kubedr_server.api.conditions import Reason
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.log import Log
from kubedr_server.runner.process import MAX_CAPTURE, Finished, OnStop, run
from kubedr_server.runner.programs import Program
from kubedr_server.runner.restic_errors import RetryWatch, ended
from kubedr_server.runner.restic_messages import exit_error
from kubedr_server.runner.s3 import DEFAULT_REGION, parse_location
from kubedr_server.runner.settings import RepositorySettings

_PROGRESS_PER_SECOND = "0.2"


class ResticCall:
    """restic and a repository. `directory` is private and on scratch space."""

    def __init__(
        self,
        program: Program,
        settings: RepositorySettings,
        directory: Path,
        search_path: str,
        log: Log,
        monotonic: Callable[[], float],
    ) -> None:
        self.program = program
        self.settings = settings
        self.log = log
        self._directory = directory
        self._search_path = search_path
        self._monotonic = monotonic
        self.cache = directory / "cache"
        self._credentials = directory / "s3-credentials"
        location = parse_location(settings.url)
        self.endpoint = location.endpoint if location else settings.url
        self.bucket = location.bucket if location else ""

    async def __aenter__(self) -> Self:
        if self.bucket:
            await asyncio.to_thread(self._write_credentials)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._credentials.unlink(missing_ok=True)

    async def checked(self, *arguments: str, **options: Any) -> Finished:
        """Run a command that has to end with exit code 0; RunFailureError says why it did not."""
        finished = await self.call(*arguments, **options)
        self.check_end(finished)
        return finished

    def check_end(self, finished: Finished) -> None:
        """Raise RunFailureError for any exit code but 0."""
        if finished.returncode != 0:
            message = exit_error(finished.stderr)
            raise ended(finished.returncode, message, self.endpoint, self.bucket, self.settings.url)

    async def call(
        self,
        *arguments: str,
        cwd: Path | None = None,
        on_stdout: Callable[[str], None] | None = None,
        on_stop: OnStop | None = None,
        capture_bytes: int = MAX_CAPTURE,
        processors: int | None = None,
    ) -> Finished:
        """Run a command to its end, unless its standard error says that there is no point in waiting.

        `processors` is how many it may use at a time.
        """
        environment = self._environment()
        if processors is not None:
            environment["GOMAXPROCS"] = str(processors)
        return await run(
            [self.program.path, *self._global_options(), *arguments],
            env=environment,
            cwd=cwd or self._directory,
            on_stdout=on_stdout,
            on_stop=on_stop,
            on_stderr=RetryWatch(self.endpoint, self.bucket, self.log, self._monotonic),
            capture_bytes=capture_bytes,
        )

    def unreadable(self, command: str) -> RunFailureError:
        """Return the failure for output that is not as it was when this was written."""
        return RunFailureError(
            Reason.REPOSITORY_FAILED,
            f"What {self.program} printed for '{command}' could not be understood: "
            "is this version known to work?",
        )

    def _global_options(self) -> list[str]:
        options = [f"--cache-dir={self.cache}", "--cleanup-cache"]
        if self.bucket:
            options += ["-o", "s3.bucket-lookup=path"]
            if self.settings.region is not None:
                options += ["-o", f"s3.region={self.settings.region}"]
        if self.settings.ca_file is not None:
            options.append(f"--cacert={self.settings.ca_file}")
        if self.settings.insecure:
            options.append("--insecure-tls")
        return options

    def _environment(self) -> dict[str, str]:
        environment = {
            "PATH": self._search_path,
            "HOME": str(self._directory),
            "TMPDIR": str(self._directory),
            "RESTIC_REPOSITORY": self.settings.url,
            "RESTIC_PASSWORD_FILE": str(self.settings.password_file),
            "RESTIC_PROGRESS_FPS": _PROGRESS_PER_SECOND,
        }
        if self.bucket:
            environment |= {
                "AWS_SHARED_CREDENTIALS_FILE": str(self._credentials),
                "AWS_DEFAULT_REGION": self.settings.region or DEFAULT_REGION,
                # No way back to a machine's own identity when the keys are refused.
                "AWS_EC2_METADATA_DISABLED": "true",
            }
        if self.settings.proxy is not None:
            environment |= {"HTTP_PROXY": self.settings.proxy, "HTTPS_PROXY": self.settings.proxy}
        return {**environment, **self.settings.variables}

    def _write_credentials(self) -> None:
        keys = self.settings.keys
        text = (
            "[default]\n"
            f"aws_access_key_id = {_quoted(keys.access_key)}\n"
            f"aws_secret_access_key = {_quoted(keys.secret_key)}\n"
        )
        self._credentials.unlink(missing_ok=True)
        descriptor = os.open(self._credentials, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)


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
