"""The YAML of KubeDR's own guide and README is accepted as it stands, and gets the documented defaults."""

import json
from pathlib import Path

import pytest
import yaml

from support.clusters import Cluster
from support.kubectl import Kubectl, Object
from support.tools import REPOSITORY_ROOT

pytestmark = pytest.mark.cluster

EXAMPLES = sorted((REPOSITORY_ROOT / "tests" / "api" / "examples").glob("*.yaml"))

DEFAULTS = {
    "MetadataBackupPolicy": {
        "etcdEndpoint": "https://127.0.0.1:2379",
        "etcdCreds": "etcd-creds",
        "retainNumBackups": 120,
        "suspend": False,
    },
}
"""As the guide documents them."""


def test_there_are_examples() -> None:
    assert {yaml.safe_load(path.read_text())["kind"] for path in EXAMPLES} >= {
        "BackupLocation",
        "MetadataBackupPolicy",
        "MetadataBackupRecord",
    }


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_accepted_and_keeps_what_it_says(
    cluster: Cluster, kubectl: Kubectl, path: Path
) -> None:
    document: Object = yaml.safe_load(path.read_text())
    text = path.read_text()
    if "resourceVersion" in document["metadata"]:
        # Printed by `kubectl get -o yaml`. No API server creates an object that has a version already.
        del document["metadata"]["resourceVersion"]
        text = yaml.safe_dump(document)
    if namespace := document["metadata"].get("namespace"):
        cluster.kubectl()("apply", "-f", "-", stdin=_namespace(namespace))
        kubectl = cluster.kubectl(namespace)
    kubectl("apply", "-f", "-", stdin=text)

    stored = kubectl.get(document["kind"], document["metadata"]["name"])
    for name, value in document["spec"].items():
        assert stored["spec"][name] == value
    for name, value in DEFAULTS.get(document["kind"], {}).items():
        assert stored["spec"][name] == document["spec"].get(name, value)


def test_what_a_policy_leaves_out_gets_the_documented_default(kubectl: Kubectl) -> None:
    kubectl.apply(
        {
            "apiVersion": "kubedr.catalogicsoftware.com/v1alpha1",
            "kind": "MetadataBackupPolicy",
            "metadata": {"name": "least"},
            "spec": {"destination": "somewhere", "schedule": "@daily"},
        }
    )
    spec = kubectl.get("metadatabackuppolicy", "least")["spec"]
    assert {name: spec.get(name) for name in DEFAULTS["MetadataBackupPolicy"]} == DEFAULTS[
        "MetadataBackupPolicy"
    ]


def _namespace(name: str) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
