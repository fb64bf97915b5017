"""What can be wrong with a snapshot file."""


class SnapshotError(Exception):
    """A snapshot file cannot be read or written. Base of all errors of this package."""


class NotASnapshotError(SnapshotError):
    """The file is no bbolt database: too short, another magic number, an unknown version or page size."""


class CorruptPageError(SnapshotError):
    """A page contradicts the format. `page` is its number, counted from 0."""

    def __init__(self, page: int, problem: str) -> None:
        super().__init__(f"page {page}: {problem}")
        self.page = page
        self.problem = problem


class CorruptRecordError(SnapshotError):
    """A record of the `key` bucket is no mvcc record."""


class TrailerError(SnapshotError):
    """The SHA-256 at the file's end is missing, or is not that of the file."""


class SegmentError(SnapshotError):
    """Segments are damaged, missing, or not what their manifest says. `path` is below their directory."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem
