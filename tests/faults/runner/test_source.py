"""An etcd that is compacted, defragmented, full or corrupt while it is backed up."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import Env, Operation
from kubedr_server.snapshot.objects import take_inventory
from support.etcd import EtcdServer
from support.local_runner import LocalPod, copied_pod, wrapped

pytestmark = [pytest.mark.storage, pytest.mark.fault]


@pytest.fixture
def own_etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    """Start a member that a test may harm."""
    with EtcdServer(tmp_path / "own-etcd") as server, server.client() as client:
        for number in range(60):
            client.put(f"/registry/configmaps/default/{number % 20}", f"value {number}" * 50)
        yield server


@pytest.fixture
def own_pod(tmp_path: Path, own_etcd: EtcdServer, empty_repository: Path) -> LocalPod:
    return copied_pod(tmp_path, own_etcd, empty_repository)


def test_a_compaction_and_a_defragmentation_meanwhile_do_no_harm(
    own_pod: LocalPod, own_etcd: EtcdServer, tmp_path: Path
) -> None:
    revision = own_etcd.revision()
    # The options that come before the words are the same for each command.
    path = wrapped(
        tmp_path / "programs",
        "etcdctl",
        'options=; for word; do case "$word" in --*) options="$options $word";; *) break;; esac; done\n'
        'case "$*" in *"snapshot save"*)\n'
        f"  real $options compaction {revision} >&2; real $options defrag >&2 &\n"
        f'  real "$@"; code=$?; real $options put other value >&2; wait; exit $code;; esac\n'
        'real "$@"',
    )
    backup = own_pod.done_here(Operation.BACKUP, {"PATH": path})
    assert backup.result.backup is not None
    assert backup.result.backup.revision >= backup.result.backup.minimum_revision >= revision
    target = own_pod.restored(backup.snapshot_id, "restored")
    assert take_inventory(target / "etcd-snapshot.db").resources["configmaps"] == 20


def test_a_full_etcd_is_backed_up_with_a_warning_and_a_corrupt_one_is_not(
    own_pod: LocalPod, own_etcd: EtcdServer
) -> None:
    with own_etcd.client() as client:
        client.call("maintenance/alarm", {"action": "ACTIVATE", "memberID": "1", "alarm": "NOSPACE"})
        full = own_pod.done_here(Operation.BACKUP)
        assert any("NOSPACE" in warning for warning in full.result.warnings)
        client.call("maintenance/alarm", {"action": "ACTIVATE", "memberID": "1", "alarm": "CORRUPT"})
    corrupt = own_pod.here(Operation.BACKUP)
    assert corrupt.result.reason is Reason.ETCD_CORRUPT
    assert len(list(Path(own_pod.settings[Env.REPOSITORY], "snapshots").iterdir())) == 1
