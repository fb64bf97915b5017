"""What a backup holds beside etcd's data, and what is told of it."""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import Env, Operation
from support.etcd import EtcdServer
from support.local_runner import LocalPod

pytestmark = pytest.mark.storage

ENCRYPTED = b"k8s:enc:aescbc:v1:key1:\x00\x01\x02 not to be read"


@pytest.fixture(scope="module")
def own_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """Start an etcd that holds an encrypted Secret: the shared one must not."""
    with EtcdServer(tmp_path_factory.mktemp("own-etcd")) as server:
        server.put("/registry/secrets/default/encrypted", ENCRYPTED)
        server.put("/registry/secrets/default/plain", "k8s")
        server.put("/registry/apps.example.com/widgets/default/one", "{}")
        server.put("/elsewhere/key", "value")
        yield server


@pytest.fixture
def node(local_pod: LocalPod, own_etcd: EtcdServer, tmp_path: Path) -> LocalPod:
    """Return a pod with all that a policy can name of a node."""
    node = tmp_path / "node"
    manifests, kubeconfigs = node / "manifests", node / "kubeconfigs"
    for folder in (manifests, kubeconfigs):
        folder.mkdir(parents=True)
    containers = [{"name": "kube-apiserver", "command": ["kube-apiserver", "--etcd-prefix=/registry"]}]
    pod = {"kind": "Pod", "metadata": {"name": "kube-apiserver"}, "spec": {"containers": containers}}
    (manifests / "kube-apiserver.yaml").write_text(json.dumps(pod))
    (node / "admin.conf").write_text("kind: Config\n")
    (kubeconfigs / "admin.conf").symlink_to(node / "admin.conf")
    key = {"name": "key1", "secret": base64.b64encode(bytes(32)).decode()}
    resource = {"resources": ["secrets"], "providers": [{"aescbc": {"keys": [key]}}]}
    (node / "encryption.yaml").write_text(json.dumps({"resources": [resource]}))
    shutil.rmtree(local_pod.certificates)
    shutil.copytree(own_etcd.authority.directory, local_pod.certificates)
    local_pod.settings |= {
        Env.ETCD_ENDPOINTS: own_etcd.endpoint,
        Env.ETCD_CREDENTIALS_DIR: str(own_etcd.credentials_dir),
        Env.STATIC_PODS_DIR: str(manifests),
        Env.KUBECONFIGS_DIR: str(kubeconfigs),
        Env.ENCRYPTION_CONFIG_FILE: str(node / "encryption.yaml"),
    }
    return local_pod


def test_all_that_a_policy_names_comes_back_and_can_be_put_together_without_this_program(
    node: LocalPod, tmp_path: Path
) -> None:
    backup = node.done_here(Operation.BACKUP)
    proof = backup.result.backup
    assert proof is not None
    assert (proof.encrypted_objects, proof.unrestorable_objects) == (1, 0)
    assert proof.certificates_expire is not None
    assert proof.certificates_expire - datetime.now(UTC) < timedelta(days=31)

    plain = tmp_path / "plain"
    node.restic("restore", backup.snapshot_id, "--target", str(plain))
    assert sorted(path.name for path in plain.iterdir()) == [
        "certificates",
        "encryption-config",
        "etcd-segments",
        "kubeconfigs",
        "recovery",
        "static-pods",
    ]
    assert (plain / "kubeconfigs" / "admin.conf").read_text() == "kind: Config\n"
    argv = [sys.executable, "-I", "recovery/rebuild.py", "etcd-segments", "etcd-snapshot.db"]
    subprocess.run(argv, cwd=plain, check=True, capture_output=True, timeout=60)
    # The list has each file's digest, and etcd's snapshot as a restore gives it.
    subprocess.run(
        ["sha256sum", "--check", "--quiet", "recovery/SHA256SUMS"], cwd=plain, check=True, timeout=60
    )
    recorded = json.loads((plain / "recovery" / "backup.json").read_text())
    assert recorded["objects"] == {"secrets": 2, "apps.example.com/widgets": 1, "(other)": 1}
    assert recorded["encryptedObjects"] == {"aescbc key1": 1}
    assert (recorded["hash"], recorded["revision"]) == (proof.hash, proof.revision)
    assert recorded["hashKV"]["revision"] == proof.revision
    arguments = json.loads((plain / "recovery" / "arguments.json").read_text())
    assert arguments["kube-apiserver/kube-apiserver"][1] == "--etcd-prefix=/registry"
    assert [each["name"] for each in json.loads((plain / "recovery" / "members.json").read_text())] == [
        "default"
    ]
    readme = (plain / "recovery" / "README.txt").read_text()
    assert "python3 -I recovery/rebuild.py etcd-segments etcd-snapshot.db" in readme
    assert "--initial-cluster default=http" in readme

    by_kubedr = node.restored(backup.snapshot_id, "by-kubedr")
    assert (by_kubedr / "etcd-snapshot.db").read_bytes() == (plain / "etcd-snapshot.db").read_bytes()
    assert not (by_kubedr / "etcd-segments").exists()

    as_file = node.done_here(Operation.BACKUP, {Env.SNAPSHOT_FORMAT: "file"})
    assert as_file.result.backup is not None
    assert as_file.result.backup.revision == proof.revision
    restored = node.restored(as_file.snapshot_id, "as-file")
    assert (restored / "etcd-snapshot.db").stat().st_size == as_file.result.backup.snapshot_size


@pytest.mark.fault
def test_encrypted_objects_without_their_key_are_counted_and_told(node: LocalPod) -> None:
    backup = node.done_here(Operation.BACKUP, {Env.ENCRYPTION_CONFIG_FILE: None})
    proof = backup.result.backup
    assert proof is not None
    assert (proof.encrypted_objects, proof.unrestorable_objects) == (1, 1)
    assert any("spec.encryptionConfig" in warning for warning in backup.result.warnings)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        (Env.STATIC_PODS_DIR, "spec.staticPodsDir"),
        (Env.KUBECONFIGS_DIR, "spec.kubeconfigs"),
        (Env.ENCRYPTION_CONFIG_FILE, "spec.encryptionConfig"),
    ],
)
def test_what_is_named_and_not_there_fails_the_backup(node: LocalPod, name: Env, field: str) -> None:
    ended = node.here(Operation.BACKUP, {name: "/nonexistent/place"})
    assert ended.result.reason is Reason.NODE_FILES_UNREADABLE
    assert field in ended.result.message
