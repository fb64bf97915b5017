"""A backup by hand with KubeDR's own command; `test_main_job` makes its backups with kubectl's."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from kubedr_server.cli.backup_job import job_from
from support.clusters import Cluster
from support.kubectl import Kubectl
from support.protection import Protection

pytestmark = [pytest.mark.cluster, pytest.mark.storage, pytest.mark.slow, pytest.mark.timeout(300)]

CRONJOB = "policy-backup-cronjob"


def test_a_backup_by_hand_ends_in_a_record_and_its_job_is_the_one_that_kubectl_makes(
    cluster: Cluster, kubectl: Kubectl, protection: Callable[..., Protection]
) -> None:
    protected = protection()
    kubectl.apply(*protected.secrets(), protected.backup_location())
    kubectl.wait("condition=Ready", "backuplocation/location")
    kubectl.apply(protected.backup_policy())
    # No waiting in between: the command itself waits for the server.
    ours = subprocess.run(
        [
            *(sys.executable, "-m", "kubedr_server", "backup", "policy", "--wait", "-o", "json"),
            *("-n", kubectl.namespace, "--kubeconfig", str(kubectl.kubeconfig)),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert ours.returncode == 0, ours.stderr
    told = json.loads(ours.stdout)
    record = kubectl.get("metadatabackuprecord", told["record"])
    assert told["snapshotId"] == record["status"]["fullSnapshotId"]
    assert told["revision"] == record["status"]["revision"] >= protected.etcd.revision()
    # Of the pod's log; a lone kube-apiserver has no kubelet to ask for it.
    wanted = "Opened the repository" if cluster.kind == "local" else "The pod's log cannot be shown"
    assert wanted in ours.stderr

    # What kubectl makes is the same (and test_main_job follows such a Job to its record).
    made = kubectl("create", "job", f"--from=cronjob/{CRONJOB}", "now", "--dry-run=client", "-o", "json")
    # Some versions write out what is not there.
    theirs = json.loads(made, object_hook=lambda obj: {key: obj[key] for key in obj if obj[key] is not None})
    theirs.pop("status", None)
    assert job_from(kubectl.get("cronjob", CRONJOB), "now") == theirs
