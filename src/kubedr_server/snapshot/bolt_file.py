"""Reads a bbolt file: its buckets, and their records in key order.

The walk trusts nothing: each page's number, kind, bounds and key order are checked, a page is
visited once, and depth is bounded. So corrupt input ends in an error that names the page, never in a
wrong answer or an endless walk.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from kubedr_server.snapshot import pages
from kubedr_server.snapshot.errors import CorruptPageError, NotASnapshotError
from kubedr_server.snapshot.pages import Meta

_KEEP_MAPPED = 4 << 20
"""How much is read before the pages go back to the page cache: then they are not this process's memory.

The kernel maps up to sixteen pages around the one that is read, so this becomes several times as much.
"""

MAX_DEPTH = 64
"""A tree this deep would hold more keys than a file can; deeper means a loop or damage."""


class Bucket(NamedTuple):
    """A top-level bucket: its name, sequence, root page, and for an inline one (root 0) its leaf."""

    name: bytes
    sequence: int
    root: int
    inline: bytes


class BoltFile:
    """A bbolt file, mapped into memory: reading costs no more memory than one record.

    Use as a context manager. Raises NotASnapshotError if neither meta page is valid, and
    CorruptPageError, while iterating, for a page that contradicts the format. `size` is the length in
    bytes that belongs to the database; etcd appends a checksum after it.
    """

    def __init__(self, path: Path, size: int | None = None) -> None:
        with path.open("rb") as file:
            length = file.seek(0, 2)
            if length < 2 * pages.META_SIZE:
                raise NotASnapshotError(f"{path.name} is {length} bytes long: too short for a bbolt file")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._mapped = 0
        self._length = length if size is None else min(size, length)
        try:
            self.meta = self._choose_meta(path.name)
        except BaseException:
            self._map.close()
            raise
        self._seen = bytearray(self.meta.page_count // 8 + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._map.close()

    def _choose_meta(self, name: str) -> Meta:
        """Return the valid meta page with the higher transaction id.

        The second one stands at the page size, which only the first one tells; when the first is damaged
        every possible size is tried.
        """
        found = [meta for meta in (self._meta_at(0),) if meta]
        sizes = [found[0].page_size] if found else [1 << n for n in range(9, 21)]
        found += [meta for size in sizes if (meta := self._meta_at(size)) and meta.page_size == size]
        if not found:
            raise NotASnapshotError(f"{name} is no bbolt file: neither of its meta pages is valid")
        meta = max(found, key=lambda each: each.transaction)
        if meta.page_count < 2 or meta.page_count * meta.page_size > self._length:
            raise NotASnapshotError(
                f"{name} is cut: it should have {meta.page_count} pages of {meta.page_size} bytes, "
                f"and has {self._length} bytes"
            )
        return meta

    def _meta_at(self, offset: int) -> Meta | None:
        if offset + pages.META_SIZE > self._length:
            return None
        _, flags, _, _ = pages.PAGE_HEADER.unpack_from(self._map, offset)
        start = offset + pages.PAGE_HEADER.size
        return (
            pages.parse_meta(self._map[start : start + pages.META_BODY.size]) if flags & pages.META else None
        )

    def buckets(self) -> Iterator[Bucket]:
        """Yield the top-level buckets in the order of their names."""
        self._seen = bytearray(len(self._seen))
        previous = b""
        for flags, name, value in self._tree(self.meta.root):
            if name <= previous:
                raise CorruptPageError(self.meta.root, f"bucket {name!r} has no name, or is out of order")
            previous = name
            if not flags & pages.BUCKET_ELEMENT:
                raise CorruptPageError(
                    self.meta.root, f"the root holds a plain record {name!r}, not a bucket"
                )
            if len(value) < pages.BUCKET_HEADER.size:
                raise CorruptPageError(self.meta.root, f"the header of bucket {name!r} is cut")
            root, sequence = pages.BUCKET_HEADER.unpack_from(value)
            yield Bucket(name, sequence, root, b"" if root else bytes(value[pages.BUCKET_HEADER.size :]))

    def count(self, bucket: Bucket) -> int:
        """Return how many records a bucket says it has: its pages' headers are read, and no record."""
        if not bucket.root:
            return sum(1 for _ in self._leaf(bucket.root, bucket.inline))
        size, limit, header = self.meta.page_size, self.meta.page_count, pages.PAGE_HEADER.unpack_from
        stack, total, visited = [bucket.root], 0, 0
        while stack:
            number = stack.pop()
            visited += 1
            if not 2 <= number < limit or visited > limit:
                raise CorruptPageError(number, "out of range, or part of a loop")
            _, flags, count, overflow = header(self._map, number * size)
            self._touch(size)
            if flags & pages.LEAF:
                total += count
            elif flags & pages.BRANCH:
                end = min(number + overflow + 1, limit) * size
                stack += self._children(number, count, self._map[number * size : end])
        return total

    def records(self, bucket: Bucket, *, backwards: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Yield a bucket's records in key order, or from the last to the first.

        etcd nests no buckets: one inside is an error.
        """
        if bucket.root:
            items = self._tree(bucket.root, backwards=backwards)
        else:
            items = self._leaf(bucket.root, bucket.inline, backwards=backwards)
        previous: bytes | None = None
        for flags, key, value in items:
            if flags & pages.BUCKET_ELEMENT:
                raise CorruptPageError(bucket.root, f"bucket {bucket.name!r} holds a bucket {key!r}")
            if previous is not None and ((key >= previous) if backwards else (key <= previous)):
                raise CorruptPageError(
                    bucket.root, f"keys of bucket {bucket.name!r} are out of order at {key!r}"
                )
            previous = key
            yield key, value

    def _tree(self, root: int, *, backwards: bool = False) -> Iterator[tuple[int, bytes, bytes]]:
        stack = [(root, 0)]
        while stack:
            number, depth = stack.pop()
            if depth > MAX_DEPTH:
                raise CorruptPageError(number, "the tree is deeper than any real one")
            flags, count, page = self._page(number)
            if flags & pages.LEAF:
                yield from self._leaf(number, page, backwards=backwards)
            elif flags & pages.BRANCH:
                children = self._children(number, count, page)
                stack.extend((child, depth + 1) for child in (children if backwards else reversed(children)))
            else:
                raise CorruptPageError(number, f"neither a leaf nor a branch (flags {flags:#x})")

    def _page(self, number: int) -> tuple[int, int, bytes]:
        size, limit = self.meta.page_size, self.meta.page_count
        if not 2 <= number < limit:
            raise CorruptPageError(number, f"out of range: the file has {limit} pages")
        start = number * size
        ident, flags, count, overflow = pages.PAGE_HEADER.unpack_from(self._map, start)
        if ident != number:
            raise CorruptPageError(number, f"its header says it is page {ident}")
        if number + overflow >= limit:
            raise CorruptPageError(number, f"its {overflow} further pages reach past the file's end")
        for each in range(number, number + overflow + 1):
            if self._seen[each >> 3] & (1 << (each & 7)):
                raise CorruptPageError(each, "used twice")
            self._seen[each >> 3] |= 1 << (each & 7)
        length = (overflow + 1) * size
        self._touch(length)
        return flags, count, self._map[start : start + length]

    def _touch(self, length: int) -> None:
        self._mapped += length
        if self._mapped > _KEEP_MAPPED:
            self._map.madvise(mmap.MADV_DONTNEED)
            self._mapped = length

    def _children(self, number: int, count: int, page: bytes) -> list[int]:
        if not count:
            raise CorruptPageError(number, "a branch without children")
        if pages.PAGE_HEADER.size + count * pages.BRANCH_ELEMENT.size > len(page):
            raise CorruptPageError(number, f"{count} branch elements do not fit")
        unpack, size = pages.BRANCH_ELEMENT.unpack_from, pages.BRANCH_ELEMENT.size
        return [unpack(page, pages.PAGE_HEADER.size + index * size)[2] for index in range(count)]

    def _leaf(
        self, number: int, page: bytes, *, backwards: bool = False
    ) -> Iterator[tuple[int, bytes, bytes]]:
        if len(page) < pages.PAGE_HEADER.size:
            raise CorruptPageError(number, "an inline leaf is cut")
        _, flags, count, _ = pages.PAGE_HEADER.unpack_from(page)
        if not flags & pages.LEAF:
            raise CorruptPageError(number, "an inline bucket's page is no leaf")
        offset, size, end = pages.PAGE_HEADER.size, pages.LEAF_ELEMENT.size, len(page)
        if offset + count * size > end:
            raise CorruptPageError(number, f"{count} leaf elements do not fit")
        elements = list(pages.LEAF_ELEMENT.iter_unpack(page[offset : offset + count * size]))
        if backwards:
            elements.reverse()
            offset, size = offset + (count - 1) * size, -size
        for element_flags, position, key_size, value_size in elements:
            key_at = offset + position
            value_at = key_at + key_size
            if value_at + value_size > end or key_size > pages.MAX_KEY_SIZE:
                raise CorruptPageError(number, "a record reaches past the page's end, or its key is too long")
            yield element_flags, page[key_at:value_at], page[value_at : value_at + value_size]
            offset += size
