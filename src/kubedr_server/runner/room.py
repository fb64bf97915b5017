"""Room on a disk: asked for before a run begins to write, and told of when it runs out all the same."""

import errno
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kubedr_server.api.conditions import Reason
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.log import size

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_BROKEN: Final = frozenset({errno.EIO, errno.EROFS, errno.ENXIO, errno.ENODEV, errno.ESTALE})


@dataclass(frozen=True)
class Room:
    """What a run needs in a directory at most, in bytes."""

    directory: Path
    needed: int

    def require(self, what_for: str) -> None:
        """Fail (DiskFull) if the directory's file system has less free than is needed."""
        free = self._free()
        if free < self.needed:
            raise RunFailureError(
                Reason.DISK_FULL,
                f"{what_for} needs {size(self.needed)} in {self.directory}, and {size(free)} are free: "
                "make room there or give the volume more.",
            )

    def told(self) -> str:
        """Return the sentence for a disk that filled up nevertheless, after the run's own files are gone."""
        return (
            f"The run needs up to {size(self.needed)} in {self.directory}, and {size(self._free())} are free "
            "there without its own files: give the volume more, or look for what else fills it."
        )

    def _free(self) -> int:
        return shutil.disk_usage(self.directory).free


def disk_failure(error: OSError) -> RunFailureError | None:
    """Return the failure for a disk that is full, or that fails; None if an error is of another kind."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in _FULL:
        return RunFailureError(Reason.DISK_FULL, f"No room was left on the disk{where}: {error.strerror}.")
    if error.errno in _BROKEN:
        return RunFailureError(
            Reason.DISK_FAILED,
            f"The disk fails{where}: {error.strerror}. Look at the log of the node's kernel, and run it "
            "again on another node or volume.",
        )
    return None
