import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubedr_server.kube import connection
from kubedr_server.kube.client import Client
from kubedr_server.kube.errors import ConfigurationError
from kubedr_server.kube.resources import CONFIGMAPS
from support.fake_api import FakeApi

CANARY = "canary-token-7d1f"


def kubeconfig(tmp_path: Path, user: dict[str, Any], server: str = "http://127.0.0.1:1") -> Path:
    path = tmp_path / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(content), "utf-8")
    return path


async def test_the_token_of_the_kubeconfig_is_sent(tmp_path: Path, fake: FakeApi) -> None:
    fake.token = CANARY
    async with await Client.from_kubeconfig(kubeconfig(tmp_path, {"token": CANARY}, fake.url)) as client:
        assert client.server == fake.url
        await client.list(CONFIGMAPS)


async def test_a_token_file_that_was_written_anew_is_read_again(tmp_path: Path, fake: FakeApi) -> None:
    token = tmp_path / "token"
    token.write_text("first\n", "utf-8")
    made = await connection.from_kubeconfig(kubeconfig(tmp_path, {"tokenFile": str(token)}, fake.url))
    assert await made.authorization() == "Bearer first"
    token.write_text("second\n", "utf-8")
    made._renewed -= 3600
    assert await made.renew("Bearer first")
    assert await made.authorization() == "Bearer second"


async def test_a_credential_plugin_is_run(tmp_path: Path, fake: FakeApi) -> None:
    plugin = tmp_path / "plugin"
    plugin.write_text(
        f"#!{sys.executable}\n"
        'print(\'{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",'
        ' "status": {"token": "from-plugin"}}\')\n',
        "utf-8",
    )
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin)}}
    fake.token = "from-plugin"
    async with await Client.from_kubeconfig(kubeconfig(tmp_path, user, fake.url)) as client:
        await client.list(CONFIGMAPS)


async def test_a_missing_kubeconfig_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"there is no kubeconfig at {tmp_path}/none"):
        await connection.from_kubeconfig(tmp_path / "none")


async def test_the_kubeconfig_of_the_environment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kubeconfig(tmp_path, {}, "http://127.0.0.1:9")
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/none:{path}")
    assert (await connection.from_kubeconfig()).server == "http://127.0.0.1:9"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda config: config["users"][0].pop("user"),
        lambda config: config["users"][0].update(usr=config["users"][0].pop("user")),
        lambda config: config["contexts"][0]["context"].update(cluster="other"),
        lambda config: config.pop("contexts"),
        lambda config: config["clusters"][0]["cluster"].update(
            {"server": "https://x", "certificate-authority": "/none"}
        ),
        lambda config: config["users"][0]["user"].update({"exec": {"command": "/none"}}),
        lambda config: config["users"][0]["user"].update({"client-certificate": "/none"}),
    ],
)
async def test_a_kubeconfig_that_cannot_be_used_is_named_and_not_quoted(tmp_path: Path, spoil: Any) -> None:
    path = kubeconfig(tmp_path, {"token": CANARY})
    config = yaml.safe_load(path.read_text("utf-8"))
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    spoil(config)
    path.write_text(yaml.safe_dump(config), "utf-8")
    with pytest.raises(ConfigurationError, match=f"kubeconfig {path}") as raised:
        await connection.from_kubeconfig(path)
    assert CANARY not in str(raised.value)


@pytest.mark.parametrize("content", [f"token: [{CANARY}", f"{CANARY}", "", "a: b", f"- {CANARY}"])
async def test_a_file_that_is_no_kubeconfig_is_named_and_not_quoted(tmp_path: Path, content: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(content, "utf-8")
    with pytest.raises(ConfigurationError, match=f"kubeconfig {path}") as raised:
        await connection.from_kubeconfig(path)
    assert CANARY not in str(raised.value)


def test_outside_of_a_cluster_there_is_no_service_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigurationError, match="--kubeconfig"):
        connection.in_cluster()
