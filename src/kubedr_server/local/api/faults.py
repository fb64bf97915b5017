"""Misbehaviour on purpose, for tests of clients: what a real API server does on its bad days.

Without faults nothing here does anything. A test gives `LocalAPI(faults=Faults(...))`, or adds
and removes faults while the API runs.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from kubedr_server.local.api.errors import STALE, APIError, expired
from kubedr_server.local.api.storage import encode

Condition = Callable[[str, str, Mapping[str, str]], bool]
"""Says of a method, a path and a query whether a fault concerns them."""


class ConnectionCutError(Exception):
    """The connection is to be cut without an answer."""


@dataclass
class Fault:
    """One kind of trouble. `times` counts down with each request that it befalls; None is for ever."""

    when: Condition
    times: int | None = None
    delay: float = 0.0
    """Seconds before the request is served, or fails."""
    error: APIError | None = None
    """What a request is answered with; a watch ends with it inside its stream."""
    in_stream: bool = False
    """Whether a watch begins well and fails after `after_lines` events."""
    after_lines: int = 0
    hang: bool = False
    """Whether a watch stays open and says nothing more."""
    cut: bool = False
    """Whether the connection breaks."""

    def take(self, method: str, path: str, query: Mapping[str, str]) -> bool:
        """Whether the fault befalls a request; counts it."""
        if self.times == 0 or not self.when(method, path, query):
            return False
        if self.times is not None:
            self.times -= 1
        return True


def is_watch(_method: str, _path: str, query: Mapping[str, str]) -> bool:
    """Whether a request is a watch."""
    return query.get("watch") in ("true", "1")


def is_write(method: str, _path: str, _query: Mapping[str, str]) -> bool:
    """Whether a request changes something."""
    return method in ("POST", "PUT", "PATCH", "DELETE")


def is_lease(_method: str, path: str, _query: Mapping[str, str]) -> bool:
    """Whether a request is about Leases."""
    return "/leases" in path


def conflict() -> APIError:
    """Return a 409 as an update with an old resourceVersion gets."""
    return APIError(409, "Conflict", f"Operation cannot be fulfilled: {STALE}")


def too_many_requests(seconds: int) -> APIError:
    """Return a 429 with Retry-After."""
    message = "the server has received too many requests and has asked us to try again later"
    return APIError(429, "TooManyRequests", message, {}, retry_after=seconds)


def gone() -> APIError:
    """Return the 410 of a watch from a revision that was compacted."""
    return expired("too old resource version: 1 (2)")


class Faults:
    """The faults in force."""

    def __init__(self, *faults: Fault) -> None:
        self._faults = list(faults)

    def add(self, fault: Fault) -> None:
        """Put a fault into force."""
        self._faults.append(fault)

    def clear(self) -> None:
        """End all faults; what they already hold back stays held back."""
        self._faults.clear()

    async def before(
        self, method: str, path: str, query: Mapping[str, str]
    ) -> Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]] | None:
        """Delay, refuse or cut off a request; return how a watch's lines are to be spoilt, if they are."""
        for fault in self._faults:
            if not fault.take(method, path, query):
                continue
            if fault.delay:
                await asyncio.sleep(fault.delay)
            if fault.hang or fault.in_stream:
                return _Spoiler(fault).spoil
            if fault.cut:
                raise ConnectionCutError
            if fault.error is not None:
                raise fault.error
        return None


@dataclass(frozen=True)
class _Spoiler:
    fault: Fault

    async def spoil(self, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        for _ in range(self.fault.after_lines):
            line = await anext(lines, None)
            if line is None:
                return
            yield line
        if self.fault.hang:
            await asyncio.Event().wait()
        if self.fault.cut:
            raise ConnectionCutError
        if self.fault.error is not None:
            yield b'{"type":"ERROR","object":' + encode(self.fault.error.status()) + b"}\n"
