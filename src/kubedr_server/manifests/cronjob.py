"""The CronJob of a policy. Every field of the policy's spec that concerns a run is in it."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from kubedr_server.api.backup_location import BackupLocation
from kubedr_server.api.metadata_backup_policy import (
    CONTROL_PLANE_LABELS,
    MASTER_LABEL_OPTION,
    MetadataBackupPolicy,
    MetadataBackupPolicySpec,
)
from kubedr_server.api.names import backup_cronjob_name
from kubedr_server.contract import Env, Mount, Operation
from kubedr_server.manifests.labels import Label, object_metadata, template_metadata
from kubedr_server.manifests.parts import Part, join, repository, secret, setting
from kubedr_server.manifests.pod import Placement, pod_spec
from kubedr_server.manifests.schedule import effective_schedule
from kubedr_server.manifests.settings import RunnerSettings

TOLERATE_EVERYTHING: list[dict[str, Any]] = [{"operator": "Exists"}]


def backup_cronjob(
    policy: MetadataBackupPolicy, location: BackupLocation, settings: RunnerSettings
) -> dict[str, Any]:
    """Return the CronJob `<policy>-backup-cronjob`; ValueError if the policy's name is too long.

    One tick is one Job is one pod: a failed backup is not retried within its run. The run has one
    outcome that can be told, a broken setting is not tried seven times against someone's storage, and the
    next tick is the retry.
    """
    spec = policy.spec
    subjects = {Label.POLICY: policy.metadata.name, Label.LOCATION: location.metadata.name}
    cronjob_spec: dict[str, Any] = {
        "schedule": schedule_of(policy, settings),
        # Two backups of one etcd at once would only slow each other down.
        "concurrencyPolicy": "Forbid",
        "suspend": spec.suspend,
        "successfulJobsHistoryLimit": spec.successful_jobs_history_limit,
        "failedJobsHistoryLimit": spec.failed_jobs_history_limit,
        "jobTemplate": {
            "metadata": template_metadata(Operation.BACKUP, subjects),
            "spec": {
                "activeDeadlineSeconds": spec.active_deadline_seconds,
                "backoffLimit": 0,
                "template": {
                    "metadata": template_metadata(Operation.BACKUP, subjects),
                    "spec": _backup_pod(policy, location, settings),
                },
            },
        },
    }
    if spec.time_zone is not None:
        cronjob_spec["timeZone"] = spec.time_zone
    if spec.starting_deadline_seconds is not None:
        cronjob_spec["startingDeadlineSeconds"] = spec.starting_deadline_seconds
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": object_metadata(
            backup_cronjob_name(policy.metadata.name), policy, Operation.BACKUP, subjects
        ),
        "spec": cronjob_spec,
    }


def schedule_of(policy: MetadataBackupPolicy, settings: RunnerSettings) -> str:
    """Return when a policy's backups start. Policies of one name in two clusters start at other minutes."""
    metadata = policy.metadata
    return effective_schedule(policy.spec, f"{settings.cluster_id}/{metadata.namespace}/{metadata.name}")


def _backup_pod(
    policy: MetadataBackupPolicy, location: BackupLocation, settings: RunnerSettings
) -> dict[str, Any]:
    spec = policy.spec
    parts = [
        setting(Env.POLICY, f"{policy.metadata.namespace}/{policy.metadata.name}"),
        repository(location),
        setting(Env.ETCD_ENDPOINTS, spec.etcd_endpoint),
        setting(Env.ETCD_CREDENTIALS_DIR, Mount.ETCD_CREDENTIALS),
        secret("etcd-credentials", spec.etcd_creds, Mount.ETCD_CREDENTIALS),
    ]
    parts.append(setting(Env.SNAPSHOT_FORMAT, spec.snapshot_format))
    of_the_node = list(_node_files(spec))
    placement = Placement(
        # The private keys in a cluster's PKI directory are readable for root only. Nothing else needs it.
        root=bool(of_the_node),
        # etcd listens on 127.0.0.1 of its node.
        host_network=True,
        affinity=_control_plane_affinity(spec),
        tolerations=TOLERATE_EVERYTHING if spec.tolerations is None else spec.tolerations,
    )
    return pod_spec(
        Operation.BACKUP,
        join((*parts, *of_the_node)),
        settings,
        spec.active_deadline_seconds,
        placement,
        spec.resources,
    )


def _node_files(spec: MetadataBackupPolicySpec) -> Iterator[Part]:
    """Yield what is backed up of the node itself, beside etcd."""
    if spec.certs_dir is not None:
        yield setting(Env.CERTIFICATES_DIR, Mount.CERTIFICATES)
        yield _host_path("certificates", spec.certs_dir, Mount.CERTIFICATES)
    if spec.static_pods_dir is not None:
        yield setting(Env.STATIC_PODS_DIR, Mount.STATIC_PODS)
        yield _host_path("static-pods", spec.static_pods_dir, Mount.STATIC_PODS)
    for position, path in enumerate(spec.kubeconfigs or ()):
        if position == 0:
            yield setting(Env.KUBECONFIGS_DIR, Mount.KUBECONFIGS)
        yield _host_path(f"kubeconfig-{position}", path, f"{Mount.KUBECONFIGS}/{PurePosixPath(path).name}")
    if spec.encryption_config is not None:
        inside = f"{Mount.ENCRYPTION_CONFIG}/{PurePosixPath(spec.encryption_config).name}"
        yield setting(Env.ENCRYPTION_CONFIG_FILE, inside)
        yield _host_path("encryption-config", spec.encryption_config, inside)


def _host_path(volume: str, path: str, mount: str) -> Part:
    """Return a directory or file of the node, read-only.

    No `type`: with `Directory` or `File` a missing one would keep the pod in ContainerCreating until its
    deadline. The runner refuses what is missing or empty and says so.
    """
    return Part(
        volumes=({"name": volume, "hostPath": {"path": path, "type": ""}},),
        mounts=({"name": volume, "mountPath": str(mount), "readOnly": True},),
    )


def _control_plane_affinity(spec: MetadataBackupPolicySpec) -> dict[str, Any]:
    """Return the affinity to control-plane nodes. The terms are alternatives: one label is enough."""
    option = (spec.options or {}).get(MASTER_LABEL_OPTION)
    names = CONTROL_PLANE_LABELS if option is None else (option,)
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": name, "operator": "Exists"}]} for name in names
                ]
            }
        }
    }
