"""The layout of bbolt's pages (bbolt `internal/common`: page.go, meta.go, bucket.go), little-endian.

A file is a row of pages of one size. Pages 0 and 1 are meta pages; the valid one with the
higher transaction id counts. Every other page is a branch, a leaf, or the freelist; a page that needs
more room is followed by `overflow` pages without headers.
"""

from struct import Struct
from typing import Final, NamedTuple

PAGE_HEADER: Final = Struct("<QHHI")
"""id, flags, count, overflow."""

BRANCH: Final = 0x01
LEAF: Final = 0x02
META: Final = 0x04
FREELIST: Final = 0x10

LEAF_ELEMENT: Final = Struct("<IIII")
"""flags, position of the key from this element's start, key size, value size."""

BUCKET_ELEMENT: Final = 0x01
"""A leaf element's flag: the value is a bucket header."""

BRANCH_ELEMENT: Final = Struct("<IIQ")
"""position of the key from this element's start, key size, child page."""

BUCKET_HEADER: Final = Struct("<QQ")
"""root page (0: the bucket's one leaf follows inline), sequence."""

META_BODY: Final = Struct("<IIIIQQQQQQ")
"""magic, version, page size, flags, root, root sequence, freelist, page count, transaction id, checksum."""

MAGIC: Final = 0xED0CDAED
FORMAT_VERSION: Final = 2
NO_FREELIST: Final = 0xFFFFFFFFFFFFFFFF
MAX_KEY_SIZE: Final = 32768
MIN_PAGE_SIZE: Final = 512
MAX_PAGE_SIZE: Final = 1 << 20
META_SIZE: Final = PAGE_HEADER.size + META_BODY.size


class Meta(NamedTuple):
    """One meta page's fields that a reader needs. Sizes are in bytes, pages are numbers."""

    page_size: int
    root: int
    sequence: int
    page_count: int
    transaction: int


def fnv64a(data: bytes) -> int:
    """Return the FNV-1a hash of `data`, the checksum of a meta page."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def parse_meta(body: bytes) -> Meta | None:
    """Read a meta page's body; None if its magic, version, page size or checksum is wrong."""
    magic, version, page_size, _, root, sequence, _, count, transaction, checksum = META_BODY.unpack(body)
    if magic != MAGIC or version != FORMAT_VERSION or checksum != fnv64a(body[:-8]):
        return None
    if not MIN_PAGE_SIZE <= page_size <= MAX_PAGE_SIZE or page_size & (page_size - 1):
        return None
    return Meta(page_size, root, sequence, count, transaction)
