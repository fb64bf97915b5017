"""A snapshot that stalls, that does not fit, or whose certificates change meanwhile."""

import io
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.local.demo.pki import Authority
from kubedr_server.runner import programs
from kubedr_server.runner.etcd import Etcd, Member
from kubedr_server.runner.etcd_save import save
from kubedr_server.runner.etcdctl import Etcdctl
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.log import Log
from kubedr_server.runner.settings import EtcdSettings
from support.etcd import EtcdServer
from support.runner import program_path

pytestmark = [pytest.mark.storage, pytest.mark.fault]


class Saver:
    """Saves from a server, as a run does. `log` is what it told."""

    def __init__(
        self, server: EtcdServer, directory: Path, program: programs.Program, command_seconds: int = 30
    ) -> None:
        settings = EtcdSettings((server.endpoint,), server.ca, server.cert, server.key)
        self.log = io.StringIO()
        self.path = directory / "snapshot.db"
        self._etcdctl = Etcdctl(program, settings, directory, program_path(), command_seconds)
        self._etcd = Etcd(self._etcdctl, settings, lambda: datetime.now(UTC))

    async def member(self) -> Member:
        (member,) = await self._etcd.members(pytest.fail)
        return member

    async def save(self, member: Member, stall_seconds: float = 60) -> None:
        log = Log(self.log, lambda: datetime.now(UTC))
        await save(self._etcdctl, self._etcd, member, self.path, log, stall_seconds)


@pytest.fixture
def own_etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    """Start a member that a test may harm."""
    with EtcdServer(tmp_path / "own-etcd") as server:
        server.put("key", "value")
        yield server


@pytest.fixture
async def saver(own_etcd: EtcdServer, tmp_path: Path) -> Saver:
    return Saver(own_etcd, tmp_path, await programs.find(programs.ETCDCTL, program_path()))


async def test_a_stream_that_stalls_is_ended_and_leaves_no_file(own_etcd: EtcdServer, saver: Saver) -> None:
    member = await saver.member()
    own_etcd.process.signal(signal.SIGSTOP)
    try:
        with pytest.raises(RunFailureError, match="nothing came for 1 seconds") as caught:
            await saver.save(member, stall_seconds=1)
    finally:
        own_etcd.process.signal(signal.SIGCONT)
    assert caught.value.reason is Reason.ETCD_SNAPSHOT_FAILED
    assert list(saver.path.parent.glob("snapshot.db*")) == []
    await saver.save(member)
    assert saver.path.stat().st_size > member.db_size_in_use


async def test_a_disk_that_is_full_is_told(saver: Saver) -> None:
    member = await saver.member()
    # etcdctl writes to this name first.
    saver.path.with_name("snapshot.db.part").symlink_to("/dev/full")
    with pytest.raises(RunFailureError, match="does not fit into") as caught:
        await saver.save(member)
    assert caught.value.reason is Reason.DISK_FULL


async def test_certificates_are_read_anew_and_wrong_ones_are_told_as_such(
    own_etcd: EtcdServer, saver: Saver, tmp_path: Path
) -> None:
    member = await saver.member()
    renewed = own_etcd.authority.client("renewed")
    own_etcd.cert.write_bytes(renewed.certificate.read_bytes())
    own_etcd.key.write_bytes(renewed.key.read_bytes())
    await saver.save(member)
    stranger = Authority(tmp_path / "stranger").client("root")
    own_etcd.cert.write_bytes(stranger.certificate.read_bytes())
    own_etcd.key.write_bytes(stranger.key.read_bytes())
    saver = Saver(own_etcd, tmp_path, await programs.find(programs.ETCDCTL, program_path()), 5)
    with pytest.raises(RunFailureError, match="refuses the client certificate") as caught:
        await saver.save(member, stall_seconds=1)
    assert caught.value.reason is Reason.ETCD_TLS_FAILED
