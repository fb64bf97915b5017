"""Live objects are counted by resource and by encryption key, whatever history the snapshot holds."""

from pathlib import Path

import pytest

from kubedr_server.snapshot.errors import NotASnapshotError
from kubedr_server.snapshot.mvcc import REVISION, parse_head, parse_key_value
from kubedr_server.snapshot.objects import (
    OTHER,
    EncryptionKey,
    encryption_key,
    live_objects,
    resource_of,
    take_inventory,
)
from kubedr_server.snapshot.rebuild_script import BoltWriter


def number(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


def key_value(key: bytes, revision: int, value: bytes, version: int = 1) -> bytes:
    numbers = b"\x10" + number(revision) + b"\x18" + number(revision) + b"\x20" + number(version)
    return (
        b"\x0a" + number(len(key)) + key + numbers + (b"\x2a" + number(len(value)) + value if value else b"")
    )


def write(path: Path, history: list[tuple[bytes, bytes | None]]) -> Path:
    """Write a snapshot in which each entry of `history` is one revision; None deletes the key."""
    records = []
    for revision, (key, value) in enumerate(history, start=2):
        name = REVISION.pack(revision, b"_", 0)
        if value is None:
            records.append((name + b"t", b"\x0a" + number(len(key)) + key))
        else:
            records.append((name, key_value(key, revision, value, revision)))
    with path.open("w+b") as file:
        writer = BoltWriter(file)
        writer.write_bucket(b"key", 0, records)
        writer.finish(1)
    return path


def test_only_the_newest_version_of_a_key_that_still_exists_counts(tmp_path: Path) -> None:
    path = write(
        tmp_path / "db",
        [
            (b"/registry/pods/a/one", b"old"),
            (b"/registry/pods/a/two", b"x" * 5000),
            (b"/registry/pods/a/one", b"new"),
            (b"/registry/secrets/a/gone", b"y"),
            (b"/registry/secrets/a/gone", None),
            (b"/registry/secrets/a/back", b"1"),
            (b"/registry/secrets/a/back", None),
            (b"/registry/secrets/a/back", b"2"),
        ],
    )
    found = {each.key: (each.value_prefix, each.revision) for each in live_objects(path)}
    assert found == {
        b"/registry/pods/a/one": (b"new", 4),
        b"/registry/pods/a/two": (b"x" * 320, 3),
        b"/registry/secrets/a/back": (b"2", 9),
    }
    inventory = take_inventory(path)
    assert inventory.resources == {"pods": 2, "secrets": 1}
    assert inventory.total == 3
    assert not inventory.encrypted


@pytest.mark.parametrize(
    ("key", "root", "resource"),
    [
        (b"/registry/pods/default/web", b"registry", "pods"),
        (b"/registry/services/specs/default/web", b"registry", "services"),
        (b"/registry/services/endpoints/default/web", b"registry", "endpoints"),
        (b"/registry/cert-manager.io/certificates/a/b", b"registry", "cert-manager.io/certificates"),
        (
            b"/registry/apiregistration.k8s.io/apiservices/v1.",
            b"registry",
            "apiregistration.k8s.io/apiservices",
        ),
        (b"/registry/health", b"registry", "health"),
        (b"compact_rev_key", b"registry", OTHER),
        (b"/registryother/pods/a", b"registry", OTHER),
        (b"/kubernetes.io/east/pods/a", b"kubernetes.io/east", "pods"),
        (b"/registry/pods\xff/a", b"registry", "pods\N{REPLACEMENT CHARACTER}"),
        (b"pods/a", b"", "pods"),
        (b"/registry/", b"registry", OTHER),
    ],
)
def test_a_key_tells_its_resource(key: bytes, root: bytes, resource: str) -> None:
    assert resource_of(key, root) == resource


def test_objects_encrypted_at_rest_are_counted_by_provider_and_key(tmp_path: Path) -> None:
    path = write(
        tmp_path / "db",
        [
            (b"/prod/secrets/a/one", b"k8s:enc:aescbc:v1:key1:\x00\x01"),
            (b"/prod/secrets/a/two", b"k8s:enc:aescbc:v1:key2:\x00\x01"),
            (b"/prod/configmaps/a/three", b"k8s:enc:kms:v2:vault-east:\xff"),
            (b"/prod/secrets/a/one", b"k8s:enc:aescbc:v1:key2:\x00\x02"),
            (b"/prod/secrets/a/plain", b"k8s\x00\x0a"),
        ],
    )
    inventory = take_inventory(path, "/prod/")
    assert inventory.encrypted == {EncryptionKey("aescbc", "key2"): 2, EncryptionKey("kms", "vault-east"): 1}
    assert inventory.encrypted_resources == {"secrets": 2, "configmaps": 1}
    assert encryption_key(b"k8s:enc:strange") == EncryptionKey("unknown", "")


@pytest.mark.parametrize("version", [0, 1, 127, 128, 2**40])
@pytest.mark.parametrize("size", [0, 1, 127, 128, 20_000])
def test_the_short_way_to_a_record_finds_what_the_long_one_finds(version: int, size: int) -> None:
    for key in (b"k", b"k" * 200, b"k" * 20_000):
        data = key_value(key, 300, b"v" * size, version) + b"\x30\x07"
        head, whole = parse_head(data), parse_key_value(data)
        assert (head.key, head.version) == (whole.key, whole.version)
        assert data[head.value_start : head.value_end] == whole.value


def test_a_database_without_keys_is_not_etcds(tmp_path: Path) -> None:
    with (tmp_path / "db").open("w+b") as file:
        BoltWriter(file).finish(1)
    with pytest.raises(NotASnapshotError, match="no bucket 'key'"):
        take_inventory(tmp_path / "db")
