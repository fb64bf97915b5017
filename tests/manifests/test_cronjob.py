"""A policy's CronJob, whole, and what each field of the policy changes in it."""

from typing import Any

import pytest

from kubedr_server.api.metadata_backup_policy import DEFAULT_SNAPSHOT_FORMAT, MetadataBackupPolicySpec
from kubedr_server.manifests.cronjob import backup_cronjob
from kubedr_server.manifests.settings import RunnerSettings
from support.kubedr_objects import RUNNER, a_location, a_policy

LABELS = {
    "app.kubernetes.io/name": "kubedr",
    "app.kubernetes.io/component": "backup",
    "app.kubernetes.io/part-of": "kubedr",
    "app.kubernetes.io/managed-by": "kubedr",
    "kubedr.catalogicsoftware.com/operation": "backup",
    "kubedr.catalogicsoftware.com/policy": "nightly",
    "kubedr.catalogicsoftware.com/location": "minio",
}
AFFINITY = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {
                    "matchExpressions": [
                        {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}
                    ]
                },
                {"matchExpressions": [{"key": "node-role.kubernetes.io/master", "operator": "Exists"}]},
            ]
        }
    }
}
CONTAINER = {
    "name": "kubedr-runner",
    "image": "example.com/kubedr-backup:1",
    "imagePullPolicy": "IfNotPresent",
    "command": ["kubedr", "runner", "backup"],
    "env": [
        {
            "name": "KUBEDR_RUN_ID",
            "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/controller-uid']"}},
        },
        {"name": "KUBEDR_RESULT_PATH", "value": "/dev/termination-log"},
        {"name": "KUBEDR_DEADLINE_SECONDS", "value": "3570"},
        {"name": "KUBEDR_CLUSTER_ID", "value": "cluster-uid"},
        {"name": "KUBEDR_SCRATCH_DIR", "value": "/kubedr/scratch"},
        {"name": "KUBEDR_POLICY", "value": "kubedr-system/nightly"},
        {"name": "KUBEDR_REPOSITORY", "value": "s3:http://minio:9000/backups"},
        {"name": "KUBEDR_REPOSITORY_CREDENTIALS_DIR", "value": "/kubedr/repository-credentials"},
        {"name": "KUBEDR_ETCD_ENDPOINTS", "value": "https://127.0.0.1:2379"},
        {"name": "KUBEDR_ETCD_CREDENTIALS_DIR", "value": "/kubedr/etcd-credentials"},
        {"name": "KUBEDR_SNAPSHOT_FORMAT", "value": DEFAULT_SNAPSHOT_FORMAT},
        {"name": "KUBEDR_CERTIFICATES_DIR", "value": "/kubedr/certificates"},
    ],
    "volumeMounts": [
        {"name": "scratch", "mountPath": "/kubedr/scratch"},
        {"name": "repository-credentials", "mountPath": "/kubedr/repository-credentials", "readOnly": True},
        {"name": "etcd-credentials", "mountPath": "/kubedr/etcd-credentials", "readOnly": True},
        {"name": "certificates", "mountPath": "/kubedr/certificates", "readOnly": True},
    ],
    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    },
}
POD = {
    "restartPolicy": "Never",
    "automountServiceAccountToken": False,
    "serviceAccountName": "kubedr-runner",
    "enableServiceLinks": False,
    "terminationGracePeriodSeconds": 60,
    "hostNetwork": True,
    "dnsPolicy": "ClusterFirstWithHostNet",
    "affinity": AFFINITY,
    "tolerations": [{"operator": "Exists"}],
    "securityContext": {
        "runAsUser": 0,
        "runAsGroup": 0,
        "runAsNonRoot": False,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
    "containers": [CONTAINER],
    "volumes": [
        {"name": "scratch", "emptyDir": {}},
        {
            "name": "repository-credentials",
            "secret": {"secretName": "minio-creds", "defaultMode": 0o400, "optional": True},
        },
        {
            "name": "etcd-credentials",
            "secret": {"secretName": "etcd-creds", "defaultMode": 0o400, "optional": True},
        },
        {"name": "certificates", "hostPath": {"path": "/etc/kubernetes/pki", "type": ""}},
    ],
}


def test_a_policys_cronjob_is_built_whole() -> None:
    assert built(certsDir="/etc/kubernetes/pki") == {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            "name": "nightly-backup-cronjob",
            "namespace": "kubedr-system",
            "labels": LABELS,
            "ownerReferences": [
                {
                    "apiVersion": "kubedr.catalogicsoftware.com/v1alpha1",
                    "kind": "MetadataBackupPolicy",
                    "name": "nightly",
                    "uid": "uid-of-nightly",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "schedule": "*/10 * * * *",
            "concurrencyPolicy": "Forbid",
            "suspend": False,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "metadata": {"labels": LABELS},
                "spec": {
                    "activeDeadlineSeconds": 3600,
                    "backoffLimit": 0,
                    "template": {"metadata": {"labels": LABELS}, "spec": POD},
                },
            },
        },
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schedule", "@daily"),
        ("timeZone", "Europe/Berlin"),
        ("startingDeadlineSeconds", 300),
        ("suspend", True),
        ("successfulJobsHistoryLimit", 0),
        ("failedJobsHistoryLimit", 7),
    ],
)
def test_a_field_of_the_schedule_reaches_the_cronjob(field: str, value: Any) -> None:
    assert built(**{field: value})["spec"][field] == value


