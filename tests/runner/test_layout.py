"""How much room a layout asks for is enough, also for a database of many small records."""

from pathlib import Path

import pytest

from kubedr_server.runner.etcd import Member
from kubedr_server.runner.layout import SegmentsLayout
from kubedr_server.snapshot import trailer
from kubedr_server.snapshot.mvcc import REVISION
from kubedr_server.snapshot.rebuild_script import BoltWriter
from kubedr_server.snapshot.segments import write_segments

RECORDS = 1000
BLOCK = 4096


@pytest.mark.parametrize(("resource", "size"), [("widgets", 30), ("widgets", 5000), ("configmaps", 1000)])
def test_segments_of_any_size_fit_into_what_is_asked_for(tmp_path: Path, resource: str, size: int) -> None:
    snapshot, segments = tmp_path / "snapshot.db", tmp_path / "segments"
    with snapshot.open("w+b") as file:
        writer = BoltWriter(file)
        writer.write_bucket(b"key", 0, [a_record(number, resource, size) for number in range(1, RECORDS)])
        # All of them are older than the last compaction: the smallest segments that there are.
        compacted = REVISION.pack(RECORDS, b"_", 0)
        writer.write_bucket(b"meta", 0, [(b"finishedCompactRev", compacted)])
        used = writer.finish(transaction=7)
    trailer.append(snapshot)
    manifest = write_segments(snapshot, segments)
    taken = used + sum(-(-count // BLOCK) * BLOCK for count in manifest.sizes.values())
    member = Member("https://127.0.0.1:2379", "3.5.0", used, used, 1, 1, RECORDS)
    assert taken <= SegmentsLayout().peak_bytes(member)


def a_record(number: int, resource: str, size: int) -> tuple[bytes, bytes]:
    """Return a record of the `key` bucket: a protobuf with a key and a value."""
    key = f"/registry/{resource}/default/object-{number}".encode()
    value = bytes(size)
    length = bytes([size & 0x7F | 0x80, size >> 7]) if size >= 0x80 else bytes([size])
    return REVISION.pack(number, b"_", 0), b"\x0a" + bytes([len(key)]) + key + b"\x2a" + length + value
