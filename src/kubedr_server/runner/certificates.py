"""Copies the certificates directory beside the snapshot, as it is.

A link stays a link and is never followed: one that points outside could bring the pod's own mounted
Secrets, or any file of the node, into the backup. Whoever relies on such a link is told.
"""

import errno
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kubedr_server.api.conditions import Reason
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.log import one_line


@dataclass(frozen=True)
class Copied:
    """What was copied. `sizes` has each regular file, by its path below the copy."""

    sizes: dict[str, int]

    @property
    def files(self) -> int:
        """The number of regular files."""
        return len(self.sizes)


def total_size(source: Path) -> int:
    """Return the bytes in a directory's regular files; RunFailureError (CertificatesUnreadable)."""
    return sum(path.lstat().st_size for path in _walk(source) if stat.S_ISREG(path.lstat().st_mode))


def copy(source: Path, target: Path, warn: Callable[[str], None]) -> Copied:
    """Copy a directory's content to `target`, which must not exist, with permissions and times.

    RunFailureError (CertificatesUnreadable) if the directory is missing or empty, or a file cannot be read:
    a backup that silently lacks a private key is worth nothing on the day it is needed.
    """
    sizes: dict[str, int] = {}
    directories = [(source, target)]
    root = source.resolve()
    target.mkdir(mode=0o700)
    for path in _walk(source):
        copied = target / path.relative_to(source)
        mode = path.lstat().st_mode
        try:
            if stat.S_ISLNK(mode):
                _copy_link(path, copied, root, warn)
            elif stat.S_ISDIR(mode):
                copied.mkdir(mode=0o700)
                directories.append((path, copied))
            elif stat.S_ISREG(mode):
                shutil.copyfile(path, copied, follow_symlinks=False)
                _copy_attributes(path, copied)
                sizes[str(path.relative_to(source))] = copied.stat().st_size
            else:
                warn(f"{one_line(str(path))} is neither a file, a directory nor a link: it is not backed up.")
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise _unreadable(path, error) from error
    if not sizes:
        raise RunFailureError(
            Reason.CERTIFICATES_UNREADABLE,
            f"There is no file in the certificates directory (mounted at {source}): spec.certsDir of the "
            "policy "
            "names a directory that is empty or does not exist on this node. Correct it, or leave it out.",
        )
    # Last, and the innermost first: a directory without write permission could not be filled.
    for directory, copied in reversed(directories):
        _copy_attributes(directory, copied)
    return Copied(sizes)


def _walk(source: Path) -> list[Path]:
    """Return all that is below a directory, each directory before its content."""
    if not source.is_dir():
        raise RunFailureError(
            Reason.CERTIFICATES_UNREADABLE,
            f"The certificates directory (mounted at {source}) does not exist: correct spec.certsDir of "
            "the policy.",
        )

    def fail(error: OSError) -> None:
        raise _unreadable(Path(error.filename or source), error)

    found: list[Path] = []
    for directory, names, files in os.walk(source, onerror=fail):
        found += [Path(directory) / name for name in sorted(names) + sorted(files)]
    return found


def _copy_link(path: Path, copied: Path, root: Path, warn: Callable[[str], None]) -> None:
    copied.symlink_to(path.readlink())
    pointed = path.resolve()
    if not pointed.is_relative_to(root):
        warn(f"{one_line(str(path))} points outside of the directory: the link is backed up, not its target.")
    elif not pointed.exists():
        warn(f"{one_line(str(path))} points to nothing.")


def _copy_attributes(source: Path, copied: Path) -> None:
    shutil.copystat(source, copied, follow_symlinks=False)
    if os.geteuid() == 0:
        owner = source.lstat()
        try:
            os.lchown(copied, owner.st_uid, owner.st_gid)
        except PermissionError:
            # Root without CAP_CHOWN, as the pod runs: the copy is root's own.
            return


def _unreadable(path: Path, error: OSError) -> RunFailureError:
    return RunFailureError(
        Reason.CERTIFICATES_UNREADABLE,
        f"{one_line(str(path))} in the certificates directory cannot be read: {error.strerror}. The backup "
        "pod "
        "runs as root without capabilities: the file has to be readable for its owner root.",
    )
