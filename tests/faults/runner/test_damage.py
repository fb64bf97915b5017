"""Damage on the way from etcd to the repository: never a success, and nothing is stored."""

from pathlib import Path

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import EXIT_CODES, Env, Operation
from support.etcd import EtcdServer
from support.local_runner import LocalPod, wrapped

pytestmark = [pytest.mark.storage, pytest.mark.fault]


def assert_refused(pod: LocalPod, path: str, reason: Reason, words: str) -> None:
    """Assert that a backup with these programs fails as told, and leaves nothing behind."""
    ended = pod.here(Operation.BACKUP, {"PATH": path})
    assert ended.result.reason is reason, ended.log
    assert ended.exit_code == EXIT_CODES[reason]
    assert words in ended.result.message
    assert not list(Path(pod.settings[Env.REPOSITORY], "snapshots").iterdir())
    assert list(pod.scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("script", "words"),
    [
        pytest.param("printf x | dd of=$file bs=1 seek=9000 conv=notrunc", "SHA-256", id="a byte flipped"),
        pytest.param("truncate --size=-512 $file", "SHA-256", id="a block cut"),
        pytest.param("truncate --size=-100 $file", "not whole pages", id="cut anywhere"),
    ],
)
def test_a_snapshot_damaged_on_its_way_is_refused(
    pod: LocalPod, tmp_path: Path, script: str, words: str
) -> None:
    path = wrapped(
        tmp_path / "programs",
        "etcdctl",
        f'real "$@"; code=$?; for file; do :; done\n'
        f'case "$*" in *"snapshot save"*) {script} 2>/dev/null;; esac; exit $code',
    )
    assert_refused(pod, path, Reason.SNAPSHOT_CORRUPT, words)


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


def test_a_disk_that_fills_up_is_told_and_nothing_is_left(pod: LocalPod, tmp_path: Path) -> None:
    path = wrapped(
        tmp_path / "programs",
        "etcdctl",
        "for file; do :; done\n"
        'case "$*" in *"snapshot save"*) ln -s /dev/full "$file.part";; esac; real "$@"',
    )
    assert_refused(pod, path, Reason.DISK_FULL, "does not fit into")
