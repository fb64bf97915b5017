"""Writes a bbolt file bottom-up from sorted records, in one pass and in flat memory.

Leaves are written as they fill, and only each page's first key is kept for the branches above
it. The result has no free pages. etcd opens it, and `etcdutl snapshot status` prints the hash
of the same buckets, keys and values in any other layout.
"""

from collections.abc import Iterable
from typing import BinaryIO, NamedTuple

from kubedr_server.snapshot import pages
from kubedr_server.snapshot.errors import SnapshotError
from kubedr_server.snapshot.pages import Meta

FILL = 0.9
"""How much of a page is used: etcd fills its append-only `key` bucket to this part as well."""

MAX_KEY_SIZE = 32768
MAX_COUNT = 0xFFFF


class _Child(NamedTuple):
    first_key: bytes
    page: int


class BoltWriter:
    """Writes buckets, in the order of their names, to a seekable file.

    `write_bucket` for each bucket, then `finish`. Raises SnapshotError for keys out of order, or too large.
    """

    def __init__(self, file: BinaryIO, page_size: int = 4096) -> None:
        self._file = file
        self._page_size = page_size
        self._next_page = 2
        self._buckets: list[tuple[bytes, bytes]] = []
        file.write(bytes(2 * page_size))

    def write_bucket(self, name: bytes, sequence: int, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Write one bucket whole. `records` are sorted by key; they are consumed as a stream."""
        if self._buckets and name <= self._buckets[-1][0]:
            raise SnapshotError(f"bucket {name!r} comes after {self._buckets[-1][0]!r}: out of order")
        root = self._write_tree(((0, key, value) for key, value in records), f"bucket {name!r}")
        self._buckets.append((name, pages.BUCKET_HEADER.pack(root, sequence)))

    def finish(self, transaction: int) -> int:
        """Write the root, the freelist and both meta pages; return the file's size in bytes."""
        items = ((pages.BUCKET_ELEMENT, name, header) for name, header in self._buckets)
        root = self._write_tree(items, "the root")
        freelist = self._append(pages.FREELIST, 0, b"")
        transaction = max(transaction, 1)
        for number in (0, 1):
            # The second copy has the older transaction, as bbolt's own copies of a database have.
            meta = Meta(self._page_size, root, 0, self._next_page, transaction - number)
            body = pages.PAGE_HEADER.pack(number, pages.META, 0, 0) + pages.pack_meta(meta, freelist)
            self._file.seek(number * self._page_size)
            self._file.write(body)
        self._file.seek(0, 2)
        return self._next_page * self._page_size

    def _write_tree(self, records: Iterable[tuple[int, bytes, bytes]], what: str) -> int:
        """Write leaves and the branches over them; return the root's page."""
        level = self._write_leaves(records, what)
        while len(level) > 1:
            level = self._write_branches(level)
        return level[0].page

    def _write_leaves(self, records: Iterable[tuple[int, bytes, bytes]], what: str) -> list[_Child]:
        limit = int(self._page_size * FILL)
        children: list[_Child] = []
        pending: list[tuple[int, bytes, bytes]] = []
        size = pages.PAGE_HEADER.size
        previous: bytes | None = None
        for flags, key, value in records:
            if not key or len(key) > MAX_KEY_SIZE:
                raise SnapshotError(f"{what}: a key of {len(key)} bytes is not possible")
            if previous is not None and key <= previous:
                raise SnapshotError(f"{what}: keys are out of order at {key!r}")
            previous = key
            need = pages.LEAF_ELEMENT.size + len(key) + len(value)
            if pending and (size + need > limit or len(pending) >= MAX_COUNT):
                children.append(self._write_leaf(pending))
                pending, size = [], pages.PAGE_HEADER.size
            pending.append((flags, key, value))
            size += need
        if pending or not children:
            children.append(self._write_leaf(pending))
        return children

    def _write_leaf(self, records: list[tuple[int, bytes, bytes]]) -> _Child:
        elements, data = [], []
        position = len(records) * pages.LEAF_ELEMENT.size
        for flags, key, value in records:
            elements.append(pages.LEAF_ELEMENT.pack(flags, position, len(key), len(value)))
            data += [key, value]
            position += len(key) + len(value) - pages.LEAF_ELEMENT.size
        page = self._append(pages.LEAF, len(records), b"".join(elements + data))
        return _Child(records[0][1] if records else b"", page)

    def _write_branches(self, level: list[_Child]) -> list[_Child]:
        limit = int(self._page_size * FILL)
        parents: list[_Child] = []
        pending: list[_Child] = []
        size = pages.PAGE_HEADER.size
        for child in level:
            need = pages.BRANCH_ELEMENT.size + len(child.first_key)
            # A branch has at least two children: otherwise very long keys would build no tree.
            if len(pending) >= 2 and (size + need > limit or len(pending) >= MAX_COUNT):
                parents.append(self._write_branch(pending))
                pending, size = [], pages.PAGE_HEADER.size
            pending.append(child)
            size += need
        parents.append(self._write_branch(pending))
        return parents

    def _write_branch(self, children: list[_Child]) -> _Child:
        elements, keys = [], []
        position = len(children) * pages.BRANCH_ELEMENT.size
        for key, page in children:
            elements.append(pages.BRANCH_ELEMENT.pack(position, len(key), page))
            keys.append(key)
            position += len(key) - pages.BRANCH_ELEMENT.size
        page = self._append(pages.BRANCH, len(children), b"".join(elements + keys))
        return _Child(children[0].first_key, page)

    def _append(self, flags: int, count: int, body: bytes) -> int:
        number = self._next_page
        length = pages.PAGE_HEADER.size + len(body)
        used = -(-length // self._page_size)
        self._file.write(pages.PAGE_HEADER.pack(number, flags, count, used - 1))
        self._file.write(body)
        self._file.write(bytes(used * self._page_size - length))
        self._next_page += used
        return number
