"""Snapshots of a real etcd: read by us, rebuilt by us, judged by etcdutl."""

import json
import subprocess
from pathlib import Path

import pytest

from kubedr_server.snapshot import trailer
from kubedr_server.snapshot.bolt_file import BoltFile
from kubedr_server.snapshot.errors import TrailerError
from kubedr_server.snapshot.mvcc import KEY_BUCKET, parse_key_value, parse_revision
from kubedr_server.snapshot.rebuild_script import BoltWriter
from support.etcd import EtcdServer
from support.tools import program

pytestmark = pytest.mark.storage


@pytest.fixture(scope="module")
def snapshot(etcd_server: EtcdServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    for index in range(300):
        etcd_server.put(f"/registry/things/{index % 120}", bytes([index % 256]) * (index * 7))
    etcd_server.put("/registry/large", bytes(1_400_000))
    etcd_server.etcdctl("del", "/registry/things/3")
    path = tmp_path_factory.mktemp("snapshot") / "etcd-snapshot.db"
    etcd_server.etcdctl("snapshot", "save", str(path))
    return path


def status(path: Path) -> dict[str, object]:
    argv = [str(program("etcdutl")), "snapshot", "status", str(path), "-w", "json"]
    found: dict[str, object] = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
    return found


def test_the_newest_version_of_each_key_is_what_etcd_answers(snapshot: Path, etcd_server: EtcdServer) -> None:
    latest: dict[bytes, tuple[bytes, int] | None] = {}
    with BoltFile(snapshot, snapshot.stat().st_size - trailer.TRAILER_SIZE) as bolt:
        (bucket,) = [each for each in list(bolt.buckets()) if each.name == KEY_BUCKET]
        for key, value in bolt.records(bucket):
            revision, record = parse_revision(key), parse_key_value(value)
            latest[record.key] = None if revision.tombstone else (record.value, record.mod_revision)
            assert revision.tombstone or revision.main == record.mod_revision
    found = {key: value for key, value in latest.items() if value and key.startswith(b"/registry/")}
    assert found == {each.key: (each.value, each.mod_revision) for each in etcd_server.all(b"/registry/")}


@pytest.mark.parametrize("page_size", [4096, 16384])
def test_etcdutl_prints_the_same_hash_for_the_rebuilt_file(
    snapshot: Path, tmp_path: Path, page_size: int
) -> None:
    rebuilt = tmp_path / "rebuilt.db"
    with (
        BoltFile(snapshot, snapshot.stat().st_size - trailer.TRAILER_SIZE) as bolt,
        rebuilt.open("w+b") as file,
    ):
        writer = BoltWriter(file, page_size)
        for bucket in list(bolt.buckets()):
            writer.write_bucket(bucket.name, bucket.sequence, bolt.records(bucket))
        writer.finish(bolt.meta.transaction)
    trailer.append(rebuilt)
    assert trailer.verify(rebuilt) == rebuilt.read_bytes()[-32:]
    original, ours = status(snapshot), status(rebuilt)
    assert {**ours, "totalSize": 0} == {**original, "totalSize": 0}
    argv = ["snapshot", "restore", str(rebuilt), "--data-dir", str(tmp_path / "data")]
    subprocess.run([str(program("etcdutl")), *argv], check=True, capture_output=True)


@pytest.mark.parametrize("at", [0, 5000, -1])
def test_one_flipped_byte_anywhere_fails_the_trailer(snapshot: Path, tmp_path: Path, at: int) -> None:
    data = bytearray(snapshot.read_bytes())
    data[at] ^= 1
    path = tmp_path / "damaged.db"
    path.write_bytes(data)
    with pytest.raises(TrailerError, match="is damaged"):
        trailer.verify(path)


def test_a_file_cut_at_a_block_boundary_fails_the_trailer(snapshot: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.db"
    path.write_bytes(snapshot.read_bytes()[: 512 * 20 + 32])
    with pytest.raises(TrailerError):
        trailer.verify(path)
