"""Whatever is wrong with segments is found, and told with the path of what is wrong."""

import json
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubedr_server.snapshot import rebuild_script, segments, trailer
from kubedr_server.snapshot.errors import CorruptRecordError, SegmentError, SnapshotError
from kubedr_server.snapshot.mvcc import REVISION
from kubedr_server.snapshot.rebuild_script import BoltWriter

Records = dict[bytes, bytes]
Content = dict[bytes, tuple[int, Records]]

names = st.one_of(st.sampled_from([b"meta", b"lease", b"auth"]), st.binary(min_size=1, max_size=90))
revisions = st.builds(
    lambda main, sub, deleted: REVISION.pack(main, b"_", sub) + (b"t" if deleted else b""),
    st.integers(0, 2**64 - 1),
    st.one_of(st.just(0), st.integers(0, 2**64 - 1)),
    st.booleans(),
)
values = st.one_of(st.binary(max_size=300), st.integers(0, 70_000).map(bytes))
history = st.dictionaries(revisions, values, max_size=40)
others = st.dictionaries(st.binary(min_size=1, max_size=40), values, max_size=10)


def database(path: Path, content: Content, page_size: int = 4096) -> Path:
    with path.open("w+b") as file:
        writer = BoltWriter(file, page_size)
        for name, (sequence, records) in sorted(content.items()):
            writer.write_bucket(name, sequence, sorted(records.items()))
        writer.finish(transaction=9)
    trailer.append(path)
    return path


@given(
    keys=history,
    buckets=st.dictionaries(names, st.tuples(st.integers(0, 2**64 - 1), others), max_size=4),
    page_size=st.sampled_from([4096, 8192, 16384, 65536]),
    compacted=st.integers(0, 2**64 - 1),
)
@settings(max_examples=40, deadline=None)
def test_any_buckets_come_back_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory,
    keys: Records,
    buckets: Content,
    page_size: int,
    compacted: int,
) -> None:
    directory = tmp_path_factory.mktemp("any")
    content = buckets | {
        b"key": (0, keys),
        b"meta": (0, {b"finishedCompactRev": REVISION.pack(compacted, b"_", 0)}),
    }
    snapshot = database(directory / "db", content, page_size)
    written = segments.write_segments(snapshot, directory / "segments")
    rebuilt = segments.rebuild(directory / "segments", directory / "rebuilt")
    assert (directory / "rebuilt").read_bytes() == snapshot.read_bytes()
    assert written.content["snapshot"] == {"size": rebuilt.size}
    found = (path for path in (directory / "segments").rglob("*") if path.is_file())
    sizes = {str(path.relative_to(directory / "segments")): path.stat().st_size for path in found}
    assert sizes == written.sizes


def test_a_value_of_eight_megabytes_has_a_segment_of_its_own(tmp_path: Path) -> None:
    records = {REVISION.pack(index, b"_", 0): bytes(index) for index in range(100)}
    records[REVISION.pack(50, b"_", 0)] = bytes(8 << 20)
    snapshot = database(tmp_path / "db", {b"key": (0, records)})
    sizes = segments.write_segments(snapshot, tmp_path / "segments").sizes
    assert {size for path, size in sizes.items() if path.endswith("/32")} == {6 + 17 + (8 << 20)}
    assert segments.rebuild(tmp_path / "segments", tmp_path / "rebuilt").records == 100


def test_a_key_that_is_no_revision_is_refused(tmp_path: Path) -> None:
    snapshot = database(tmp_path / "db", {b"key": (0, {b"a": b""})})
    with pytest.raises(CorruptRecordError, match="61 is no revision"):
        segments.write_segments(snapshot, tmp_path / "segments")


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("intact")
    rng = random.Random(1)
    records = {REVISION.pack(index, b"_", 0): rng.randbytes(20) for index in range(5000, 7000, 2)}
    other = {b"a": b"1", b"b": b"22"}
    snapshot = database(
        directory / "db",
        {
            b"key": (0, records),
            b"lease": (0, other),
            b"meta": (0, {b"finishedCompactRev": REVISION.pack(9999, b"_", 0)}),
        },
    )
    segments.write_segments(snapshot, directory / "segments")
    return directory / "segments"


@pytest.fixture
def copied(intact: Path, tmp_path: Path) -> Path:
    shutil.copytree(intact, tmp_path / "segments")
    return tmp_path / "segments"


