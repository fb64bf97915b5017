"""Where a container's paths are on this machine: nothing is mounted, so its settings' paths are rewritten."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


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


def gather_files(paths: Mapping[str, Path], directory: Path) -> dict[str, Path]:
    """Return, for each container directory into which single files are mounted, one with links to them.

    `directory` is where these are made. A setting may name such a directory, which no volume stands for. A
    file that does not exist gets a link, too: what reads the directory has to see that it is meant.
    """
    gathered: dict[str, Path] = {}
    for mounted, path in paths.items():
        parent = PurePosixPath(mounted).parent
        if str(parent) in paths or path.is_dir():
            continue
        links = gathered.setdefault(str(parent), directory / str(parent).strip("/").replace("/", "-"))
        links.mkdir(parents=True, exist_ok=True, mode=0o700)
        link = links / PurePosixPath(mounted).name
        link.unlink(missing_ok=True)
        link.symlink_to(path)
    return gathered
