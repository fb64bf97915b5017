"""The directory that a restore writes to: empty before, whole afterwards, never in between.

Files are brought into a hidden directory inside it (the same file system, so that moving is renaming),
checked there, and moved into place with the etcd snapshot last: whoever sees `etcd-snapshot.db` sees all.
Before the first move a list of what will be moved is written, so that a later try can tell its
predecessor's half-moved files from someone's own and clean up.
"""

import json
import os
from pathlib import Path

from kubedr_server.api.conditions import Reason
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.log import one_line
from kubedr_server.runner.run import remove_tree

PARTIAL = ".kubedr-restore-partial"
_MOVING = "moving.json"
_NOT_CONTENT = frozenset({PARTIAL, "lost+found", ".snapshot"})
"""What file systems put at a volume's root does not count."""


class Target:
    """A restore's target directory. All methods block: call them in threads."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._partial = directory / PARTIAL
        self.files = self._partial / "files"
        """Where a restore's files are brought first."""

    def prepare(self) -> bool:
        """Make `files` anew; return whether an interrupted restore was cleaned up.

        RunFailureError (TargetNotEmpty, SettingMissing) if the directory holds anything or cannot be used.
        """
        if not self._directory.is_dir():
            raise self._unusable("it is not a directory")
        try:
            cleaned = self._clean_up()
            names = sorted(path.name for path in self._directory.iterdir() if path.name not in _NOT_CONTENT)
            if names:
                raise RunFailureError(
                    Reason.TARGET_NOT_EMPTY,
                    f"The target already holds files (such as '{one_line(names[0])}'), and a restore "
                    "overwrites "
                    "nothing: give an empty volume, or empty this one.",
                )
            self.files.mkdir(parents=True, mode=0o700)
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error
        return cleaned

    def finish(self, last: str) -> None:
        """Move all files into place, `last` at the end, and make it durable."""
        names = sorted(path.name for path in self.files.iterdir())
        names.sort(key=lambda name: name == last)
        _sync_tree(self.files)
        journal = self._partial / _MOVING
        with journal.open("w", encoding="utf-8") as file:
            json.dump(names, file)
            file.flush()
            os.fsync(file.fileno())
        _sync(self._partial)
        for name in names:
            if name == last:
                # All others are durable before the one that says that the restore is whole.
                _sync(self._directory)
            (self.files / name).rename(self._directory / name)
        _sync(self._directory)
        remove_tree(self._partial)

    def discard(self) -> None:
        """Remove what was not moved into place, and what was, if it is not whole."""
        if self._partial.is_dir():
            self._clean_up()

    def _clean_up(self) -> bool:
        """Remove what an interrupted restore left; True if there was something."""
        if not self._partial.is_dir():
            return False
        for name in self._moved():
            path = self._directory / name
            if path.is_dir() and not path.is_symlink():
                remove_tree(path)
            else:
                path.unlink(missing_ok=True)
        remove_tree(self._partial)
        return True

    def _moved(self) -> list[str]:
        """Return what was moved out of `files`, and is therefore the interrupted restore's own."""
        try:
            names = json.loads((self._partial / _MOVING).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return []
        return [
            name
            for name in names
            if Path(name).name == name and name not in _NOT_CONTENT and not os.path.lexists(self.files / name)
        ]

    def _unusable(self, why: str) -> RunFailureError:
        return RunFailureError(
            Reason.SETTING_MISSING,
            f"The target directory {self._directory} cannot be used: {why}. Is the volume mounted and "
            "writable?",
        )


def _sync_tree(directory: Path) -> None:
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder) / name
            if path.is_file() and not path.is_symlink():
                _sync(path)
        _sync(Path(folder))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
