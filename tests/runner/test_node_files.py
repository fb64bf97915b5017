"""What a policy names of the node is copied as it is, and no link is followed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.runner import node_files
from kubedr_server.runner.failure import RunFailureError


def no_warning(message: str) -> None:
    pytest.fail(f"unexpected warning: {message}")


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    directory = tmp_path / "pki"
    (directory / "etcd").mkdir(parents=True, mode=0o750)
    (directory / "ca.crt").write_text("ca")
    (directory / "ca.key").write_text("key")
    (directory / "ca.key").chmod(0o600)
    (directory / "etcd" / "server.crt").write_text("server")
    return directory


def test_files_permissions_and_times_are_kept(pki: Path, tmp_path: Path) -> None:
    os.utime(pki / "ca.crt", (1_600_000_000, 1_600_000_000))
    (pki / "etcd").chmod(0o550)
    copied = node_files.copy(node_files.certificates(pki), tmp_path / "copy", no_warning)
    assert copied.sizes == {"ca.crt": 2, "ca.key": 3, "etcd/server.crt": 6}
    assert node_files.total_size(node_files.certificates(pki)) == 11
    assert (tmp_path / "copy" / "ca.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "copy" / "etcd").stat().st_mode & 0o777 == 0o550
    assert (tmp_path / "copy" / "ca.crt").stat().st_mtime == 1_600_000_000


def test_a_mounted_secret_keeps_its_links(tmp_path: Path) -> None:
    directory = tmp_path / "secret"
    (directory / "..2026").mkdir(parents=True)
    (directory / "..2026" / "ca.crt").write_text("ca")
    (directory / "..data").symlink_to("..2026")
    (directory / "ca.crt").symlink_to("..data/ca.crt")
    copied = node_files.copy(node_files.certificates(directory), tmp_path / "copy", no_warning)
    assert copied.files == 1
    assert (tmp_path / "copy" / "ca.crt").read_text() == "ca"
    assert (tmp_path / "copy" / "ca.crt").readlink() == Path("..data/ca.crt")


@pytest.mark.parametrize("pointed", ["/etc/passwd", "../outside", "nowhere"])
def test_a_link_out_of_the_directory_is_copied_as_a_link_and_told(
    pki: Path, tmp_path: Path, pointed: str
) -> None:
    (tmp_path / "outside").write_text("a secret of the pod")
    (pki / "link").symlink_to(pointed)
    warnings: list[str] = []
    copied = node_files.copy(node_files.certificates(pki), tmp_path / "copy", warnings.append)
    assert "link" not in copied.sizes
    assert (tmp_path / "copy" / "link").is_symlink()
    assert str((tmp_path / "copy" / "link").readlink()) == pointed
    assert len(warnings) == 1
    assert "link" in warnings[0]


def test_a_link_to_a_directory_is_not_walked_into(pki: Path, tmp_path: Path) -> None:
    (pki / "loop").symlink_to(".")
    assert node_files.copy(node_files.certificates(pki), tmp_path / "copy", no_warning).files == 3


def test_a_socket_is_left_out_and_told(pki: Path, tmp_path: Path) -> None:
    os.mkfifo(pki / "pipe")
    warnings: list[str] = []
    assert node_files.copy(node_files.certificates(pki), tmp_path / "copy", warnings.append).files == 3
    assert "pipe is neither a file" in warnings[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read any file")
def test_a_file_that_cannot_be_read_is_named(pki: Path, tmp_path: Path) -> None:
    (pki / "ca.key").chmod(0)
    with pytest.raises(RunFailureError, match=r"ca\.key .* cannot be read: Permission denied") as caught:
        node_files.copy(node_files.certificates(pki), tmp_path / "copy", no_warning)
    assert caught.value.reason is Reason.CERTIFICATES_UNREADABLE


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (node_files.certificates, "spec.certsDir"),
        (node_files.static_pods, "spec.staticPodsDir"),
        (node_files.kubeconfigs, "spec.kubeconfigs"),
    ],
)
@pytest.mark.parametrize("state", ["missing", "empty"])
def test_a_directory_that_is_missing_or_empty_is_told_with_its_field(
    tmp_path: Path, make: Callable[[Path], node_files.Source], field: str, state: str
) -> None:
    directory = tmp_path / "directory"
    if state == "empty":
        directory.mkdir()
    source = make(directory)
    with pytest.raises(RunFailureError, match=field.replace(".", r"\.")) as caught:
        node_files.copy(source, tmp_path / "copy", no_warning)
    assert caught.value.reason is source.reason


@pytest.mark.parametrize("state", ["missing", "empty", "directory"])
def test_an_encryption_configuration_that_is_no_file_is_a_failure(tmp_path: Path, state: str) -> None:
    path = tmp_path / "encryption.yaml"
    if state == "empty":
        path.touch()
    elif state == "directory":
        # What a container runtime makes of a path that does not exist on the node.
        path.mkdir()
    with pytest.raises(RunFailureError, match=r"spec\.encryptionConfig") as caught:
        node_files.copy(node_files.encryption_config(path), tmp_path / "copy", no_warning)
    assert caught.value.reason is Reason.NODE_FILES_UNREADABLE


def test_a_kubeconfig_that_is_missing_among_others_is_named(tmp_path: Path) -> None:
    directory = tmp_path / "kubeconfigs"
    (directory / "scheduler.conf").mkdir(parents=True)
    (directory / "admin.conf").write_text("kind: Config")
    with pytest.raises(
        RunFailureError, match=r"^NodeFilesUnreadable: scheduler\.conf, which spec\.kubeconfigs"
    ):
        node_files.copy(node_files.kubeconfigs(directory), tmp_path / "copy", no_warning)


def test_only_the_named_file_is_copied_even_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text("kind: EncryptionConfiguration")
    (tmp_path / "encryption.yaml").symlink_to("real.yaml")
    (tmp_path / "other").write_text("not asked for")
    source = node_files.encryption_config(tmp_path / "encryption.yaml")
    copied = node_files.copy(source, tmp_path / "copy", no_warning)
    assert copied.sizes == {"encryption.yaml": 29}
    assert [path.is_symlink() for path in (tmp_path / "copy").iterdir()] == [False]
