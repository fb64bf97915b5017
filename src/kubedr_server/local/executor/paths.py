"""Where a container's paths are on this machine: nothing is mounted, so its settings' paths are rewritten."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PathMap:
    """Paths in the container, and what stands for them here."""

    local: Mapping[str, Path]

    def rewrite(self, value: str) -> str:
        """Replace a path that is, or lies below, a path of the container; the longest one that fits.

        Only a whole value is taken for a path: URLs and sentences that contain one stay as they are.
        """
        for path in sorted(self.local, key=len, reverse=True):
            prefix = path.rstrip("/")
            if value.rstrip("/") == prefix:
                return str(self.local[path])
            if value.startswith(prefix + "/"):
                return str(self.local[path]) + value[len(prefix) :]
        return value
