"""Damage on the way from etcd to the repository: never a success, and nothing is stored."""

import os
import re
import resource
from pathlib import Path

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import EXIT_CODES, Env, Operation
from support.etcd import EtcdServer
from support.local_runner import LocalPod, wrapped

pytestmark = [pytest.mark.storage, pytest.mark.fault]


def assert_refused(pod: LocalPod, path: str, reason: Reason, words: str) -> str:
    """Assert that a backup with these programs fails and leaves nothing behind; return the sentence."""
    ended = pod.here(Operation.BACKUP, {"PATH": path})
    assert ended.result.reason is reason, ended.log
    assert ended.exit_code == EXIT_CODES[reason]
    assert words.lower() in ended.result.message.lower(), ended.log
    assert not list(Path(pod.settings[Env.REPOSITORY], "snapshots").iterdir())
    assert list(pod.scratch.iterdir()) == []
    return ended.result.message


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("printf x | dd of=$file bs=1 seek=9000 conv=notrunc", id="a byte flipped"),
        pytest.param("truncate --size=-512 $file", id="a block cut"),
        pytest.param("truncate --size=-100 $file", id="cut anywhere"),
    ],
)
def test_a_snapshot_damaged_on_its_way_is_refused(pod: LocalPod, tmp_path: Path, script: str) -> None:
    path = wrapped(
        tmp_path / "programs",
        "etcdctl",
        f'real "$@"; code=$?; for file; do :; done\n'
        f'case "$*" in *"snapshot save"*) {script} 2>/dev/null;; esac; exit $code',
    )
    # Its checks run at the same time: which of them is the first to find it is open.
    assert_refused(pod, path, Reason.SNAPSHOT_CORRUPT, "The etcd snapshot is damaged: ")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        pytest.param(
            """real "$@" | sed 's/"hash":[0-9]*/"hash":7/'""", "its hash is 7, and", id="another hash"
        ),
        pytest.param(
            """real "$@" | sed 's/"totalKey":[0-9]*/"totalKey":7/'""",
            "its count of revisions is 7",
            id="a lost key",
        ),
        pytest.param("echo 'invalid database' >&2; exit 1", "invalid database", id="no database"),
    ],
)
def test_a_backup_that_would_restore_to_something_else_is_not_stored(
    pod: LocalPod, tmp_path: Path, script: str, words: str
) -> None:
    path = wrapped(
        tmp_path / "programs", "etcdutl", f'case "$*" in *rebuilt.db*) {script};; *) real "$@";; esac'
    )
    assert_refused(pod, path, Reason.REBUILD_DIFFERS, words)


def test_a_snapshot_of_an_older_revision_is_refused(
    pod: LocalPod, etcd_server: EtcdServer, tmp_path: Path
) -> None:
    old = tmp_path / "old.db"
    etcd_server.etcdctl("snapshot", "save", str(old))
    etcd_server.put("/registry/configmaps/default/newer", "value")
    # As a member does that is cut off from the others.
    path = wrapped(
        tmp_path / "programs",
        "etcdctl",
        f'for file; do :; done; case "$*" in *"snapshot save"*) cp {old} "$file";; *) real "$@";; esac',
    )
    assert_refused(pod, path, Reason.SNAPSHOT_STALE, "the member lags behind or is cut off")


BROKEN_DEVICE = "/proc/self/mem"
"""Its beginning is the writer's own address 0, where nothing is: writing there is an I/O error."""

FILES = {
    "the stream": ("etcdctl", '"$file.part"'),
    "the trial": ("etcdutl", '"${file%/*}/rebuilt.db.partial"'),
}
"""What writes a file to scratch space, and the file, which the script makes a link to a device."""


def written_to(device: str, step: str, tmp_path: Path) -> str:
    """Return a PATH with which a step's file is on a device."""
    name, file = FILES[step]
    # etcdutl's options follow on the file, and etcdctl's come first.
    script = f'for file; do case "$file" in */snapshot.db) ln -s {device} {file};; esac; done; real "$@"'
    return wrapped(tmp_path / "programs", name, script)


@pytest.mark.parametrize("step", FILES)
def test_a_disk_that_fills_up_is_told_with_what_is_needed_and_nothing_is_left(
    pod: LocalPod, tmp_path: Path, step: str
) -> None:
    path = written_to("/dev/full", step, tmp_path)
    message = assert_refused(pod, path, Reason.DISK_FULL, "no space left on device")
    assert re.search(
        r"needs up to [\d.]+ MiB in /\S+, and [\d.]+ \w+ are free there without its own", message
    )


@pytest.mark.parametrize("step", FILES)
def test_a_disk_with_an_io_error_is_told_and_nothing_is_left(
    pod: LocalPod, tmp_path: Path, step: str
) -> None:
    path = written_to(BROKEN_DEVICE, step, tmp_path)
    assert_refused(pod, path, Reason.DISK_FAILED, "input/output error")


def test_a_segment_that_does_not_fit_is_told_with_what_is_needed_and_nothing_is_left(
    pod: LocalPod, etcd_server: EtcdServer, tmp_path: Path
) -> None:
    etcd_server.put("/registry/configmaps/default/large", os.urandom(600_000))
    path = wrapped(tmp_path / "programs", "etcdctl", 'ulimit -S -f "$(ulimit -H -f)"; real "$@"')
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
    try:
        message = assert_refused(pod, path, Reason.DISK_FULL, "file too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "are free there without its own files" in message
