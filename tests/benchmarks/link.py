"""The network between a backup and its storage: how much it carries, and how long it takes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from benchmarks.processes import serving


@dataclass(frozen=True)
class Link:
    """`megabits` a second in each direction, shared by all connections; a round trip takes `milliseconds`."""

    megabits: int
    milliseconds: int

    def __str__(self) -> str:
        return f"{self.megabits} Mbit/s, {self.milliseconds} ms"


LINKS: Final = (Link(1000, 1), Link(300, 10), Link(100, 20))
"""A storage in the same room, in the same region, and at the other end of an office's line."""


@asynccontextmanager
async def linked(url: str, link: Link) -> AsyncIterator[str]:
    """Give an address that leads to a server by such a link, until the block ends."""
    port = urlsplit(url).port
    arguments = (str(port), str(link.megabits * 1_000_000 // 8), str(link.milliseconds / 1000))
    async with serving("serve_link", *arguments, core=None) as server:
        yield f"http://127.0.0.1:{server.said}"
