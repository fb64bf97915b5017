"""Which programs there are, which versions are new enough, and how to find and ask them."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_VERSION_SECONDS = 30

Version = tuple[int, ...]


class ToolError(Exception):
    """A program cannot be had; the message says what to do."""


@dataclass(frozen=True)
class Program:
    """A program, the oldest version that will do, and what there is to know to ask for its version."""

    name: str
    minimum: Version
    why: str
    """What an older one lacks."""

    version_arguments: tuple[str, ...] = ("version",)
    version_pattern: str = r"(\d+(?:\.\d+)+)"

    @property
    def wanted(self) -> str:
        """Name and minimum, for people."""
        return f"{self.name} >= {version_text(self.minimum)}"


_ETCD: Version = (3, 5)
_ETCD_WHY = "etcdutl"
PROGRAMS = {
    program.name: program
    for program in (
        Program("etcd", _ETCD, _ETCD_WHY, ("--version",)),
        Program("etcdctl", _ETCD, _ETCD_WHY),
        Program("etcdutl", _ETCD, _ETCD_WHY),
        Program(
            "restic", (0, 18), "exit codes that tell a wrong password from a missing repository, and why"
        ),
        Program("kubectl", (1, 31), "what the documents use", ("version", "--client")),
        Program(
            "weed", (4, 0), "`weed mini`, a whole S3 server in one process", ("version",), r" (\d+\.\d+) "
        ),
        Program("helm", (3, 14), "what the chart uses", ("version", "--short")),
        Program("promtool", (2, 42), "`check rules` and `check metrics`", ("--version",)),
    )
}
USUAL = ("etcd", "etcdctl", "etcdutl", "restic", "kubectl", "weed")
"""What the demo needs."""


def version_of(program: Program, path: Path) -> Version:
    """Ask a program for its version; ToolError if it does not run or does not say."""
    argv = [str(path), *program.version_arguments]
    environment = {**os.environ, "LC_ALL": "C", "HOME": os.environ.get("HOME", "/nonexistent")}
    try:
        done = subprocess.run(
            argv,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION_SECONDS,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{path} does not run: {error}") from error
    found = re.search(program.version_pattern, done.stdout + done.stderr)
    if done.returncode != 0 or found is None:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["it says nothing"]
        raise ToolError(f"{path} does not tell its version (exit code {done.returncode}): {last[0]}")
    return tuple(int(part) for part in found.group(1).split("."))


def version_text(version: Version) -> str:
    """Return a version as it is written."""
    return ".".join(str(part) for part in version)


def on_path(program: Program) -> tuple[Path, Version] | None:
    """Return the program on PATH and its version, if it is new enough."""
    found = shutil.which(program.name)
    if found is None:
        return None
    try:
        version = version_of(program, Path(found))
    except ToolError:
        return None
    return (Path(found), version) if version >= program.minimum else None


def locate(name: str, directory: Path) -> Path:
    """Return an installed program's path: from the tools' directory, else from PATH; ToolError if missing."""
    installed = directory / "bin" / name
    if os.access(installed, os.X_OK):
        return installed.absolute()
    found = on_path(PROGRAMS[name])
    if found is None:
        raise ToolError(
            f"{PROGRAMS[name].wanted} is neither in {directory}/bin nor on PATH: run `make tools`"
        )
    return found[0].absolute()
