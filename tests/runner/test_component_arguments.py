"""What the control plane runs with is read from its manifests."""

import json
from pathlib import Path

from kubedr_server.runner import component_arguments


def manifest(name: str, *command: str) -> str:
    containers = [{"name": name.removesuffix("-node1"), "command": list(command[:1]), "args": command[1:]}]
    return json.dumps({"kind": "Pod", "metadata": {"name": name}, "spec": {"containers": containers}})


def test_each_containers_words_are_listed_by_pod_and_container(tmp_path: Path) -> None:
    (tmp_path / "kube-apiserver.yaml").write_text(
        manifest("kube-apiserver-node1", "kube-apiserver", "--etcd-prefix=/other", "--secure-port=6443")
    )
    (tmp_path / "etcd.yaml").write_text(manifest("etcd", "etcd", "--name=node1"))
    found = component_arguments.read(tmp_path)
    assert found == {
        "etcd/etcd": ["etcd", "--name=node1"],
        "kube-apiserver-node1/kube-apiserver": [
            "kube-apiserver",
            "--etcd-prefix=/other",
            "--secure-port=6443",
        ],
    }
    assert component_arguments.etcd_prefix(found) == "/other"


def test_what_is_no_pod_is_left_out(tmp_path: Path) -> None:
    for name, content in (
        ("a.yaml", "["),
        ("b.yaml", "kind: Service"),
        ("c.yaml", "- 1"),
        ("d.txt", "kind: Pod"),
    ):
        (tmp_path / name).write_text(content)
    (tmp_path / "e.yaml").write_text("kind: Pod\nspec: {containers: [7]}\n")
    assert component_arguments.read(tmp_path) == {}
    assert component_arguments.etcd_prefix({}) is None
