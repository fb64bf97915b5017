"""The server is not ready before it can serve: a pod that is ready too early makes writes fail."""

import asyncio
from pathlib import Path

import aiohttp
import pytest
import yaml

from kubedr_server import server
from kubedr_server.settings import SelfSigned, Settings
from support.ports import free_ports


@pytest.fixture
def kubeconfig_of_nothing(tmp_path: Path) -> Path:
    """Return a kubeconfig whose API server does not answer."""
    (port,) = free_ports(1)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "none", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "none", "user": {"token": "none"}}],
        "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
        "current-context": "none",
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config), "utf-8")
    return path


async def test_it_is_alive_but_not_ready_while_there_is_no_certificate(kubeconfig_of_nothing: Path) -> None:
    (metrics_port,) = free_ports(1)
    settings = Settings(
        kubeconfig=kubeconfig_of_nothing,
        bind="127.0.0.1",
        port=0,
        metrics_port=metrics_port,
        self_signed=SelfSigned(),
        runner_image="backup",
    )
    running = asyncio.create_task(server.run(settings))
    try:
        answers = [await _answer(metrics_port, path) for path in ("/healthz", "/readyz")]
    finally:
        running.cancel()
        await asyncio.wait({running})
    assert answers == [(200, "ok\n"), (503, "webhooks: there is no certificate yet\n")]


async def _answer(port: int, path: str) -> tuple[int, str]:
    async with asyncio.timeout(30), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{port}{path}") as response:
                    return response.status, await response.text()
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)  # it does not listen yet
