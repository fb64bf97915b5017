"""A cluster of three, and members that must not be backed up: the run takes another, or says why not."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import Env, Operation
from kubedr_server.local.demo.ports import free_ports
from kubedr_server.runner import etcd
from support.etcd import EtcdServer, etcd_cluster
from support.local_runner import LocalPod, copied_pod, wrapped

pytestmark = [
    pytest.mark.storage,
    pytest.mark.fault,
    pytest.mark.slow,
    # One worker makes the cluster, and keeps it.
    pytest.mark.xdist_group("etcd-members"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[EtcdServer]]:
    """Run a cluster; a test leaves it with its three members at work."""
    # Members are taken in without waiting for the cluster to have been whole for five seconds.
    arguments = ("--strict-reconfig-check=false",)
    with etcd_cluster(tmp_path_factory.mktemp("cluster"), extra_arguments=arguments) as members:
        members[0].put("/registry/configmaps/default/one", "value")
        yield members


@pytest.fixture
def pod(tmp_path: Path, cluster: list[EtcdServer], empty_repository: Path) -> LocalPod:
    """Return a pod that is to back up from the cluster's first member."""
    return copied_pod(tmp_path, cluster[0], empty_repository)


@contextmanager
def learner_of(cluster: list[EtcdServer], directory: Path) -> Iterator[EtcdServer]:
    """Add a member that is not to vote yet."""
    client_port, peer_port = free_ports(2)
    peers = {member.name: member.peer_url for member in cluster} | {
        "learner": f"https://127.0.0.1:{peer_port}"
    }
    cluster[0].etcdctl("member", "add", "learner", "--learner", f"--peer-urls={peers['learner']}")
    learner = EtcdServer(
        directory,
        name="learner",
        authority=cluster[0].authority,
        client_port=client_port,
        peer_port=peer_port,
        initial_cluster=",".join(f"{name}={url}" for name, url in peers.items()),
        initial_cluster_state="existing",
    )
    learner.process.start(lambda: True)
    try:
        learner.process.wait_until(lambda: status_of(learner).get("isLearner", False), seconds=60)
        yield learner
    finally:
        learner.stop()
        ident = next(row for row in cluster[1].etcdctl("member", "list").splitlines() if "learner" in row)
        cluster[1].etcdctl("member", "remove", ident.partition(",")[0])


def test_a_learner_is_passed_over_and_alone_gives_no_backup(
    pod: LocalPod, cluster: list[EtcdServer], tmp_path: Path
) -> None:
    with learner_of(cluster, tmp_path / "learner") as learner:
        pod.settings[Env.ETCD_ENDPOINTS] = learner.endpoint
        alone = pod.here(Operation.BACKUP)
        assert alone.result.reason is Reason.ETCD_UNHEALTHY, alone.log
        assert f"{learner.endpoint} is a learner, which may lag behind" in alone.result.message
        assert pod.snapshots() == []
        now = cluster[0].put("/registry/configmaps/default/newer", "value")
        pod.settings[Env.ETCD_ENDPOINTS] = f"{learner.endpoint},{cluster[0].endpoint}"
        backup = pod.done_here(Operation.BACKUP)
    assert backup.result.backup is not None
    assert backup.result.backup.etcd_endpoint == cluster[0].endpoint
    assert backup.result.backup.revision >= backup.result.backup.minimum_revision >= now
    told = f"Not backed up from: {learner.endpoint} is a learner, which may lag behind."
    assert told in backup.result.warnings


def test_a_member_that_has_lost_the_others_gives_no_backup(
    pod: LocalPod, cluster: list[EtcdServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcd, "_LEADER_PAUSE_SECONDS", 0.05)
    for member in cluster[1:]:
        member.process.signal(signal.SIGSTOP)
    try:
        # Until then it answers from what it has, and believes itself to be one of the cluster.
        cluster[0].process.wait_until(lambda: not has_leader(cluster[0]), seconds=60)
        ended = pod.here(Operation.BACKUP)
    finally:
        for member in cluster[1:]:
            member.process.signal(signal.SIGCONT)
        for member in cluster:
            member.process.wait_until(member.is_ready, seconds=60)
    assert ended.result.reason is Reason.ETCD_UNHEALTHY, ended.log
    assert f"No member can be backed up: {cluster[0].endpoint} has no leader." in ended.result.message
    assert pod.snapshots() == []


def test_a_new_leader_meanwhile_does_no_harm_and_a_member_that_is_gone_is_told(
    pod: LocalPod, cluster: list[EtcdServer], tmp_path: Path
) -> None:
    leader = leader_of(cluster)
    # Never the first: that one is killed later, and an election then is another test's matter.
    heir = next(member for member in cluster[1:] if member is not leader)
    tls = f"--cacert={leader.ca} --cert={leader.cert} --key={leader.key}"
    moved = tmp_path / "moved"
    path = wrapped(
        tmp_path / "programs",
        "etcdctl",
        'case "$*" in *"snapshot save"*)\n'
        f"  real --endpoints={leader.endpoint} {tls} move-leader {member_id(heir):x} >{moved};; esac\n"
        'real "$@"',
    )
    pod.settings[Env.ETCD_ENDPOINTS] = ",".join(member.endpoint for member in cluster)
    backup = pod.done_here(Operation.BACKUP, {"PATH": path})
    assert moved.read_text().startswith("Leadership transferred")
    assert all("No certificate" in warning for warning in backup.result.warnings), "members were compared"
    cluster[0].kill()
    try:
        cluster[1].process.wait_until(cluster[1].is_ready, seconds=60)  # whoever leads now
        another = pod.done_here(Operation.BACKUP)
    finally:
        cluster[0].start(seconds=60)
    assert another.result.backup is not None
    assert another.result.backup.etcd_endpoint == cluster[1].endpoint
    assert any("cannot be reached" in warning for warning in another.result.warnings)


def status_of(member: EtcdServer) -> dict[str, Any]:
    """Return what a member says of itself; nothing while it does not answer."""
    try:
        (item,) = json.loads(member.etcdctl("endpoint", "status", "--write-out=json"))
    except subprocess.CalledProcessError:
        return {}
    found: dict[str, Any] = item["Status"]
    return found


def has_leader(member: EtcdServer) -> bool:
    """Whether a member knows a leader."""
    return bool(status_of(member).get("leader"))


def leader_of(cluster: list[EtcdServer]) -> EtcdServer:
    """Return the member that leads, once one does."""
    found: list[EtcdServer] = []

    def look() -> bool:
        found[:] = [member for member in cluster if is_leader(member)]
        return bool(found)

    cluster[0].process.wait_until(look, seconds=60)
    return found[0]


def is_leader(member: EtcdServer) -> bool:
    """Whether a member is the leader."""
    status = status_of(member)
    return bool(status) and bool(status["header"]["member_id"] == status.get("leader"))


def member_id(member: EtcdServer) -> int:
    """Return a member's id."""
    return int(status_of(member)["header"]["member_id"])
