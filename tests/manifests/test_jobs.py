"""The Jobs for a repository, for restoring and for forgetting, as plain data."""

import json
from typing import Any

from kubedr_server.manifests.jobs import (
    check_job,
    check_job_name,
    forget_job,
    forget_job_name,
    health_job,
    health_job_name,
    init_job,
    init_job_name,
    prune_job,
    prune_job_name,
    restore_job,
    restore_job_name,
)
from support.kubedr_objects import RUNNER, SNAPSHOT, a_location, a_record, a_restore

RESTRICTED = {
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "runAsNonRoot": True,
    "fsGroup": 65532,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
SCRATCH = {"name": "scratch", "mountPath": "/kubedr/scratch"}
JOB_UID = {"fieldPath": "metadata.labels['batch.kubernetes.io/controller-uid']"}
CREDENTIALS = {
    "name": "repository-credentials",
    "mountPath": "/kubedr/repository-credentials",
    "readOnly": True,
}


def test_an_initialisation_is_built_whole() -> None:
    location = a_location()
    labels = labels_of("init", location="minio")

    assert init_job(location, RUNNER, "attempt-1") == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": init_job_name(location, "attempt-1"),
            "namespace": "kubedr-system",
            "labels": labels,
            "ownerReferences": [owner("BackupLocation", "minio")],
        },
        "spec": {
            "activeDeadlineSeconds": 600,
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": 3600,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "serviceAccountName": "kubedr-runner",
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": 60,
                    "securityContext": RESTRICTED,
                    "containers": [
                        {
                            "name": "kubedr-runner",
                            "image": "example.com/kubedr-backup:1",
                            "imagePullPolicy": "IfNotPresent",
                            "command": ["kubedr", "runner", "init"],
                            "env": [
                                {"name": "KUBEDR_RUN_ID", "valueFrom": {"fieldRef": JOB_UID}},
                                {"name": "KUBEDR_RESULT_PATH", "value": "/dev/termination-log"},
                                {"name": "KUBEDR_DEADLINE_SECONDS", "value": "570"},
                                {"name": "KUBEDR_CLUSTER_ID", "value": "cluster-uid"},
                                {"name": "KUBEDR_SCRATCH_DIR", "value": "/kubedr/scratch"},
                                {"name": "KUBEDR_REPOSITORY", "value": "s3:http://minio:9000/backups"},
                                {
                                    "name": "KUBEDR_REPOSITORY_CREDENTIALS_DIR",
                                    "value": "/kubedr/repository-credentials",
                                },
                            ],
                            "volumeMounts": [SCRATCH, CREDENTIALS],
                            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                            "terminationMessagePath": "/dev/termination-log",
                            "terminationMessagePolicy": "File",
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"]},
                            },
                        }
                    ],
                    "volumes": [
                        {"name": "scratch", "emptyDir": {}},
                        {
                            "name": "repository-credentials",
                            "secret": {
                                "secretName": "minio-creds",
                                "defaultMode": 0o400,
                                "optional": True,
                            },
                        },
                    ],
                },
            },
        },
    }


def test_a_location_that_checks_no_certificate_says_so_to_the_runner() -> None:
    job = init_job(a_location(insecureSkipTLSVerify=True), RUNNER, "1")

    assert environment(job)["KUBEDR_REPOSITORY_INSECURE_SKIP_TLS_VERIFY"] == "true"
    assert "KUBEDR_REPOSITORY_CA_FILE" not in environment(job)


def test_a_look_at_a_repository_is_an_initialisations_pod_with_another_command() -> None:
    location = a_location()
    job, init = health_job(location, RUNNER, "7", unlock=False), init_job(location, RUNNER, "7")

    assert job["metadata"] == {
        "name": health_job_name(location, "7"),
        "namespace": "kubedr-system",
        "labels": labels_of("health", location="minio"),
        "ownerReferences": [owner("BackupLocation", "minio")],
    }
    assert pod(job)["containers"][0]["command"] == ["kubedr", "runner", "health"]
    pod(init)["containers"][0]["command"] = ["kubedr", "runner", "health"]
    assert pod(job) == pod(init)
    assert job["spec"]["activeDeadlineSeconds"] == RUNNER.job_deadline_seconds


def test_locks_may_be_removed_only_where_the_builder_was_told_so() -> None:
    location = a_location()
    assert "KUBEDR_UNLOCK" not in environment(health_job(location, RUNNER, "1", unlock=False))
    assert environment(health_job(location, RUNNER, "1", unlock=True))["KUBEDR_UNLOCK"] == "true"


def test_a_check_reads_the_part_it_is_told_and_has_hours_for_it() -> None:
    location = a_location()
    job = check_job(location, RUNNER, "3", 2, 7)

    assert job["metadata"]["name"] == check_job_name(location, "3")
    assert job["metadata"]["labels"] == labels_of("check", location="minio")
    assert job["metadata"]["ownerReferences"] == [owner("BackupLocation", "minio")]
    assert pod(job)["containers"][0]["command"] == ["kubedr", "runner", "check"]
    assert environment(job)["KUBEDR_CHECK_PART"] == "2"
    assert environment(job)["KUBEDR_CHECK_PARTS"] == "7"
    assert environment(job)["KUBEDR_DEADLINE_SECONDS"] == str(6 * 3600 - 30)
    assert job["spec"]["activeDeadlineSeconds"] == 6 * 3600


