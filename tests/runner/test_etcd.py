"""Which member is asked, and which is not: learners, alarms, users, other clusters, members that differ."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.local.demo.ports import free_ports
from kubedr_server.runner import programs
from kubedr_server.runner.etcd import Chosen, Etcd
from kubedr_server.runner.etcdctl import Etcdctl
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.settings import EtcdSettings
from support.etcd import EtcdServer
from support.runner import program_path

pytestmark = pytest.mark.storage


@pytest.fixture
def own_etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    """Start a member that a test may harm."""
    with EtcdServer(tmp_path / "own-etcd") as server:
        server.put("key", "value")
        yield server


@pytest.fixture(scope="module")
def other_etcd(tmp_path_factory: pytest.TempPathFactory, etcd_server: EtcdServer) -> Iterator[EtcdServer]:
    """Start a cluster of its own, which trusts the same authority."""
    directory = tmp_path_factory.mktemp("other-etcd")
    with EtcdServer(directory, name="other", authority=etcd_server.authority) as server:
        server.put("key", "another value")
        yield server


async def etcd_at(server: EtcdServer, directory: Path, *endpoints: str, seconds: int = 30) -> Etcd:
    """Return what asks these endpoints; `seconds` is how long an answer is waited for."""
    settings = EtcdSettings(endpoints or (server.endpoint,), server.ca, server.cert, server.key)
    program = await programs.find(programs.ETCDCTL, program_path())
    etcdctl = Etcdctl(program, settings, directory, program_path(), seconds)
    return Etcd(etcdctl, settings, lambda: datetime.now(UTC))


def raise_alarm(server: EtcdServer, action: str, alarm: str) -> None:
    with server.client() as client:
        client.call("maintenance/alarm", {"action": action, "memberID": "1", "alarm": alarm})


async def test_a_member_tells_what_a_backup_has_to_know_of_it(
    etcd_server: EtcdServer, tmp_path: Path
) -> None:
    etcd_server.put("etcd", "value")
    etcd = await etcd_at(etcd_server, tmp_path)
    chosen = await etcd.choose(pytest.fail)
    assert chosen.member.endpoint == etcd_server.endpoint
    assert chosen.member.version.startswith("3.")
    assert chosen.member.db_size >= chosen.member.db_size_in_use > 0
    assert 2 <= chosen.minimum_revision <= etcd_server.revision()
    assert chosen.member.keys == len(etcd_server.all())
    assert [peer["name"] for peer in chosen.peers] == ["default"]


async def test_an_endpoint_that_is_down_is_left_out_and_told(etcd_server: EtcdServer, tmp_path: Path) -> None:
    warnings: list[str] = []
    etcd = await etcd_at(etcd_server, tmp_path, "https://127.0.0.1:1", etcd_server.endpoint)
    (member,) = await etcd.members(warnings.append)
    assert member.endpoint == etcd_server.endpoint
    assert warnings[0].startswith("etcd at 127.0.0.1 port 1 cannot be reached: the connection was refused.")


async def test_endpoints_of_different_clusters_are_refused(
    etcd_server: EtcdServer, other_etcd: EtcdServer, tmp_path: Path
) -> None:
    etcd = await etcd_at(etcd_server, tmp_path, etcd_server.endpoint, other_etcd.endpoint)
    with pytest.raises(RunFailureError, match="belong to different etcd clusters") as caught:
        await etcd.choose(pytest.fail)
    assert caught.value.reason is Reason.ETCD_UNHEALTHY


async def test_members_that_hold_different_data_are_refused(
    etcd_server: EtcdServer, other_etcd: EtcdServer, tmp_path: Path
) -> None:
    # Two clusters stand for two members whose data have come apart: their hashes differ at one revision.
    etcd_server.put("etcd", "value")
    etcd = await etcd_at(etcd_server, tmp_path)
    chosen = await etcd.choose(pytest.fail)
    strange = replace(chosen.member, endpoint=other_etcd.endpoint)
    with pytest.raises(RunFailureError, match="hold different data at revision 2") as caught:
        await etcd.key_hash(replace(chosen, others=(strange,)), 2, pytest.fail)
    assert caught.value.reason is Reason.ETCD_CORRUPT


async def test_members_that_hold_the_same_have_one_hash(etcd_server: EtcdServer, tmp_path: Path) -> None:
    etcd_server.put("etcd", "value")
    port = etcd_server.endpoint.rpartition(":")[2]
    etcd = await etcd_at(etcd_server, tmp_path)
    chosen = await etcd.choose(pytest.fail)
    again = replace(chosen.member, endpoint=f"https://localhost:{port}")
    key_hash = await etcd.key_hash(replace(chosen, others=(again,)), 2, pytest.fail)
    assert key_hash is not None
    assert key_hash.hash > 0


async def test_a_member_that_cannot_be_compared_is_told(etcd_server: EtcdServer, tmp_path: Path) -> None:
    etcd = await etcd_at(etcd_server, tmp_path)
    chosen: Chosen = await etcd.choose(pytest.fail)
    warnings: list[str] = []
    assert await etcd.key_hash(chosen, 10**9, warnings.append) is None
    assert "did not give the hash of its keys" in warnings[0]
    assert "future revision" in warnings[0]


async def test_a_cluster_without_space_is_warned_of_and_a_corrupt_one_is_refused(
    own_etcd: EtcdServer, tmp_path: Path
) -> None:
    etcd = await etcd_at(own_etcd, tmp_path)
    warnings: list[str] = []
    raise_alarm(own_etcd, "ACTIVATE", "NOSPACE")
    chosen = await etcd.choose(warnings.append)
    assert "NOSPACE" in warnings[0]
    assert chosen.minimum_revision >= 2
    raise_alarm(own_etcd, "ACTIVATE", "CORRUPT")
    with pytest.raises(RunFailureError, match="CORRUPT alarm") as caught:
        await etcd.choose(warnings.append)
    assert caught.value.reason is Reason.ETCD_CORRUPT


async def test_users_and_passwords_in_etcd_are_told(own_etcd: EtcdServer, tmp_path: Path) -> None:
    nobody = own_etcd.authority.client("nobody-in-particular")
    own_etcd.enable_auth("etcd-canary")
    own_etcd.cert.write_bytes(nobody.certificate.read_bytes())
    own_etcd.key.write_bytes(nobody.key.read_bytes())
    etcd = await etcd_at(own_etcd, tmp_path)
    with pytest.raises(RunFailureError, match="common name has to be a user with the role root") as caught:
        await etcd.choose(pytest.fail)
    assert caught.value.reason is Reason.ETCD_UNHEALTHY


@pytest.mark.slow
async def test_a_learner_is_never_backed_up(own_etcd: EtcdServer, tmp_path: Path) -> None:
    client_port, peer_port = free_ports(2)
    own_etcd.etcdctl("member", "update", _member_id(own_etcd), f"--peer-urls={own_etcd.peer_url}")
    own_etcd.etcdctl("member", "add", "learner", "--learner", f"--peer-urls=https://127.0.0.1:{peer_port}")
    learner = EtcdServer(
        tmp_path / "learner",
        name="learner",
        authority=own_etcd.authority,
        client_port=client_port,
        peer_port=peer_port,
        initial_cluster=f"default={own_etcd.peer_url},learner=https://127.0.0.1:{peer_port}",
        initial_cluster_state="existing",
    )
    learner.process.start(lambda: True)
    try:
        learner.process.wait_until(lambda: _is_learner(own_etcd, learner), seconds=60)
        warnings: list[str] = []
        both = await etcd_at(own_etcd, tmp_path, learner.endpoint, own_etcd.endpoint)
        chosen = await both.choose(warnings.append)
        assert chosen.member.endpoint == own_etcd.endpoint
        assert "is a learner" in warnings[0]
        alone = await etcd_at(own_etcd, tmp_path, learner.endpoint)
        with pytest.raises(RunFailureError, match="is a learner, which may lag behind") as caught:
            await alone.members(pytest.fail)
        assert caught.value.reason is Reason.ETCD_UNHEALTHY
    finally:
        learner.stop()


async def test_a_member_without_the_others_cannot_say_the_revision(
    own_etcd: EtcdServer, tmp_path: Path
) -> None:
    (member,) = await (await etcd_at(own_etcd, tmp_path)).members(pytest.fail)
    own_etcd.etcdctl("member", "add", "second", "--peer-urls=https://127.0.0.1:1")
    etcd = await etcd_at(own_etcd, tmp_path, seconds=2)
    with pytest.raises(RunFailureError, match="Has it lost its quorum") as caught:
        await etcd.read(member)
    assert caught.value.reason is Reason.ETCD_UNHEALTHY


def _member_id(server: EtcdServer) -> str:
    return server.etcdctl("member", "list").split(",")[0]


def _is_learner(server: EtcdServer, learner: EtcdServer) -> bool:
    try:
        return learner.etcdctl("endpoint", "status", "--write-out=json").count('"isLearner":true') == 1
    except subprocess.CalledProcessError:
        return False
