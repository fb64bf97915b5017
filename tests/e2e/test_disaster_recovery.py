"""The commands of docs/disaster-recovery.md, run as they stand there, on what is left after a disaster.

Only paths, names and addresses are those of the test, which also does kubelet's part.
"""

import json
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from kubedr_server.contract import Env, Operation
from kubedr_server.runner.restore_commands import DATA_DIRECTORY, Member, restore_commands
from support.apiserver import ApiServer, assets
from support.etcd import EtcdServer, etcd_cluster
from support.kubectl import Kubectl
from support.runner import PASSWORD, RunnerPod, program_path
from support.s3 import S3Server

pytestmark = pytest.mark.storage

DOCUMENT = Path(__file__).parents[2] / "docs" / "disaster-recovery.md"
BUMP = 1_000_000_000
ENCRYPTION = """
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers: [{secretbox: {keys: [{name: key1, secret: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=}]}}]
"""
OBJECTS = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {a: b}
---
apiVersion: v1
kind: Secret
metadata: {name: db, namespace: shop}
data: {password: czNjcjN0}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: robot, namespace: shop}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: shop}
rules: [{apiGroups: [""], resources: [secrets], verbs: [get]}]
"""
WIDGET = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "one"}, "spec": {"size": 1}}
EVERYTHING = "namespaces,crd,configmaps,secrets,serviceaccounts,roles,clusterroles,widgets"


class OnCall:
    """A person with the bucket, its keys, the password and the document, at a machine of nothing else."""

    def __init__(self, pod: RunnerPod, snapshot_id: str, places: Mapping[str, str]) -> None:
        """`places` are what stands in the document, and what is here in its place."""
        root = pod.directory / "machine"
        safe = root / "safe"
        safe.mkdir(parents=True)
        (safe / "password").write_text(PASSWORD)
        for name in ("access_key", "secret_key"):
            shutil.copy(pod.credentials / name, safe)
        self.restored = root / "restore"
        self._replaced = {
            "s3:https://s3.example.com/cluster-backups": pod.settings[Env.REPOSITORY],
            "9a9808ce": snapshot_id[:8],
            "/safe": str(safe),
            "/restore": str(self.restored),
            **places,
        }
        own = Path(sys.executable).parent
        self._environment = {"PATH": f"{own}:{program_path()}", "HOME": str(root), "TMPDIR": str(root)}

    def run(self, *blocks: str, **places: str) -> str:
        """Run the blocks of the document that hold these words, in one shell; return what they print."""
        return self.run_script("\n".join(map(block_with, blocks)), places)

    def run_script(self, script: str, places: Mapping[str, str]) -> str:
        """Run commands, with what is here in place of what stands in the document."""
        replaced = {**self._replaced, **places}
        longest_first = sorted(replaced, key=len, reverse=True)
        names = re.compile(rf"(?<![\w/.-])(?:{'|'.join(map(re.escape, longest_first))})")
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", names.sub(lambda found: replaced[found[0]], script)],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{done.args[-1]}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def block_with(words: str) -> str:
    """Return the only block of commands in the document that holds these words."""
    blocks = re.findall(r"^ *```bash\n(.*?)^ *```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    (found,) = [text for text in blocks if words in text]
    return str(found)


def new_pod(folder: Path, s3: S3Server, etcd: EtcdServer) -> RunnerPod:
    """Return what backs up into a bucket of its own."""
    pod = RunnerPod(folder, s3, etcd, f"bucket-{uuid.uuid4().hex[:12]}")
    pod.plant()
    return pod


def test_a_control_plane_of_which_nothing_is_left_comes_back(
    tmp_path: Path, s3_server: S3Server, etcd_server: EtcdServer
) -> None:
    programs = assets()
    if programs is None:
        pytest.skip("no kube-apiserver: set KUBEBUILDER_ASSETS")
    machine = tmp_path / "control-plane"
    encryption = machine / "enc" / "enc.yaml"
    encryption.parent.mkdir(parents=True)
    encryption.write_text(ENCRYPTION)
    pod = new_pod(tmp_path / "pod", s3_server, etcd_server)
    server = ApiServer(machine, programs, [f"--encryption-provider-config={encryption}"])
    kubectl = Kubectl(server.kubeconfig, "shop")
    with server:
        kubectl("apply", "-f", "-", stdin=OBJECTS)
        kubectl("wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=60s")
        kubectl.apply(WIDGET)
        snapshot_id = back_up(pod, server, encryption)
        before = everything(kubectl)
        kubectl("create", "configmap", "made-after-the-backup")
        seen = kubectl.get("configmap", "made-after-the-backup")["metadata"]["resourceVersion"]
    shutil.rmtree(machine)

    places = {"/etc/kubernetes/pki": str(machine), "/etc/kubernetes": str(machine)}
    places |= {
        "/var/lib/etcd": f"{machine}/etcd",
        "cp-1": "default",
        "https://10.0.0.1:2380": server.peer_url,
    }
    person = OnCall(pod, snapshot_id, places)
    # Without KubeDR: restic, a Python and etcdutl.
    person.run(
        "export RESTIC_REPOSITORY",
        "restic snapshots",
        "restic restore",
        "--name cp-1 ",
    )
    person.run("mv /var/lib/etcd-restored", "cp -a /restore/certificates", "install -D -m 600")
    with server:
        assert everything(kubectl) == before
        assert kubectl("get", "secret", "db", "-o", "jsonpath={.data.password}") == "czNjcjN0"
        kubectl("create", "configmap", "new")
        assert int(kubectl.get("configmap", "new")["metadata"]["resourceVersion"]) > BUMP
        # Who lived through the disaster and watches on from what it saw last is told to list anew.
        watch = f"/api/v1/namespaces/shop/configmaps?watch=1&timeoutSeconds=20&resourceVersion={seen}"
        answer = kubectl.answer("get", "--raw", watch)
        assert "too old resource version" in answer.stdout + answer.stderr


def test_three_members_come_back_by_the_commands_that_are_printed_as_another_cluster(tmp_path: Path) -> None:
    with etcd_cluster(tmp_path) as members:
        first = members[0]
        first.put("/registry/configmaps/one", "kept")
        snapshot = tmp_path / "etcd-snapshot.db"
        first.etcdctl("snapshot", "save", str(snapshot))
        first.put("/registry/configmaps/one", "written after the backup")
        old_cluster = cluster_id(first)
        for member in members:
            member.kill()
            shutil.rmtree(member.data_dir)

        named = [Member(member.name, (member.peer_url,)) for member in members]
        commands = dict(restore_commands(snapshot, "restored-1", named))
        for member in members:
            script = commands[member.name].replace(DATA_DIRECTORY, str(member.data_dir))
            environment = {"PATH": program_path()}
            subprocess.run(
                ["bash", "-c", script], check=True, capture_output=True, timeout=60, env=environment
            )
            member.process.start(lambda: True)
        for member in members:
            member.process.wait_until(member.is_ready, seconds=60)
            assert member.get("/registry/configmaps/one") == b"kept"
        assert first.revision() > BUMP
        assert cluster_id(first) != old_cluster


def cluster_id(member: EtcdServer) -> int:
    """Return the id by which members know their own cluster."""
    return int(json.loads(member.etcdctl("member", "list", "-w", "json"))["header"]["cluster_id"])


def everything(kubectl: Kubectl) -> str:
    """Return the objects as they are stored, with their uids and resource versions."""
    return kubectl("get", EVERYTHING, "--all-namespaces", "--output=json")


def back_up(pod: RunnerPod, server: ApiServer, encryption: Path) -> str:
    """Back the server's etcd up with what its machine needs; return the snapshot's id."""
    machine, kubeconfigs, static_pods = (
        server.kubeconfig.parent,
        pod.directory / "conf",
        pod.directory / "static",
    )
    for folder in (kubeconfigs, static_pods):
        folder.mkdir()
    shutil.copy(server.kubeconfig, kubeconfigs)
    for path in (*machine.glob("*.crt"), *machine.glob("*.key"), machine / "tokens.csv"):
        shutil.copy(path, pod.certificates)
    command = ["kube-apiserver", f"--encryption-provider-config={encryption}"]
    manifest = {"spec": {"containers": [{"name": "kube-apiserver", "command": command}]}}
    (static_pods / "kube-apiserver.yaml").write_text(yaml.safe_dump(manifest))
    settings: dict[str, str | None] = {
        Env.ETCD_ENDPOINTS: server.etcd_url,
        Env.KUBECONFIGS_DIR: str(kubeconfigs),
        Env.STATIC_PODS_DIR: str(static_pods),
        Env.ENCRYPTION_CONFIG_FILE: str(encryption),
    }
    return pod.done(Operation.BACKUP, settings).snapshot_id
