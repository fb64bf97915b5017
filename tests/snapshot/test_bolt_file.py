"""A bbolt file that the writer made reads back the same, and damage never gives a wrong answer."""

import io
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubedr_server.snapshot.bolt_file import BoltFile
from kubedr_server.snapshot.errors import CorruptPageError, NotASnapshotError, SnapshotError
from kubedr_server.snapshot.pages import PAGE_HEADER
from kubedr_server.snapshot.rebuild_script import BoltWriter

Content = dict[bytes, tuple[int, dict[bytes, bytes]]]

records = st.dictionaries(st.binary(min_size=1, max_size=40), st.binary(max_size=3000), max_size=60)
contents = st.dictionaries(
    st.binary(min_size=1, max_size=12), st.tuples(st.integers(0, 2**63), records), max_size=6
)


def write(content: Content, page_size: int = 4096) -> bytes:
    file = io.BytesIO()
    writer = BoltWriter(file, page_size)
    for name, (sequence, items) in sorted(content.items()):
        writer.write_bucket(name, sequence, sorted(items.items()))
    writer.finish(transaction=7)
    return file.getvalue()


def read(path: Path) -> Content:
    with BoltFile(path) as bolt:
        return {each.name: (each.sequence, dict(bolt.records(each))) for each in list(bolt.buckets())}


@given(content=contents, page_size=st.sampled_from([512, 4096, 16384]))
@settings(max_examples=60, deadline=None)
def test_any_buckets_read_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, content: Content, page_size: int
) -> None:
    path = tmp_path_factory.mktemp("bolt") / "db"
    path.write_bytes(write(content, page_size))
    assert read(path) == content


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 8 << 20])
def test_a_value_of_any_size_reads_back_the_same(tmp_path: Path, size: int) -> None:
    content: Content = {b"key": (0, {b"k": bytes(index % 251 for index in range(size))})}
    path = tmp_path / "db"
    path.write_bytes(write(content))
    assert read(path) == content


def test_a_tree_of_several_levels_keeps_its_order(tmp_path: Path) -> None:
    content: Content = {b"key": (3, {index.to_bytes(8, "big"): bytes(40) for index in range(20_000)})}
    path = tmp_path / "db"
    path.write_bytes(write(content, page_size=512))
    with BoltFile(path) as bolt:
        (bucket,) = list(bolt.buckets())
        keys = [key for key, _ in bolt.records(bucket)]
    assert keys == [index.to_bytes(8, "big") for index in range(20_000)]


@pytest.mark.parametrize("damaged", [0, 1])
def test_one_damaged_meta_page_is_made_up_for_by_the_other(tmp_path: Path, damaged: int) -> None:
    content: Content = {b"key": (0, {b"a": b"1"})}
    data = bytearray(write(content, page_size=8192))
    data[damaged * 8192 + PAGE_HEADER.size + 20] ^= 0xFF
    path = tmp_path / "db"
    path.write_bytes(data)
    assert read(path) == content


def test_two_damaged_meta_pages_are_no_database(tmp_path: Path) -> None:
    data = bytearray(write({b"key": (0, {b"a": b"1"})}))
    for number in (0, 1):
        data[number * 4096 + PAGE_HEADER.size] ^= 0xFF
    path = tmp_path / "db"
    path.write_bytes(data)
    with pytest.raises(NotASnapshotError, match="neither of its meta pages is valid"):
        read(path)


def test_a_cut_file_is_refused_with_its_sizes(tmp_path: Path) -> None:
    data = write({b"key": (0, {index.to_bytes(4, "big"): bytes(100) for index in range(1000)})})
    path = tmp_path / "db"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(NotASnapshotError, match="is cut"):
        read(path)


def test_a_branch_that_leads_back_to_itself_ends_in_an_error(tmp_path: Path) -> None:
    data = bytearray(write({b"key": (0, {index.to_bytes(4, "big"): bytes(100) for index in range(1000)})}))
    branches = [at for at in range(2 * 4096, len(data), 4096) if data[at + 8] == 1]
    (branch,) = branches
    data[branch + 16 + 8 : branch + 16 + 16] = (branch // 4096).to_bytes(8, "little")
    path = tmp_path / "db"
    path.write_bytes(data)
    with pytest.raises(CorruptPageError, match=f"page {branch // 4096}: used twice"):
        read(path)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_random_damage_is_an_error_or_leaves_a_readable_tree(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    rng = random.Random(seed)
    content: Content = {b"key": (0, {index.to_bytes(4, "big"): rng.randbytes(60) for index in range(300)})}
    data = bytearray(write(content, page_size=512))
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    path = tmp_path_factory.mktemp("bolt") / "db"
    path.write_bytes(data)
    try:
        read(path)
    except SnapshotError:
        return


def test_keys_out_of_order_are_refused_by_the_writer() -> None:
    writer = BoltWriter(io.BytesIO())
    with pytest.raises(ValueError, match="out of order"):
        writer.write_bucket(b"key", 0, [(b"b", b""), (b"a", b"")])
