"""Counts what a measured process asks of the API server, below all of its own code; reads its memory."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

WRITES = ("POST", "PUT", "PATCH", "DELETE")


class Requests:
    """The requests of this process by method. Both that are compared make theirs with aiohttp."""

    def __init__(self) -> None:
        self.by_method: Counter[str] = Counter()

    def install(self) -> None:
        """Count from now on."""
        counted, send = self.by_method, aiohttp.ClientSession._request

        async def request(session: aiohttp.ClientSession, method: str, *arguments: Any, **named: Any) -> Any:
            counted[method.upper()] += 1
            return await send(session, method, *arguments, **named)

        aiohttp.ClientSession._request = request  # type: ignore[method-assign, assignment] # that is the point


def report(requests: Requests) -> str:
    """Return what a measured process says at its end."""
    return json.dumps({"requests": requests.by_method, "rss": rss(), "most": rss("VmHWM")})


def rss(field: str = "VmRSS") -> int:
    """Return this process's memory in bytes, as it is now or was at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)
