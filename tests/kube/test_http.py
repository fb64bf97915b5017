"""The proxy of the environment, and nothing else of it."""

from pathlib import Path

import pytest

from kubedr_server.kube.client import Client
from kubedr_server.kube.http import environment_proxy
from kubedr_server.kube.resources import NAMESPACES
from kubedr_server.kube.transport import ClientSettings, Transport
from support.fake_api import FakeApi

SERVER = "https://10.0.0.1:6443"
VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "ALL_PROXY")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def test_without_a_proxy_there_is_none() -> None:
    assert environment_proxy(SERVER) is None


def test_the_proxy_of_the_scheme_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("HTTP_PROXY", "http://other:3128")
    assert environment_proxy(SERVER) == "http://proxy:3128"


@pytest.mark.parametrize("excepted", ["10.0.0.1", "10.0.0.1:6443"])
def test_a_server_that_is_excepted_is_reached_without_it(
    monkeypatch: pytest.MonkeyPatch, excepted: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", f"example.com,{excepted}")
    assert environment_proxy(SERVER) is None


async def test_a_password_of_netrc_is_not_sent(
    fake: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password canary\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with Client(Transport(fake.connection(), ClientSettings(qps=0))) as client:
        await client.list(NAMESPACES)
    assert "Authorization" not in fake.requests[-1].headers


async def test_requests_go_through_the_proxy(fake: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    # The fake takes the part of a proxy: it is asked for a server that does not exist.
    monkeypatch.setenv("HTTP_PROXY", fake.url)
    connection = fake.connection()
    connection.configuration.host = "http://api.invalid"
    async with Client(Transport(connection, ClientSettings(qps=0))) as client:
        await client.list(NAMESPACES)
    assert fake.requests[-1].headers["Host"] == "api.invalid"
