"""A damaged snapshot is found, wherever the damage is."""

import random
from pathlib import Path

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.runner import programs
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.programs import Program
from kubedr_server.runner.proof import prove
from support.etcd import EtcdServer
from support.runner import program_path

pytestmark = pytest.mark.storage


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, etcd_server: EtcdServer) -> Path:
    for number in range(20):
        etcd_server.put(f"proof-{number}", "x" * 500)
    path = tmp_path_factory.mktemp("saved") / "snapshot.db"
    etcd_server.etcdctl("snapshot", "save", str(path))
    return path


@pytest.fixture
def original(saved: Path) -> bytes:
    return saved.read_bytes()


@pytest.fixture
async def etcdutl() -> Program:
    return await programs.find(programs.ETCDUTL, program_path())


async def test_a_whole_snapshot_is_proven(saved: Path, original: bytes, etcdutl: Program) -> None:
    proof = await prove(saved, etcdutl, program_path(), minimum_revision=20)
    assert proof.size == len(original)
    assert proof.total_keys >= 20
    assert len(proof.sha256) == 64
    assert int(proof.hash, 16) > 0


async def test_a_flipped_bit_anywhere_is_found(original: bytes, tmp_path: Path, etcdutl: Program) -> None:
    chance = random.Random(20260101)
    places = [0, len(original) - 33, len(original) - 32, len(original) - 1]
    for place in places + [chance.randrange(len(original)) for _ in range(60)]:
        damaged = bytearray(original)
        damaged[place] ^= 1 << chance.randrange(8)
        await assert_corrupt(tmp_path, bytes(damaged), etcdutl)


async def test_a_cut_or_lengthened_file_is_found(original: bytes, tmp_path: Path, etcdutl: Program) -> None:
    # 512 more or less keeps the only rule that `etcdctl snapshot save` checks.
    for content in (b"", original[:32], original[:-1], original[:-512], original[:4096] + original[-32:]):
        await assert_corrupt(tmp_path, content, etcdutl)
    await assert_corrupt(tmp_path, original + bytes(512), etcdutl)


async def test_a_snapshot_older_than_the_run_is_stale(saved: Path, etcdutl: Program) -> None:
    with pytest.raises(RunFailureError, match=r"is of revision .* and etcd was at 1000000000") as caught:
        await prove(saved, etcdutl, program_path(), minimum_revision=1_000_000_000)
    assert caught.value.reason is Reason.SNAPSHOT_STALE


async def assert_corrupt(tmp_path: Path, content: bytes, etcdutl: Program) -> None:
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(content)
    with pytest.raises(RunFailureError) as caught:
        await prove(damaged, etcdutl, program_path())
    assert caught.value.reason is Reason.SNAPSHOT_CORRUPT
    assert caught.value.message.startswith("The etcd snapshot is damaged: ")
