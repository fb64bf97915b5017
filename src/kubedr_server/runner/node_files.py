"""Copies what is backed up of the node beside etcd: certificates, static pods, kubeconfigs, encryption keys.

A link stays a link and is never followed: one that points outside could bring the pod's own mounted
Secrets, or any file of the node, into the backup. Whoever relies on such a link is told. Whatever a policy
names has to be there, and readable: a backup that silently lacks a private key is worth nothing on the day
it is needed.
"""

import errno
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import (
    CERTIFICATES_FOLDER,
    ENCRYPTION_FOLDER,
    KUBECONFIGS_FOLDER,
    STATIC_PODS_FOLDER,
)
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.log import one_line


@dataclass(frozen=True)
class Source:
    """One thing that a policy names. `path` is where it is mounted, `folder` where it goes in the backup."""

    folder: str
    path: Path
    field: str
    """The policy's field, such as `spec.certsDir`: what a person has to correct."""

    what: str
    """What it is called in a sentence, such as `certificates directory`."""

    reason: Reason = Reason.NODE_FILES_UNREADABLE
    single_file: bool = False
    """The field names one file, and not a directory."""

    @property
    def names_files(self) -> bool:
        """Whether the field names files, each of which is meant wherever its name leads to."""
        return self.single_file or self.folder == KUBECONFIGS_FOLDER


def certificates(path: Path) -> Source:
    """Return the certificates directory as a source."""
    return Source(
        CERTIFICATES_FOLDER,
        path,
        "spec.certsDir",
        "certificates directory",
        Reason.CERTIFICATES_UNREADABLE,
    )


def static_pods(path: Path) -> Source:
    """Return the directory of static pods as a source."""
    return Source(STATIC_PODS_FOLDER, path, "spec.staticPodsDir", "static pods directory")


def kubeconfigs(path: Path) -> Source:
    """Return the directory that the kubeconfig files are mounted in as a source."""
    return Source(KUBECONFIGS_FOLDER, path, "spec.kubeconfigs", "directory of the kubeconfigs")


def encryption_config(path: Path) -> Source:
    """Return kube-apiserver's encryption configuration as a source."""
    return Source(
        ENCRYPTION_FOLDER, path, "spec.encryptionConfig", "encryption configuration", single_file=True
    )


@dataclass(frozen=True)
class Copied:
    """What was copied. `sizes` has each regular file, by its path below the copy."""

    sizes: dict[str, int]

    @property
    def files(self) -> int:
        """The number of regular files."""
        return len(self.sizes)


def total_size(source: Source) -> int:
    """Return the bytes in a source's regular files; RunFailureError with the source's reason."""
    found = [path.stat() if source.names_files else path.lstat() for path in _content(source)]
    return sum(each.st_size for each in found if stat.S_ISREG(each.st_mode))


def copy(source: Source, target: Path, warn: Callable[[str], None]) -> Copied:
    """Copy a source's content to the directory `target`, which must not exist, with permissions and times.

    RunFailureError, with the source's reason, if it is missing or empty, or a file cannot be read.
    """
    sizes: dict[str, int] = {}
    top = source.path.parent if source.single_file else source.path
    directories = [] if source.single_file else [(top, target)]
    root = top.resolve()
    target.mkdir(mode=0o700)
    for path in _content(source):
        copied = target / path.relative_to(top)
        mode = path.stat().st_mode if source.names_files else path.lstat().st_mode
        try:
            if stat.S_ISLNK(mode):
                _copy_link(path, copied, root, warn)
            elif stat.S_ISDIR(mode):
                copied.mkdir(mode=0o700)
                directories.append((path, copied))
            elif stat.S_ISREG(mode):
                shutil.copyfile(path, copied)
                _copy_attributes(path, copied)
                sizes[str(path.relative_to(top))] = copied.stat().st_size
            else:
                warn(f"{one_line(str(path))} is neither a file, a directory nor a link: it is not backed up.")
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise _unreadable(source, path, error) from error
    _require_content(source, sizes)
    # Last, and the innermost first: a directory without write permission could not be filled.
    for directory, copied in reversed(directories):
        _copy_attributes(directory, copied)
    return Copied(sizes)


def _require_content(source: Source, sizes: dict[str, int]) -> None:
    if not sizes:
        raise RunFailureError(
            source.reason,
            f"There is no file in the {source.what} (mounted at {source.path}): {source.field} of the policy "
            "names a directory that is empty or does not exist on this node. Correct it, or leave it out.",
        )
    if source.single_file and not any(sizes.values()):
        raise RunFailureError(
            source.reason,
            f"The {source.what} (mounted at {source.path}) is empty: correct {source.field} of the policy.",
        )


def _content(source: Source) -> list[Path]:
    """Return all that belongs to a source, each directory before its content."""
    if source.single_file:
        return [_file(source, source.path)]
    if not source.path.is_dir():
        raise RunFailureError(
            source.reason,
            f"The {source.what} (mounted at {source.path}) does not exist: correct {source.field} of "
            "the policy.",
        )
    found = _walk(source)
    if source.names_files:
        # Each is mounted by itself.
        for path in found:
            _file(source, path)
    return found


def _file(source: Source, path: Path) -> Path:
    """Return a file's path after checking that it is there.

    Where a file that is mounted does not exist on the node, a container runtime makes an empty directory.
    """
    if path.is_file():
        return path
    raise RunFailureError(
        source.reason,
        f"{one_line(path.name)}, which {source.field} of the policy names, is no file of this node (mounted "
        f"at {one_line(str(path))}): correct the field, and remove the empty directory that may stand in "
        "its place.",
    )


def _walk(source: Source) -> list[Path]:
    def fail(error: OSError) -> None:
        raise _unreadable(source, Path(error.filename or source.path), error)

    found: list[Path] = []
    for directory, names, files in os.walk(source.path, onerror=fail):
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
    shutil.copystat(source, copied)
    if os.geteuid() == 0:
        owner = source.stat()
        try:
            os.lchown(copied, owner.st_uid, owner.st_gid)
        except PermissionError:
            # Root without CAP_CHOWN, as the pod runs: the copy is root's own.
            return


def _unreadable(source: Source, path: Path, error: OSError) -> RunFailureError:
    return RunFailureError(
        source.reason,
        f"{one_line(str(path))} in the {source.what} cannot be read: {error.strerror}. The backup pod "
        "runs as root without capabilities: the file has to be readable for its owner root.",
    )