def refused(directory: Path) -> SegmentError:
    """Rebuild; return the error, after which there is no file."""
    target = directory.parent / "target"
    with pytest.raises(SegmentError) as caught:
        segments.rebuild(directory, target)
    assert not list(directory.parent.glob("target*"))
    return caught.value


def segment_files(directory: Path) -> list[Path]:
    return sorted(path for path in (directory / "key").rglob("*") if path.is_file())


def test_a_flipped_bit_anywhere_is_found(intact: Path, copied: Path) -> None:
    segments.rebuild(copied, copied.parent / "good")
    rng = random.Random(2)
    files = [path for path in sorted(copied.rglob("*")) if path.is_file()]
    chosen = [path for path in files if path.parent.name != "key" and path.parent.parent.name != "key"]
    for path in chosen + rng.sample(segment_files(copied), 20):
        data = path.read_bytes()
        at = rng.randrange(len(data))
        damaged = bytearray(data)
        damaged[at] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        error = refused(copied)
        assert str(path).startswith(str(copied / error.path)), (path, at, error)
        path.write_bytes(data)
    segments.rebuild(copied, copied.parent / "good again")


def test_a_missing_an_additional_and_a_swapped_segment_are_told_apart(copied: Path) -> None:
    first, second = segment_files(copied)[3:5]
    folder = str(first.parent.relative_to(copied))
    kept = first.read_bytes()
    first.unlink()
    assert refused(copied).path == folder
    first.write_bytes(second.read_bytes())
    assert refused(copied).path == f"{folder}/{first.name}"
    first.write_bytes(kept[:-1])
    assert "is cut" in refused(copied).problem
    first.write_bytes(b"")
    assert refused(copied).path == f"{folder}/{first.name}"
    first.write_bytes(kept)
    (first.parent / "what.tmp").touch()
    assert refused(copied).problem == "does not belong here: its name is no revision"
    (first.parent / "what.tmp").rename(first.parent / f"{first.name}.1")
    assert refused(copied).path == folder
    (first.parent / f"{first.name}.1").unlink()
    shutil.move(copied / "buckets" / "lease", copied / "buckets" / "leases")
    assert refused(copied).path == "buckets/lease"
    shutil.move(copied / "buckets" / "leases", copied / "buckets" / "lease")
    (copied / "more").mkdir()
    assert str(refused(copied)) == "more: does not belong here"
    shutil.rmtree(first.parent)
    (copied / "more").rmdir()
    assert str(refused(copied)) == f"{folder}: is missing"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": 2}, "Use the rebuild.py of the same backup"),
        ({"pageSize": 4097}, "is no page size"),
        ({"pageSize": "x"}, "does not describe a snapshot"),
        ({"buckets": None}, "does not describe a snapshot"),
        ({"buckets": [{"name": "00", "file": "../../etc", "records": 0}]}, "no name for a file here"),
        ({"transaction": 2**70}, "does not describe a snapshot"),
    ],
)
def test_a_manifest_that_is_wrong_with_a_right_digest_is_refused(
    copied: Path, change: dict[str, object], problem: str
) -> None:
    path = copied / "manifest.json"
    content = json.loads(path.read_bytes())["manifest"]
    path.write_bytes(rebuild_script.encode_manifest(content | change))
    assert problem in refused(copied).problem


def test_a_snapshot_that_is_damaged_ends_in_an_error_or_in_segments(tmp_path: Path) -> None:
    records = {REVISION.pack(index, b"_", 0): bytes(40) for index in range(300)}
    intact = database(tmp_path / "db", {b"key": (0, records), b"meta": (0, {b"a": b"b"})}).read_bytes()
    rng = random.Random(3)
    refused = 0
    for index in range(60):
        data = bytearray(intact)
        for _ in range(rng.randint(1, 6)):
            data[rng.choice([rng.randrange(len(data)), rng.randrange(64) + 4096 * rng.randrange(8)])] ^= 255
        (tmp_path / "damaged").write_bytes(data)
        try:
            segments.write_segments(tmp_path / "damaged", tmp_path / str(index))
            segments.rebuild(tmp_path / str(index), tmp_path / f"{index}.db")
        except SnapshotError:
            refused += 1
    assert refused > 10
