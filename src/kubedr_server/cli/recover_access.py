"""Which repository `kubedr recover` reads, and the secrets to it: from files or a terminal, never arguments.

An argument is in every process list and in the shell's history. A variable names a file; only for storage
that is not S3 restic's own variables are taken as they are.
"""

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from kubedr_server.runner.backends import GOOGLE_CREDENTIALS, variables_of
from kubedr_server.runner.settings import RepositorySettings, StorageKeys

_FILE: Final = click.Path(path_type=Path)
_FOLDER: Final = click.Path(path_type=Path, file_okay=False, exists=True)
_PASSWORD_NAME: Final = "password"  # the name of a file


@dataclass(frozen=True)
class Access:
    """What was said on the command line about the repository. Secrets are only named by their files."""

    repository: str
    access_key_file: Path | None
    secret_key_file: Path | None
    password_file: Path | None
    ca_file: Path | None
    region: str | None
    proxy: str | None
    insecure: bool
    tools_dir: Path | None

    @property
    def search_path(self) -> str:
        """Where programs are looked for."""
        path = os.environ.get("PATH") or os.defpath
        return f"{self.tools_dir.absolute()}{os.pathsep}{path}" if self.tools_dir else path

    def settings(self, private: Path) -> RepositorySettings:
        """Return the repository's settings; what no file says is asked for at the terminal.

        `private` is a directory of this run's own, for a password that was typed. Raises click.UsageError
        for what is missing or cannot be used.
        """
        url = self.repository
        if url.startswith(("http://", "https://")):
            raise click.UsageError(f"--repository: '{url}' is a URL: for S3 write 's3:{url}'.")
        on_s3 = url.startswith("s3:")
        if ":" not in url:
            # A directory, such as a copy of the bucket: restic runs in another directory than this process.
            url = str(Path(url).absolute())
        keys = StorageKeys("", "")
        if on_s3 or self.access_key_file or self.secret_key_file:
            access_key = _secret(self.access_key_file, "--access-key-file", "Access key")
            secret_key = _secret(self.secret_key_file, "--secret-key-file", "Secret key")
            keys = StorageKeys(access_key, secret_key)
        return RepositorySettings(
            url=url,
            password_file=self._password(private),
            keys=keys,
            ca_file=_readable(self.ca_file, "--ca-file") if self.ca_file else None,
            insecure=self.insecure,
            region=self.region,
            proxy=self.proxy,
            variables=_variables(url),
        )

    def _password(self, private: Path) -> Path:
        """Return the file with the repository's password."""
        password = _secret(self.password_file, "--password-file", "Password of the repository")
        if self.password_file is not None:
            return self.password_file.absolute()
        path = private / _PASSWORD_NAME
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(password)
        return path


def repository_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of `Access`, and the Access as its first argument."""

    @functools.wraps(command)
    def with_access(**options: Any) -> Any:
        access = Access(**{name: options.pop(name) for name in Access.__dataclass_fields__})
        return command(access, **options)

    decorated: Callable[..., Any] = with_access
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


_OPTIONS: Final = (
    click.option(
        "--repository",
        required=True,
        envvar="RESTIC_REPOSITORY",
        show_envvar=True,
        help="The restic repository, as s3:<url>/<bucketName>[/<prefix>] of the BackupLocation.",
    ),
    click.option(
        "--access-key-file",
        type=_FILE,
        envvar="KUBEDR_ACCESS_KEY_FILE",
        show_envvar=True,
        help="The file with the storage's access key; asked for if not given.",
    ),
    click.option(
        "--secret-key-file",
        type=_FILE,
        envvar="KUBEDR_SECRET_KEY_FILE",
        show_envvar=True,
        help="The file with the storage's secret key; asked for if not given.",
    ),
    click.option(
        "--password-file",
        type=_FILE,
        envvar="RESTIC_PASSWORD_FILE",
        show_envvar=True,
        help="The file with the repository's password; asked for if not given.",
    ),
    click.option(
        "--ca-file",
        type=_FILE,
        envvar="RESTIC_CACERT",
        show_envvar=True,
        help="PEM certificates that the storage's certificate is checked with; the system's if not given.",
    ),
    click.option("--region", envvar="AWS_DEFAULT_REGION", show_envvar=True, help="The bucket's region."),
    click.option("--proxy", help="The HTTP proxy through which the storage is reached."),
    click.option(
        "--insecure-skip-tls-verify",
        "insecure",
        is_flag=True,
        help="Do not check the storage's certificate.",
    ),
    click.option(
        "--tools-dir",
        type=_FOLDER,
        envvar="KUBEDR_TOOLS_DIR",
        show_envvar=True,
        help="A directory with restic and etcdutl, looked at before $PATH.",
    ),
)


def _secret(path: Path | None, option: str, what: str) -> str:
    """Return a secret without the newline at its end, from its file or from the terminal."""
    if path is None:
        if not sys.stdin.isatty():
            raise click.UsageError(f"{what} is missing, and there is no terminal to ask at: give {option}.")
        return str(click.prompt(what, hide_input=True, err=True)).strip()
    try:
        value = _readable(path, option).read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise click.UsageError(f"{option}: {path} is not text.") from None
    if not value:
        raise click.UsageError(f"{option}: {path} is empty.")
    if "\n" in value:
        raise click.UsageError(f"{option}: {path} has more than one line: put only the secret into it.")
    return value


def _variables(url: str) -> dict[str, str]:
    """Return what restic itself reads from the environment for storage that is not S3."""
    found = {name: value for name in variables_of(url) if (value := os.environ.get(name))}
    if GOOGLE_CREDENTIALS in found:  # a file: restic runs in another directory than this process
        found[GOOGLE_CREDENTIALS] = str(Path(found[GOOGLE_CREDENTIALS]).absolute())
    return found


def _readable(path: Path, option: str) -> Path:
    try:
        with path.open("rb"):
            return path.absolute()
    except OSError as error:
        raise click.UsageError(f"{option}: {path} cannot be read: {error.strerror}.") from None
