"""Damage to a database of a real etcd, made at random: an error that has a name, or what etcdutl reads."""

import hashlib
import io
import json
import random
import struct
import subprocess
from pathlib import Path

import pytest

from kubedr_server.snapshot import pages, trailer
from kubedr_server.snapshot.bolt_file import BoltFile
from kubedr_server.snapshot.errors import CorruptPageError, SnapshotError
from kubedr_server.snapshot.objects import take_inventory
from kubedr_server.snapshot.rebuild_script import BoltWriter
from kubedr_server.snapshot.segments import rebuild, write_segments
from support.etcd import EtcdServer
from support.tools import program

PAGE = 4096
NUMBERS = (0, 1, 2, 15, 16, 17, 255, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, PAGE - 16, PAGE)


def database(*names: bytes) -> bytearray:
    """Return a database with a record in each bucket; all its buckets are listed in its last page but one."""
    file = io.BytesIO()
    writer = BoltWriter(file, PAGE)
    for name in names:
        writer.write_bucket(name, 0, [(b"key", b"value")])
    writer.finish(transaction=7)
    return bytearray(file.getvalue())


def read(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "db"
    path.write_bytes(data)
    with BoltFile(path) as bolt:
        for bucket in list(bolt.buckets()):
            bolt.count(bucket)
            list(bolt.records(bucket))


def test_an_inline_bucket_that_is_cut_is_an_error(tmp_path: Path) -> None:
    data = database(b"key")
    at = 3 * PAGE + pages.PAGE_HEADER.size
    flags, position, key_size, _ = pages.LEAF_ELEMENT.unpack_from(data, at)
    pages.LEAF_ELEMENT.pack_into(data, at, flags, position, key_size, pages.BUCKET_HEADER.size + 1)
    pages.BUCKET_HEADER.pack_into(data, at + position + key_size, 0, 0)
    with pytest.raises(CorruptPageError, match="an inline leaf is cut"):
        read(bytes(data), tmp_path)


@pytest.mark.parametrize("name", [b"lease", b"apple"])
def test_buckets_that_are_doubled_or_out_of_order_are_an_error(tmp_path: Path, name: bytes) -> None:
    data = database(b"lease", b"other")
    at = data.index(b"other", 4 * PAGE)
    data[at : at + 5] = name
    with pytest.raises(CorruptPageError, match=f"bucket b'{name.decode()}' has no name, or is out of order"):
        read(bytes(data), tmp_path)


def test_a_key_that_is_longer_than_any_is_an_error(tmp_path: Path) -> None:
    file = io.BytesIO()
    writer = BoltWriter(file, PAGE)
    writer.write_bucket(b"lease", 0, [(b"key", bytes(100_000))])
    writer.finish(transaction=7)
    data = bytearray(file.getvalue())
    pages.LEAF_ELEMENT.pack_into(data, 2 * PAGE + pages.PAGE_HEADER.size, 0, 16, 70_000, 0)
    with pytest.raises(CorruptPageError, match="its key is too long"):
        read(bytes(data), tmp_path)


@pytest.fixture(scope="module")
def snapshot(etcd_server: EtcdServer, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a real database of many pages, without its trailer."""
    for index in range(60):
        etcd_server.put(f"/registry/damage/{index % 40}", bytes([index]) * (index * 97))
    path = tmp_path_factory.mktemp("damage") / "etcd-snapshot.db"
    etcd_server.etcdctl("snapshot", "save", str(path))
    return path.read_bytes()[: -trailer.TRAILER_SIZE]


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Return a database with one fault in a page: its header, an element, or all of it is another's."""
    changed = bytearray(data)
    page, other = (chance.randrange(len(data) // PAGE) * PAGE for _ in range(2))
    kind = chance.randrange(4)
    if kind == 0:
        changed[page + chance.randrange(pages.PAGE_HEADER.size)] = chance.randrange(256)
    elif kind == 1:
        at = page + pages.PAGE_HEADER.size + 4 * chance.randrange(40)
        struct.pack_into("<I", changed, at, chance.choice(NUMBERS))
    elif kind == 2:
        changed[page : page + PAGE] = data[other : other + PAGE]
        struct.pack_into("<Q", changed, page, page // PAGE)
    else:
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def judged(path: Path) -> tuple[int, int, int] | None:
    """Return etcdutl's hash, revision and count; None if it refuses a file, or walks it without an end."""
    argv = [str(program("etcdutl")), "snapshot", "status", str(path), "--write-out=json"]
    try:
        told = subprocess.run(argv, capture_output=True, check=True, timeout=60)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    status = json.loads(told.stdout)
    return status["hash"], status["revision"], status["totalKey"]


@pytest.mark.storage
def test_what_is_read_of_a_damaged_database_is_what_etcdutl_reads(snapshot: bytes, tmp_path: Path) -> None:
    chance = random.Random(20)
    compared = refused = 0
    for number in range(200):
        data = damaged(snapshot, chance)
        path, segments, rebuilt = (tmp_path / f"{what}-{number}" for what in ("db", "segments", "rebuilt"))
        path.write_bytes(data + hashlib.sha256(data).digest())
        try:
            take_inventory(path)
            write_segments(path, segments)
            rebuild(segments, rebuilt)
        except SnapshotError:
            refused += 1
        else:
            if compared < 10:
                theirs = judged(path)
                assert theirs is None or judged(rebuilt) == theirs, f"damage {number}"
                compared += 1
        if compared == 10 and refused:
            break
    assert compared == 10
    assert refused
