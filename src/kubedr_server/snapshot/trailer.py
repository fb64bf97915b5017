"""The SHA-256 that `etcdctl snapshot save` appends to a snapshot file.

A database is a whole number of 512-byte blocks, so a file with the trailer has 32 bytes more than that.
"""

import hashlib
from pathlib import Path

from kubedr_server.snapshot.errors import TrailerError

TRAILER_SIZE = 32
BLOCK = 512
_CHUNK = 1 << 20


def verify(path: Path) -> bytes:
    """Check the trailer; return the digest it holds. Raises TrailerError."""
    size = path.stat().st_size
    if size % BLOCK != TRAILER_SIZE:
        raise TrailerError(
            f"{path.name} has {size} bytes: a snapshot with its SHA-256 has 32 more than a multiple of 512"
        )
    digest = _digest(path, size - TRAILER_SIZE)
    with path.open("rb") as file:
        file.seek(-TRAILER_SIZE, 2)
        stored = file.read()
    if stored != digest:
        raise TrailerError(
            f"{path.name} is damaged: its SHA-256 is {digest.hex()}, and it ends with {stored.hex()}"
        )
    return stored


def append(path: Path) -> bytes:
    """Append the trailer to a database file; return the digest."""
    digest = _digest(path, path.stat().st_size)
    with path.open("ab") as file:
        file.write(digest)
    return digest


def _digest(path: Path, length: int) -> bytes:
    state = hashlib.sha256()
    with path.open("rb") as file:
        while length and (chunk := file.read(min(_CHUNK, length))):
            state.update(chunk)
            length -= len(chunk)
    return state.digest()
