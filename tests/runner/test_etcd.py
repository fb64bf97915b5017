"""Which member is asked, and which is not: learners, alarms, users, a stream that stalls."""

import io
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.local.demo.ports import free_ports
from kubedr_server.runner import programs
from kubedr_server.runner.etcd import Etcd
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.log import Log
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


async def etcd_at(server: EtcdServer, directory: Path, *endpoints: str) -> Etcd:
    settings = EtcdSettings(endpoints or (server.endpoint,), server.ca, server.cert, server.key)
    program = await programs.find(programs.ETCDCTL, program_path())
    log = Log(io.StringIO(), lambda: datetime.now(UTC))
    return Etcd(program, settings, directory, program_path(), log, lambda: datetime.now(UTC))


def raise_alarm(server: EtcdServer, alarm: str) -> None:
    with server.client() as client:
        client.call("maintenance/alarm", {"action": "ACTIVATE", "memberID": "1", "alarm": alarm})


async def test_a_member_tells_its_version_its_size_and_its_revision(
    own_etcd: EtcdServer, tmp_path: Path
) -> None:
    etcd = await etcd_at(own_etcd, tmp_path)
    (member,) = await etcd.members(pytest.fail)
    assert member.endpoint == own_etcd.endpoint
    assert member.version.startswith("3.")
    assert member.db_size > 0
    assert await etcd.revision(member) == own_etcd.revision()


async def test_an_endpoint_that_is_down_is_left_out_and_told(own_etcd: EtcdServer, tmp_path: Path) -> None:
    warnings: list[str] = []
    etcd = await etcd_at(own_etcd, tmp_path, "https://127.0.0.1:1", own_etcd.endpoint)
    (member,) = await etcd.members(warnings.append)
    assert member.endpoint == own_etcd.endpoint
    assert warnings[0].startswith("etcd at 127.0.0.1 port 1 cannot be reached: the connection was refused.")


async def test_a_cluster_without_space_is_backed_up_with_a_warning(
    own_etcd: EtcdServer, tmp_path: Path
) -> None:
    raise_alarm(own_etcd, "NOSPACE")
    etcd = await etcd_at(own_etcd, tmp_path)
    (member,) = await etcd.members(pytest.fail)
    warnings: list[str] = []
    await etcd.check_alarms(member, warnings.append)
    assert "NOSPACE" in warnings[0]
    assert await etcd.revision(member) >= 2
    await etcd.save(member, tmp_path / "snapshot.db")


async def test_a_corrupt_cluster_is_refused(own_etcd: EtcdServer, tmp_path: Path) -> None:
    raise_alarm(own_etcd, "CORRUPT")
    etcd = await etcd_at(own_etcd, tmp_path)
    (member,) = await etcd.members(pytest.fail)
    with pytest.raises(RunFailureError, match="CORRUPT alarm") as caught:
        await etcd.check_alarms(member, pytest.fail)
    assert caught.value.reason is Reason.ETCD_UNHEALTHY


async def test_a_stream_that_stalls_is_ended(own_etcd: EtcdServer, tmp_path: Path) -> None:
    etcd = await etcd_at(own_etcd, tmp_path)
    (member,) = await etcd.members(pytest.fail)
    own_etcd.process.signal(signal.SIGSTOP)
    try:
        with pytest.raises(RunFailureError, match="nothing came for 1 seconds") as caught:
            await etcd.save(member, tmp_path / "snapshot.db", stall_seconds=1)
    finally:
        own_etcd.process.signal(signal.SIGCONT)
    assert caught.value.reason is Reason.ETCD_SNAPSHOT_FAILED


async def test_users_and_passwords_in_etcd_are_told(own_etcd: EtcdServer, tmp_path: Path) -> None:
    nobody = own_etcd.authority.client("nobody-in-particular")
    etcd = await etcd_at(own_etcd, tmp_path)
    (member,) = await etcd.members(pytest.fail)
    own_etcd.enable_auth("etcd-canary")
    settings = EtcdSettings((own_etcd.endpoint,), own_etcd.ca, nobody.certificate, nobody.key)
    program = await programs.find(programs.ETCDCTL, program_path())
    log = Log(io.StringIO(), lambda: datetime.now(UTC))
    refused = Etcd(program, settings, tmp_path, program_path(), log, lambda: datetime.now(UTC))
    with pytest.raises(RunFailureError, match="common name has to be a user with the role root") as caught:
        await refused.revision(member)
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
        learner.process.wait_until(lambda: _is_learner(own_etcd, learner), seconds=30)
        warnings: list[str] = []
        both = await etcd_at(own_etcd, tmp_path, learner.endpoint, own_etcd.endpoint)
        assert [member.endpoint for member in await both.members(warnings.append)] == [own_etcd.endpoint]
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
    etcd = await etcd_at(own_etcd, tmp_path)
    (member,) = await etcd.members(pytest.fail)
    own_etcd.etcdctl("member", "add", "second", "--peer-urls=https://127.0.0.1:1")
    with pytest.raises(RunFailureError, match="Has it lost its quorum") as caught:
        await etcd.revision(member)
    assert caught.value.reason is Reason.ETCD_UNHEALTHY


def _member_id(server: EtcdServer) -> str:
    return server.etcdctl("member", "list").split(",")[0]


def _is_learner(server: EtcdServer, learner: EtcdServer) -> bool:
    try:
        return learner.etcdctl("endpoint", "status", "--write-out=json").count('"isLearner":true') == 1
    except subprocess.CalledProcessError:
        return False
