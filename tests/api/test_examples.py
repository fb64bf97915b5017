"""KubeDR's documented YAML reads with the documented defaults; so do the reference's examples."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from kubedr_server.api.base import Resource
from kubedr_server.api.examples import EXAMPLES
from kubedr_server.api.group import RECORD_FINALIZER
from kubedr_server.api.kinds import KINDS
from kubedr_server.api.metadata_backup_policy import DEFAULT_SNAPSHOT_FORMAT

FOLDER = Path(__file__).parent / "examples"
MODELS = {kind.name: kind.model for kind in KINDS}
POLICY_DEFAULTS = {
    "activeDeadlineSeconds": 3600,
    "etcdCreds": "etcd-creds",
    "etcdEndpoint": "https://127.0.0.1:2379",
    "failedJobsHistoryLimit": 3,
    "snapshotFormat": DEFAULT_SNAPSHOT_FORMAT,
    "retainNumBackups": 120,
    "successfulJobsHistoryLimit": 3,
    "suspend": False,
}
LOCATION_DEFAULTS: dict[str, Any] = {
    "healthSchedule": "@hourly",
    "checkSchedule": "@daily",
    "checkParts": 7,
    "pruneSchedule": "@weekly",
    "suspendMaintenance": False,
}
SPECS: dict[str, dict[str, Any]] = {
    "readme-backuplocation": {
        **LOCATION_DEFAULTS,
        "url": "http://10.96.57.3:9000",
        "bucketName": "testbucket",
        "credentials": "minio-creds",
    },
    "readme-metadatabackuppolicy": {
        **POLICY_DEFAULTS,
        "destination": "local-minio",
        "certsDir": "/var/lib/minikube/certs",
        "schedule": "*/10 * * * *",
        "retainNumBackups": 1,
    },
    "readme-metadatabackuprecord": {"policy": "test-backup", "snapshotId": "9a9808ce"},
    "guide-metadatabackuppolicy": {
        **POLICY_DEFAULTS,
        "destination": "remote-minio",
        "certsDir": "/etc/kubernetes/pki",
        "schedule": "*/10 * * * *",
        "retainNumBackups": 1,
    },
    "guide-metadatabackuppolicy-options": {
        **POLICY_DEFAULTS,
        "destination": "remote-minio",
        "schedule": "*/10 * * * *",
        "options": {"master-node-label-name": "ismasternode"},
    },
    "guide-metadatabackuprecord": {
        "policy": "backup-1582310055",
        "snapshotId": "00f2bb92",
        "backuploc": "tests3-1582310048",
    },
}


def read(text: str) -> Resource:
    document = yaml.safe_load(text)
    return MODELS[document["kind"]].model_validate(document)


@pytest.mark.parametrize("name", SPECS)
def test_a_documented_example_reads_with_the_documented_defaults(name: str) -> None:
    resource = read((FOLDER / f"{name}.yaml").read_text())

    assert resource.to_wire()["spec"] == SPECS[name]


def test_every_example_file_is_expected_here() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == sorted(SPECS)


def test_a_record_as_the_original_wrote_it_keeps_its_metadata() -> None:
    record = read((FOLDER / "guide-metadatabackuprecord.yaml").read_text())

    assert record.metadata.finalizers == [RECORD_FINALIZER]
    assert record.metadata.generation == 2


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
def test_the_references_example_is_complete(kind: str) -> None:
    written = yaml.safe_load(EXAMPLES[kind])
    resource = read(EXAMPLES[kind])

    assert type(resource).__name__ == kind
    assert written["spec"].items() <= resource.to_wire()["spec"].items()
