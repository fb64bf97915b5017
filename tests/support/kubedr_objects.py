"""Builders of the custom resources, Jobs and pods that tests of the controllers begin with."""

from datetime import UTC, datetime, timedelta
from typing import Any

from kubedr_server import contract
from kubedr_server.api.backup_location import BackupLocation
from kubedr_server.api.conditions import Reason
from kubedr_server.api.group import API_VERSION, RECORD_FINALIZER
from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicy
from kubedr_server.api.metadata_backup_record import MetadataBackupRecord
from kubedr_server.api.metadata_restore import MetadataRestore
from kubedr_server.contract import BackupResult, Operation, RestoreResult, RunResult
from kubedr_server.manifests.settings import RunnerSettings

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NAMESPACE = "kubedr-system"
RUNNER = RunnerSettings(image="example.com/kubedr-backup:1", cluster_id="cluster-uid")
SNAPSHOT = "9a9808ce" + "0" * 56

Object = dict[str, Any]


def stamp(moment: datetime) -> str:
    """Return a moment as Kubernetes writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def a_resource(kind: str, name: str, spec: Object, **metadata: Any) -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": f"uid-of-{name}",
            "generation": 1,
            "resourceVersion": "1",
            "creationTimestamp": stamp(NOW - timedelta(days=1)),
            **metadata,
        },
        "spec": spec,
    }


def location_object(name: str = "minio", **spec: Any) -> Object:
    default = {"url": "http://minio:9000", "bucketName": "backups", "credentials": "minio-creds"}
    return a_resource("BackupLocation", name, {**default, **spec})


def a_location(name: str = "minio", status: Object | None = None, **spec: Any) -> BackupLocation:
    return BackupLocation.model_validate({**location_object(name, **spec), "status": status or {}})


def policy_object(name: str = "nightly", **spec: Any) -> Object:
    default = {"destination": "minio", "schedule": "*/10 * * * *"}
    return a_resource("MetadataBackupPolicy", name, {**default, **spec})


def a_policy(name: str = "nightly", status: Object | None = None, **spec: Any) -> MetadataBackupPolicy:
    return MetadataBackupPolicy.model_validate({**policy_object(name, **spec), "status": status or {}})


def record_object(
    snapshot: str = SNAPSHOT,
    *,
    age: timedelta = timedelta(hours=1),
    verified: bool = True,
    status: Object | None = None,
    **metadata: Any,
) -> Object:
    obj = a_resource(
        "MetadataBackupRecord",
        f"mbr-{snapshot[:8]}",
        {"policy": "nightly", "snapshotId": snapshot[:8], "backuploc": "minio"},
        **{"finalizers": [RECORD_FINALIZER], "creationTimestamp": stamp(NOW - age), **metadata},
    )
    obj["status"] = {
        "fullSnapshotId": snapshot,
        "backupTime": stamp(NOW - age),
        "conditions": [a_condition("Verified", "True" if verified else "False", "Succeeded", "proven")],
        **(status or {}),
    }
    return obj


def a_record(snapshot: str = SNAPSHOT, **more: Any) -> MetadataBackupRecord:
    return MetadataBackupRecord.model_validate(record_object(snapshot, **more))


def restore_object(name: str = "bring-back") -> Object:
    return a_resource("MetadataRestore", name, {"mbrName": "mbr-9a9808ce", "pvcName": "restored"})


def a_restore(name: str = "bring-back", status: Object | None = None) -> MetadataRestore:
    return MetadataRestore.model_validate({**restore_object(name), "status": status or {}})


def a_condition(type_: str, status: str, reason: str, message: str, at: datetime = NOW) -> Object:
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": stamp(at),
    }


def a_job(name: str = "nightly-1", *, labels: Object | None = None, owner: Object | None = None) -> Object:
    metadata: Object = {
        "name": name,
        "namespace": NAMESPACE,
        "uid": f"uid-of-{name}",
        "resourceVersion": "1",
        "creationTimestamp": stamp(NOW - timedelta(minutes=5)),
        "labels": labels or {},
    }
    if owner is not None:
        metadata["ownerReferences"] = [owner]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {"activeDeadlineSeconds": 3600},
    }


def completed(job: Object, at: datetime = NOW) -> Object:
    status = {
        "completionTime": stamp(at),
        "conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": stamp(at)}],
    }
    return {**job, "status": status}


def failed(
    job: Object, reason: str = "BackoffLimitExceeded", message: str = "gave up", at: datetime = NOW
) -> Object:
    failure = {
        "type": "Failed",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": stamp(at),
    }
    return {**job, "status": {"conditions": [failure]}}


def a_pod(job: Object, status: Object | None = None, suffix: str = "abcde") -> Object:
    metadata = job["metadata"]
    uid = metadata["uid"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{metadata['name']}-{suffix}",
            "namespace": NAMESPACE,
            "uid": f"uid-of-{metadata['name']}-{suffix}",
            "creationTimestamp": stamp(NOW - timedelta(minutes=4)),
            "labels": {**metadata["labels"], "batch.kubernetes.io/controller-uid": uid},
            "ownerReferences": [
                {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": uid}
            ],
        },
        "spec": {"nodeName": "master-1"},
        "status": status or {},
    }


def ended_with(message: str, exit_code: int = 0, reason: str = "Completed") -> Object:
    """Return a pod's status with a terminated container."""
    terminated = {"exitCode": exit_code, "reason": reason, "message": message}
    return {
        "phase": "Failed" if exit_code else "Succeeded",
        "containerStatuses": [{"name": contract.CONTAINER_NAME, "state": {"terminated": terminated}}],
    }


