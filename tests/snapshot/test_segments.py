"""Segments of a real etcd's snapshot make a file that etcdutl finds equal; damage is named with its path."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kubedr_server.contract import SEGMENTS_FOLDER
from kubedr_server.snapshot import segments, trailer
from kubedr_server.snapshot.errors import SegmentError
from kubedr_server.snapshot.mvcc import REVISION
from kubedr_server.snapshot.rebuild_script import BoltWriter
from support.etcd import EtcdServer
from support.tools import program

pytestmark = pytest.mark.storage


@pytest.fixture(scope="module")
def snapshot(etcd_server: EtcdServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with etcd_server.client() as client:
        for start in range(0, 600, 100):
            client.put_all(
                (
                    f"/registry/{('pods', 'leases', 'example.com/widgets')[index % 3]}/{index % 83}",
                    bytes(index),
                )
                for index in range(start, start + 80)
            )
        client.put("/registry/configmaps/default/large", bytes(1_400_000))
        client.put("/registry/configmaps/default/empty", b"")
    etcd_server.etcdctl("del", "/registry/pods/3")
    path = tmp_path_factory.mktemp("snapshot") / "etcd-snapshot.db"
    etcd_server.etcdctl("snapshot", "save", str(path))
    return path


@pytest.fixture(scope="module")
def written(snapshot: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("segments") / "etcd-snapshot"
    segments.write_segments(snapshot, directory)
    return directory


def status(path: Path) -> tuple[int, int, int]:
    argv = [str(program("etcdutl")), "snapshot", "status", str(path), "-w", "json"]
    found = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
    return found["hash"], found["revision"], found["totalKey"]


def test_the_rebuilt_file_has_the_originals_hash_and_is_the_same_each_time(
    snapshot: Path, written: Path, tmp_path: Path
) -> None:
    rebuilt = segments.rebuild(written, tmp_path / "one.db")
    assert status(tmp_path / "one.db") == status(snapshot)
    assert trailer.verify(tmp_path / "one.db") == (tmp_path / "one.db").read_bytes()[-32:]
    again = tmp_path / "again"
    segments.write_segments(tmp_path / "one.db", again)
    assert segments.rebuild(again, tmp_path / "two.db") == rebuilt
    assert (tmp_path / "two.db").read_bytes() == (tmp_path / "one.db").read_bytes()


def test_the_program_in_a_backup_needs_nothing_but_python(
    snapshot: Path, written: Path, tmp_path: Path
) -> None:
    restored = tmp_path / "restored"
    shutil.copytree(written, restored / SEGMENTS_FOLDER)
    (restored / "rebuild.py").write_bytes(segments.rebuild_program())
    argv = [sys.executable, "-I", "rebuild.py", SEGMENTS_FOLDER, "etcd-snapshot.db"]

    def rebuild() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(argv, cwd=restored, check=False, capture_output=True, text=True, env={})

    sha256 = segments.rebuild(written, tmp_path / "again.db").sha256
    digests = restored / "SHA256SUMS"
    digests.write_text(f"{'a' * 64}  other\n{'b' * 64}  etcd-snapshot.db\n")
    assert rebuild().stderr == (
        f"The snapshot cannot be rebuilt. etcd-snapshot.db: would have the SHA-256 {sha256}; the backup's "
        f"list says {'b' * 64}\n"
    )
    assert not list(restored.glob("etcd-snapshot.db*"))
    digests.write_text(f"{'a' * 64}  other\n{sha256}  etcd-snapshot.db\n")
    told = rebuild()
    assert told.returncode == 0, told.stderr
    assert status(restored / "etcd-snapshot.db") == status(snapshot)
    assert told.stdout.split()[0] == sha256
    again = rebuild()
    assert (again.returncode, again.stderr) == (
        1,
        "The snapshot cannot be rebuilt. etcd-snapshot.db: exists already: name another file\n",
    )


def database(path: Path, revisions: dict[int, str], compacted: int = 0) -> Path:
    """Write a snapshot file that has a key's record at each revision."""
    records = [
        (
            REVISION.pack(revision, b"_", 0),
            b"\x0a" + bytes([len(key)]) + key.encode() + b"\x2a\x04" + bytes(4),
        )
        for revision, key in sorted(revisions.items())
    ]
    with path.open("w+b") as file:
        writer = BoltWriter(file)
        writer.write_bucket(b"key", 0, records)
        writer.write_bucket(b"meta", 0, [(b"finishedCompactRev", REVISION.pack(compacted, b"_", 0))])
        writer.finish(1)
    trailer.append(path)
    return path


def contents(directory: Path) -> set[bytes]:
    return {path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_new_backup_has_new_segments_only_where_records_came_or_went(tmp_path: Path) -> None:
    before = {1000 + 7 * index: f"/registry/pods/default/{index % 400}" for index in range(1500)}
    after = {revision: key for revision, key in before.items() if revision not in (3506, 7006)}
    after |= {20_000 + index: "/registry/leases/default/one" for index in range(300)}
    for name, revisions in (("before", before), ("after", after)):
        snapshot = database(tmp_path / name, revisions, compacted=11_501)
        segments.write_segments(snapshot, tmp_path / f"{name}-segments")
        segments.rebuild(tmp_path / f"{name}-segments", tmp_path / f"{name}-rebuilt")
        assert (tmp_path / f"{name}-rebuilt").read_bytes() == snapshot.read_bytes()
    old, new = contents(tmp_path / "before-segments"), contents(tmp_path / "after-segments")
    # Two that lost a record, one stream that is new, and the manifest.
    assert len(new - old) <= 2 + 2 + 1
    assert len(new & old) > 500


def test_missing_segments_are_told_with_their_path(written: Path, tmp_path: Path) -> None:
    with pytest.raises(SegmentError, match=r"manifest\.json: is missing"):
        segments.rebuild(tmp_path, tmp_path / "db")
