"""The whole server, in the test's own process."""

import asyncio
from pathlib import Path
from typing import Any

from kubedr_server import server
from kubedr_server.settings import SelfSigned, Settings


def settings_for(kubeconfig: Path, **changes: Any) -> Settings:
    """Return settings of a server on loopback, with a certificate of its own."""
    settings: dict[str, Any] = {
        "kubeconfig": kubeconfig,
        "bind": "127.0.0.1",
        "port": 0,
        "metrics_port": 0,
        "self_signed": SelfSigned(register_url="https://127.0.0.1"),
        "runner_image": "kubedr-backup:test",
        "drain_seconds": 0.0,
        **changes,
    }
    return Settings(**settings)


class Replica:
    """A server that runs in this process."""

    def __init__(self, settings: Settings) -> None:
        self.stop = asyncio.Event()
        self._started: asyncio.Future[server.Running] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(
            server.run(settings, stop=self.stop, started=self._started.set_result)
        )

    async def started(self) -> server.Running:
        """Wait until it serves; raises what has kept it from that."""
        ends: set[asyncio.Future[Any]] = {self.task, self._started}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED, timeout=60)
        if self.task.done():
            await self.task
        return await self._started

    async def end(self) -> None:
        """Stop it as a signal would, and wait for its end."""
        self.stop.set()
        async with asyncio.timeout(60):
            await self.task