def test_a_field_that_the_policy_leaves_out_is_left_out() -> None:
    assert not {"timeZone", "startingDeadlineSeconds"} & built()["spec"].keys()


def test_the_runner_ends_before_its_job_so_that_it_can_report() -> None:
    cronjob = built(activeDeadlineSeconds=60)

    assert cronjob["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] == 60
    assert environment(cronjob)["KUBEDR_DEADLINE_SECONDS"] == "45"


def test_what_a_policy_names_of_the_node_is_mounted_read_only() -> None:
    policy = a_policy()
    policy.spec.certs_dir = None
    policy.spec.static_pods_dir = "/etc/kubernetes/manifests"
    policy.spec.kubeconfigs = ["/etc/kubernetes/admin.conf", "/root/other.conf"]
    policy.spec.encryption_config = "/etc/kubernetes/enc/config.yaml"
    spec = pod(backup_cronjob(policy, a_location(), RUNNER))
    container = spec["containers"][0]

    assert {entry["name"]: entry.get("value") for entry in container["env"]}.items() >= {
        "KUBEDR_STATIC_PODS_DIR": "/kubedr/static-pods",
        "KUBEDR_KUBECONFIGS_DIR": "/kubedr/kubeconfigs",
        "KUBEDR_ENCRYPTION_CONFIG_FILE": "/kubedr/encryption-config/config.yaml",
    }.items()
    mounted = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in spec["volumes"] if "hostPath" in volume}
    assert {place: paths[mount["name"]] for place, mount in mounted.items() if mount["name"] in paths} == {
        "/kubedr/static-pods": "/etc/kubernetes/manifests",
        "/kubedr/kubeconfigs/admin.conf": "/etc/kubernetes/admin.conf",
        "/kubedr/kubeconfigs/other.conf": "/root/other.conf",
        "/kubedr/encryption-config/config.yaml": "/etc/kubernetes/enc/config.yaml",
    }
    assert all(mounted[place]["readOnly"] for place in mounted if mounted[place]["name"] in paths)
    assert spec["securityContext"]["runAsUser"] == 0


def test_without_certificates_nothing_of_the_node_is_mounted_and_no_root_is_needed() -> None:
    cronjob = built()

    assert pod(cronjob)["securityContext"] == {
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "runAsNonRoot": True,
        "fsGroup": 65532,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert [volume["name"] for volume in pod(cronjob)["volumes"]] == [
        "scratch",
        "repository-credentials",
        "etcd-credentials",
    ]
    assert "KUBEDR_CERTIFICATES_DIR" not in environment(cronjob)


def test_the_etcd_of_the_policy_is_read_with_its_secret() -> None:
    cronjob = built(etcdEndpoint="https://a:2379,https://b:2379", etcdCreds="mine")

    assert environment(cronjob)["KUBEDR_ETCD_ENDPOINTS"] == "https://a:2379,https://b:2379"
    assert pod(cronjob)["volumes"][2]["secret"]["secretName"] == "mine"


def test_the_option_replaces_the_well_known_labels() -> None:
    cronjob = built(options={"master-node-label-name": "ismasternode"})

    assert pod(cronjob)["affinity"]["nodeAffinity"] == {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {"matchExpressions": [{"key": "ismasternode", "operator": "Exists"}]},
            ]
        }
    }