def waiting(reason: str, message: str = "") -> Object:
    """Return a pod's status with a container that does not start."""
    state = {"waiting": {"reason": reason, "message": message}}
    return {
        "phase": "Pending",
        "containerStatuses": [{"name": contract.CONTAINER_NAME, "state": state}],
    }


def unschedulable(message: str) -> Object:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"phase": "Pending", "conditions": [condition]}


def a_result(
    operation: Operation = Operation.BACKUP,
    *,
    snapshot: str = SNAPSHOT,
    reason: Reason = Reason.SUCCEEDED,
    message: str = "all is well",
) -> RunResult:
    succeeded = reason is Reason.SUCCEEDED
    return RunResult(
        operation=operation,
        outcome="Succeeded" if succeeded else "Failed",
        reason=reason,
        message=message,
        run_id="run",
        start_time=NOW - timedelta(minutes=4),
        completion_time=NOW - timedelta(minutes=3),
        repository_id="repo-1",
        backup=a_backup(snapshot) if succeeded and operation is Operation.BACKUP else None,
        restore=a_restored(snapshot) if succeeded and operation is Operation.RESTORE else None,
    )


def told_by(result: RunResult) -> Object:
    """Return the status of a pod that ended with this result."""
    return ended_with(result.to_termination_message().decode(), contract.EXIT_CODES.get(result.reason, 0))


def a_backup(snapshot: str = SNAPSHOT) -> BackupResult:
    return BackupResult(
        snapshot_id=snapshot,
        revision=1234,
        minimum_revision=1230,
        hash="cafe",
        total_keys=500,
        sha256="ab" * 32,
        snapshot_size=4096,
        snapshot_format="file",
        etcd_version="3.5.30",
        etcd_endpoint="https://127.0.0.1:2379",
        certificate_files=12,
        files_new=3,
        files_changed=1,
        data_added=2048,
        data_stored=1024,
        total_bytes_processed=8192,
        total_duration_secs=1.5,
    )


def a_restored(snapshot: str = SNAPSHOT) -> RestoreResult:
    return RestoreResult(
        snapshot_id=snapshot, files_restored=13, bytes_restored=8192, revision=1234, hash="cafe"
    )
