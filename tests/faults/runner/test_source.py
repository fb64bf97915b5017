"""An etcd that is compacted, defragmented, full or corrupt while it is backed up."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import Env, Operation
from kubedr_server.snapshot.objects import take_inventory
from support.etcd import EtcdServer, etcd_cluster
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


@pytest.mark.slow
def test_a_new_leader_meanwhile_does_no_harm_and_a_member_that_is_gone_is_told(
    tmp_path: Path, empty_repository: Path
) -> None:
    with etcd_cluster(tmp_path / "cluster") as members:
        members[0].put("/registry/configmaps/default/one", "value")
        pod = copied_pod(tmp_path, members[0], empty_repository)
        leader = next(member for member in members if is_leader(member))
        # Never the first: that one is killed later, and an election then is another test's matter.
        heir = next(member for member in members[1:] if member is not leader)
        tls = f"--cacert={leader.ca} --cert={leader.cert} --key={leader.key}"
        path = wrapped(
            tmp_path / "programs",
            "etcdctl",
            'case "$*" in *"snapshot save"*)\n'
            f"  real --endpoints={leader.endpoint} {tls} move-leader {member_id(heir):x} >&2;; esac\n"
            'real "$@"',
        )
        pod.settings[Env.ETCD_ENDPOINTS] = ",".join(member.endpoint for member in members)
        backup = pod.done_here(Operation.BACKUP, {"PATH": path})
        assert not is_leader(leader)
        assert all("No certificate" in warning for warning in backup.result.warnings), "members were compared"
        members[0].kill()
        another = pod.done_here(Operation.BACKUP)
        assert another.result.backup is not None
        assert another.result.backup.etcd_endpoint == members[1].endpoint
        assert any("cannot be reached" in warning for warning in another.result.warnings)


def status_of(member: EtcdServer) -> dict[str, int]:
    """Return what a member says of itself: its own id, and its leader's."""
    (item,) = json.loads(member.etcdctl("endpoint", "status", "--write-out=json"))
    return {"id": item["Status"]["header"]["member_id"], "leader": item["Status"]["leader"]}


def is_leader(member: EtcdServer) -> bool:
    """Whether a member is the leader."""
    status = status_of(member)
    return status["id"] == status["leader"]


def member_id(member: EtcdServer) -> int:
    """Return a member's id."""
    return status_of(member)["id"]
