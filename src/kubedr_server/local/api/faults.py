"""Misbehaviour on purpose, for tests of clients: what a real API server does on its bad days."""

from collections.abc import AsyncIterator, Callable, Mapping

from kubedr_server.local.api.paths import Target

Before = Callable[[str, str, Mapping[str, str]], "object"]


class Faults:
    """Does nothing; tests pass one that does."""

    async def before(self, method: str, path: str, query: Mapping[str, str]) -> None:
        """Delay or refuse a request, by waiting or by raising APIError."""

    def watch(self, target: Target, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Return a watch's lines, changed, held back or cut off."""
        return lines