@pytest.mark.parametrize("tolerations", [[], [{"key": "etcd", "operator": "Exists"}]])
def test_given_tolerations_replace_the_default(tolerations: list[dict[str, str]]) -> None:
    assert pod(built(tolerations=tolerations))["tolerations"] == tolerations


def test_given_resources_replace_the_default() -> None:
    resources = {"limits": {"memory": "1Gi"}}

    assert pod(built(resources=resources))["containers"][0]["resources"] == resources


def test_a_location_that_is_edited_reaches_the_cronjob() -> None:
    location = a_location(
        url="https://s3.example.com/", prefix="east", region="eu-1", caSecret="ca", credentials="keys"
    )
    cronjob = backup_cronjob(a_policy(), location, RUNNER)

    assert environment(cronjob)["KUBEDR_REPOSITORY"] == "s3:https://s3.example.com/backups/east"
    assert environment(cronjob)["KUBEDR_REPOSITORY_REGION"] == "eu-1"
    assert environment(cronjob)["KUBEDR_REPOSITORY_CA_FILE"] == "/kubedr/repository-ca/ca.crt"
    assert [volume.get("secret", {}).get("secretName") for volume in pod(cronjob)["volumes"]] == [
        None,
        "keys",
        "ca",
        "etcd-creds",
    ]


def test_the_installations_settings_reach_the_pod() -> None:
    settings = RunnerSettings(
        image="example.com/other@sha256:0",
        cluster_id="c",
        image_pull_policy="Always",
        image_pull_secrets=("pull",),
        service_account_name="other",
        priority_class_name="system-cluster-critical",
    )
    spec = pod(backup_cronjob(a_policy(), a_location(), settings))

    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert spec["serviceAccountName"] == "other"
    assert spec["priorityClassName"] == "system-cluster-critical"
    assert spec["containers"][0]["image"] == "example.com/other@sha256:0"
    assert spec["containers"][0]["imagePullPolicy"] == "Always"


ELSEWHERE = {
    "destination": "names the location, which is passed in",
    "retain_num_backups": "is kept by the controller, over the records",
    "retain_hourly": "likewise",
    "retain_daily": "likewise",
    "retain_weekly": "likewise",
    "retain_monthly": "likewise",
    "drill_schedule": "is kept by the controller, which makes the drill's Job",
    "spread_minutes": "changes the schedule, if the policy's share of it is not 0",
}
REFLECTED: dict[str, Any] = {
    "schedule": "@daily",
    "time_zone": "UTC",
    "certs_dir": "/etc/pki",
    "static_pods_dir": "/etc/kubernetes/manifests",
    "kubeconfigs": ["/etc/kubernetes/admin.conf"],
    "encryption_config": "/etc/kubernetes/encryption.yaml",
    "snapshot_format": "other",
    "etcd_endpoint": "https://other:2379",
    "etcd_creds": "other",
    "suspend": True,
    "options": {"master-node-label-name": "x"},
    "starting_deadline_seconds": 77,
    "active_deadline_seconds": 77,
    "successful_jobs_history_limit": 77,
    "failed_jobs_history_limit": 77,
    "tolerations": [],
    "resources": {"limits": {"cpu": 7}},
}


@pytest.mark.parametrize("field", sorted(MetadataBackupPolicySpec.model_fields.keys() - ELSEWHERE.keys()))
def test_editing_any_field_of_a_policy_changes_its_cronjob(field: str) -> None:
    before, policy = a_policy(), a_policy()
    setattr(policy.spec, field, REFLECTED[field])

    assert backup_cronjob(policy, a_location(), RUNNER) != backup_cronjob(before, a_location(), RUNNER)


def test_a_policy_whose_cronjob_could_not_be_named_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 37 are possible"):
        backup_cronjob(a_policy("p" * 38), a_location(), RUNNER)


def built(**spec: Any) -> dict[str, Any]:
    return backup_cronjob(a_policy(**spec), a_location(), RUNNER)


def pod(cronjob: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return spec


def environment(cronjob: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in pod(cronjob)["containers"][0]["env"]}