def test_a_prune_has_hours_too() -> None:
    location = a_location()
    job = prune_job(location, RUNNER, "3")

    assert job["metadata"]["name"] == prune_job_name(location, "3")
    assert job["metadata"]["labels"] == labels_of("prune", location="minio")
    assert job["metadata"]["ownerReferences"] == [owner("BackupLocation", "minio")]
    assert pod(job)["containers"][0]["command"] == ["kubedr", "runner", "prune"]
    assert job["spec"]["activeDeadlineSeconds"] == 6 * 3600
    assert job["spec"]["backoffLimit"] == 0


def test_a_restore_writes_to_its_volume_and_runs_once() -> None:
    restore, record = a_restore(), a_record()
    job = restore_job(restore, record, a_location(), RUNNER)

    assert job["metadata"] == {
        "name": restore_job_name(restore),
        "namespace": "kubedr-system",
        "labels": labels_of("restore", restore="bring-back", record="mbr-9a9808ce", location="minio"),
        "ownerReferences": [owner("MetadataRestore", "bring-back")],
    }
    assert pod(job)["containers"][0]["command"] == ["kubedr", "runner", "restore"]
    assert pod(job)["containers"][0]["volumeMounts"] == [
        SCRATCH,
        CREDENTIALS,
        {"name": "target", "mountPath": "/kubedr/target"},
    ]
    assert pod(job)["volumes"][-1] == {
        "name": "target",
        "persistentVolumeClaim": {"claimName": "restored"},
    }
    assert pod(job)["securityContext"] == RESTRICTED
    assert environment(job)["KUBEDR_TARGET_DIR"] == "/kubedr/target"
    assert job["spec"]["activeDeadlineSeconds"] == RUNNER.restore_deadline_seconds
    assert job["spec"]["backoffLimit"] == 0


def test_a_snapshot_is_named_in_full_where_the_record_knows_it() -> None:
    location = a_location()
    short = a_record(status={"fullSnapshotId": None})

    assert environment(forget_job(a_record(), location, RUNNER, "1"))["KUBEDR_SNAPSHOT_ID"] == SNAPSHOT
    assert environment(forget_job(short, location, RUNNER, "1"))["KUBEDR_SNAPSHOT_ID"] == "9a9808ce"


def test_the_job_that_forgets_belongs_to_the_location_and_names_the_record() -> None:
    record = a_record()
    job = forget_job(record, a_location(), RUNNER, "1")

    assert job["metadata"] == {
        "name": forget_job_name(record, "1"),
        "namespace": "kubedr-system",
        "labels": labels_of("forget", record="mbr-9a9808ce", location="minio"),
        "ownerReferences": [owner("BackupLocation", "minio")],
    }
    assert pod(job)["containers"][0]["command"] == ["kubedr", "runner", "forget"]


def test_only_a_backup_reaches_the_nodes_network_or_its_files() -> None:
    location, record = a_location(), a_record()
    for job in (
        init_job(location, RUNNER, "1"),
        health_job(location, RUNNER, "1", unlock=True),
        check_job(location, RUNNER, "1", 1, 7),
        prune_job(location, RUNNER, "1"),
        restore_job(a_restore(), record, location, RUNNER),
        forget_job(record, location, RUNNER, "1"),
    ):
        assert not {"hostNetwork", "dnsPolicy", "affinity", "tolerations"} & pod(job).keys()
        assert not [volume for volume in pod(job)["volumes"] if "hostPath" in volume]


def test_another_attempt_and_another_object_of_the_same_name_have_other_jobs() -> None:
    first, second, later = a_location(), a_location(), a_location()
    later.metadata.uid = "another"

    assert init_job_name(first, "1") == init_job_name(second, "1")
    names = (init_job_name, health_job_name, check_job_name, prune_job_name)
    made = {name(location, attempt) for name in names for location in (first, later) for attempt in "12"}
    assert len(made) == 16


def test_building_twice_shares_nothing_that_an_edit_could_reach() -> None:
    location = a_location()
    before = json.dumps(init_job(location, RUNNER, "1"))
    pod(init_job(location, RUNNER, "1"))["containers"][0]["resources"]["requests"]["cpu"] = "9"

    assert json.dumps(init_job(location, RUNNER, "1")) == before


def labels_of(operation: str, **subjects: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "kubedr",
        "app.kubernetes.io/component": operation,
        "app.kubernetes.io/part-of": "kubedr",
        "app.kubernetes.io/managed-by": "kubedr",
        "kubedr.catalogicsoftware.com/operation": operation,
        **{f"kubedr.catalogicsoftware.com/{key}": name for key, name in subjects.items()},
    }


def owner(kind: str, name: str) -> dict[str, Any]:
    return {
        "apiVersion": "kubedr.catalogicsoftware.com/v1alpha1",
        "kind": kind,
        "name": name,
        "uid": f"uid-of-{name}",
        "controller": True,
        "blockOwnerDeletion": True,
    }


def pod(job: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = job["spec"]["template"]["spec"]
    return spec


def environment(job: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in pod(job)["containers"][0]["env"]}
