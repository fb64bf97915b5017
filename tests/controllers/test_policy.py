"""What is decided about a MetadataBackupPolicy."""

from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.api.group import API_VERSION, RECORD_FINALIZER
from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicySpec
from kubedr_server.contract import Operation
from kubedr_server.controllers import jobs
from kubedr_server.controllers.decision import Announcement, Apply, Create, Delete, Merge, Object
from kubedr_server.controllers.policy.cronjob import difference, settled, stamped
from kubedr_server.controllers.policy.decide import PolicyDecision, decide
from kubedr_server.controllers.policy.record import Slot, is_record_of
from kubedr_server.controllers.policy.state import PolicyState, Untold
from kubedr_server.controllers.run import Run
from kubedr_server.kube.resources import CRONJOBS, JOBS, METADATA_BACKUP_RECORDS
from kubedr_server.manifests.cronjob import backup_cronjob
from support.kubedr_objects import (
    NAMESPACE,
    NOW,
    RUNNER,
    SNAPSHOT,
    a_condition,
    a_job,
    a_location,
    a_pod,
    a_policy,
    a_record,
    a_result,
    completed,
    failed,
    record_object,
    stamp,
    told_by,
    unschedulable,
)

READY_LOCATION = a_location(status={"conditions": [a_condition("Ready", "True", "Ready", "well")]})
JOB = a_job(labels={"kubedr.catalogicsoftware.com/location": "minio"})


def live_cronjob(**status: Any) -> dict[str, Any]:
    """Return the CronJob as the API server has it, with its defaults and metadata."""
    cronjob = deepcopy(dict(stamped(backup_cronjob(a_policy(), READY_LOCATION, RUNNER))))
    cronjob["metadata"] |= {"uid": "uid-of-cronjob", "generation": 1, "resourceVersion": "5"}
    pod = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    pod |= {"schedulerName": "default-scheduler"}
    cronjob["status"] = status
    return cronjob


STATE = PolicyState(a_policy(), READY_LOCATION, live_cronjob())


def decided(state: PolicyState) -> PolicyDecision:
    return decide(state, RUNNER, NOW)


def conditions_of(decision: PolicyDecision) -> dict[str, tuple[str, str, str]]:
    return {known.type: (known.status, known.reason, known.message) for known in decision.status.conditions}


def untold(result_of: Any = None, *, job: dict[str, Any] | None = None, slot: Slot | None = None) -> Untold:
    result = result_of or a_result()
    ended = job or (completed(JOB) if result.succeeded else failed(JOB))
    pods = (a_pod(JOB, told_by(result)),)
    return Untold(Run(ended, pods), jobs.report(ended, pods, Operation.BACKUP), slot)


MARK = {
    "metadata": {"uid": "uid-of-nightly-1", "annotations": {"kubedr.catalogicsoftware.com/told": "Completed"}}
}


def test_a_new_policy_gets_its_cronjob() -> None:
    decision = decided(replace(STATE, cronjob=None))
    assert decision.before == (Apply(CRONJOBS, stamped(backup_cronjob(a_policy(), READY_LOCATION, RUNNER))),)
    assert conditions_of(decision) == {
        "DestinationReady": ("True", "Ready", "BackupLocation minio is ready"),
        "Scheduled": ("True", "Synced", "CronJob nightly-backup-cronjob is what the spec says"),
        "BackupSucceeded": ("Unknown", "NoBackupYet", "no backup has finished yet"),
        "Ready": ("True", "Ready", "no backup has finished yet"),
    }
    assert decision.status.next_schedule_time == NOW + timedelta(minutes=10)
    assert decision.wake_after == 615.0
    assert (decision.events, decision.after) == ((), ())


def test_a_policy_as_it_should_be_is_left_alone() -> None:
    first = decided(STATE)
    assert first.before == ()
    policy = a_policy(status=first.status.to_wire())
    assert decided(replace(STATE, policy=policy)).status == policy.status


EVERY_FIELD: list[tuple[dict[str, Any], str]] = [
    ({"schedule": "0 * * * *"}, "spec.schedule"),
    ({"spreadMinutes": 59}, "spec.schedule"),
    ({"startingDeadlineSeconds": 77}, "spec.startingDeadlineSeconds"),
    ({"staticPodsDir": "/etc/kubernetes/manifests"}, ".securityContext"),
    ({"kubeconfigs": ["/etc/kubernetes/admin.conf"]}, ".securityContext"),
    ({"encryptionConfig": "/etc/kubernetes/encryption.yaml"}, ".securityContext"),
    ({"snapshotFormat": "file"}, ".env[KUBEDR_SNAPSHOT_FORMAT].value"),
    ({"successfulJobsHistoryLimit": 9}, "spec.successfulJobsHistoryLimit"),
    ({"suspend": True}, "spec.suspend"),
    ({"timeZone": "Europe/Berlin"}, "spec.timeZone"),
    ({"etcdEndpoint": "https://10.0.0.1:2379"}, ".env[KUBEDR_ETCD_ENDPOINTS].value"),
    ({"etcdCreds": "other"}, ".volumes[etcd-credentials].secret.secretName"),
    ({"options": {"master-node-label-name": "ismaster"}}, ".nodeSelectorTerms"),
    ({"certsDir": "/etc/kubernetes/pki"}, ".securityContext"),
    ({"activeDeadlineSeconds": 600}, "spec.jobTemplate.spec.activeDeadlineSeconds"),
    ({"resources": {"limits": {"memory": "1Gi"}}}, ".resources.limits"),
    ({"tolerations": []}, ".tolerations"),
    ({"failedJobsHistoryLimit": 9}, "spec.failedJobsHistoryLimit"),
]


@pytest.mark.parametrize(("spec", "path"), EVERY_FIELD)
def test_every_field_of_the_spec_reaches_the_cronjob(spec: dict[str, Any], path: str) -> None:
    policy = a_policy(**spec)
    wanted = backup_cronjob(policy, READY_LOCATION, RUNNER)
    assert path in (difference(live_cronjob(), wanted) or "")
    before = decided(replace(STATE, policy=policy)).before
    assert before == (Apply(CRONJOBS, stamped(wanted)),)


@pytest.mark.parametrize("spec", [{"timeZone": "Europe/Berlin"}, {"startingDeadlineSeconds": 77}])
def test_what_the_spec_no_longer_says_reaches_the_cronjob(spec: dict[str, Any]) -> None:
    before = stamped(backup_cronjob(a_policy(**spec), READY_LOCATION, RUNNER))
    live = {**before, "metadata": {**before["metadata"], "uid": "uid-of-cronjob", "generation": 1}}
    wanted = backup_cronjob(a_policy(), READY_LOCATION, RUNNER)
    assert difference(live, wanted) is None
    changed = decided(replace(STATE, cronjob=live)).before
    assert changed == (Apply(CRONJOBS, stamped(wanted)),)


def test_a_field_that_does_not_reach_the_cronjob_is_one_that_concerns_no_run() -> None:
    reaching = {name for spec, _ in EVERY_FIELD for name in spec} | {"destination"}
    fields = {field.alias or name for name, field in MetadataBackupPolicySpec.model_fields.items()}
    others = {
        "retainNumBackups",
        "retainHourly",
        "retainDaily",
        "retainWeekly",
        "retainMonthly",
        "drillSchedule",
    }
    assert fields - reaching == others


def test_another_destination_reaches_the_cronjob() -> None:
    other = a_location("second", bucketName="other", status=READY_LOCATION.status.to_wire())
    wanted = backup_cronjob(a_policy(destination="second"), other, RUNNER)
    state = replace(STATE, policy=a_policy(destination="second"), location=other)
    assert decided(state).before == (Apply(CRONJOBS, stamped(wanted)),)


def test_an_edited_cronjob_is_repaired() -> None:
    live = live_cronjob()
    live["spec"]["suspend"] = True
    assert decided(replace(STATE, cronjob=live)).before == (
        Apply(CRONJOBS, stamped(backup_cronjob(a_policy(), READY_LOCATION, RUNNER))),
    )


def test_what_others_add_to_the_cronjob_is_theirs() -> None:
    live = live_cronjob()
    live["metadata"]["annotations"]["example.com/team"] = "storage"
    container = live["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    container["env"].append({"name": "HTTPS_PROXY", "value": "http://proxy:3128"})
    assert decided(replace(STATE, cronjob=live)).before == ()


def test_a_value_that_the_api_server_rewrites_is_applied_once() -> None:
    policy = a_policy(resources={"limits": {"cpu": "1000m"}})
    wanted = stamped(backup_cronjob(policy, READY_LOCATION, RUNNER))
    live = deepcopy(dict(wanted))
    live["metadata"] |= {"uid": "uid-of-cronjob", "generation": 2}
    live["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["resources"] = {
        "limits": {"cpu": "1"}
    }
    state = replace(STATE, policy=policy, cronjob=live)
    assert [type(write) for write in decided(state).before] == [Apply]
    known = settled(wanted, live)
    assert decided(replace(state, settled=known)).before == ()
    live["metadata"]["generation"] = 3  # somebody edited it since
    assert [type(write) for write in decided(replace(state, settled=known)).before] == [Apply]


def test_a_cronjob_of_another_owner_is_left_alone() -> None:
    live = live_cronjob()
    live["metadata"]["ownerReferences"] = [
        {"kind": "MetadataBackupPolicy", "name": "nightly", "uid": "older", "controller": True}
    ]
    decision = decided(replace(STATE, cronjob=live))
    assert decision.before == ()
    message = (
        "CronJob nightly-backup-cronjob belongs to MetadataBackupPolicy nightly (older) and is left alone; "
        "rename the policy, or delete the CronJob"
    )
    assert conditions_of(decision)["Ready"] == ("False", "Conflict", message)


def test_a_cronjob_of_nobody_is_adopted() -> None:
    live = live_cronjob()
    del live["metadata"]["ownerReferences"]
    assert [type(write) for write in decided(replace(STATE, cronjob=live)).before] == [Apply]


def test_without_a_location_there_is_no_cronjob() -> None:
    decision = decided(replace(STATE, location=None, cronjob=None))
    assert decision.before == ()
    assert conditions_of(decision)["DestinationReady"] == (
        "False",
        "NotFound",
        "BackupLocation minio does not exist; create it",
    )
    assert conditions_of(decision)["Scheduled"][:2] == ("False", "NotFound")
    assert decision.status.next_schedule_time is None


def test_when_the_location_goes_the_cronjob_is_suspended_and_not_deleted() -> None:
    decision = decided(replace(STATE, location=None))
    body = {"metadata": {"uid": "uid-of-cronjob"}, "spec": {"suspend": True}}
    assert decision.before == (Merge(CRONJOBS, NAMESPACE, "nightly-backup-cronjob", body),)


def test_backups_are_tried_although_the_location_is_not_ready() -> None:
    failing = a_location(
        status={"conditions": [a_condition("Ready", "False", "StorageUnreachable", "no route")]}
    )
    decision = decided(replace(STATE, location=failing, cronjob=None))
    assert [type(write) for write in decision.before] == [Apply]
    assert conditions_of(decision)["Ready"] == (
        "False",
        "NotReady",
        "BackupLocation minio is not ready: no route",
    )


def test_a_suspended_policy_is_ready_and_says_so() -> None:
    decision = decided(replace(STATE, policy=a_policy(suspend=True)))
    assert conditions_of(decision)["Ready"][:2] == ("True", "Suspended")
    assert (decision.status.next_schedule_time, decision.wake_after) == (None, None)


def test_a_good_backup_becomes_a_record_a_status_and_an_event() -> None:
    told = untold(slot=Slot("9a9808ce"))
    decision = decided(replace(STATE, untold=told))
    (create,) = decision.before
    assert isinstance(create, Create)
    assert create.object == {
        "apiVersion": API_VERSION,
        "kind": "MetadataBackupRecord",
        "metadata": {
            "name": "mbr-9a9808ce",
            "namespace": NAMESPACE,
            "labels": {
                "app.kubernetes.io/name": "kubedr",
                "app.kubernetes.io/component": "backup",
                "app.kubernetes.io/part-of": "kubedr",
                "app.kubernetes.io/managed-by": "kubedr",
                "kubedr.catalogicsoftware.com/operation": "backup",
                "kubedr.catalogicsoftware.com/policy": "nightly",
                "kubedr.catalogicsoftware.com/location": "minio",
            },
            "annotations": {"kubedr.catalogicsoftware.com/snapshot-id": SNAPSHOT},
            "finalizers": [RECORD_FINALIZER],
        },
        "spec": {"policy": "nightly", "backuploc": "minio", "snapshotId": "9a9808ce"},
    }
    assert create.status == {
        "observedGeneration": 1,
        "conditions": [
            {
                "type": "Verified",
                "status": "True",
                "observedGeneration": 1,
                "lastTransitionTime": "2026-03-01T12:00:00Z",
                "reason": "Succeeded",
                "message": "etcd revision 1234 is at or after 1230, which was read when the backup began; "
                "hash cafe, 500 stored revisions",
            },
            {
                "type": "SnapshotAvailable",
                "status": "True",
                "observedGeneration": 1,
                "lastTransitionTime": "2026-03-01T12:00:00Z",
                "reason": "Succeeded",
                "message": "the repository holds the snapshot",
            },
            {
                "type": "Restorable",
                "status": "True",
                "observedGeneration": 1,
                "lastTransitionTime": "2026-03-01T12:00:00Z",
                "reason": "Succeeded",
                "message": "nothing in the backup is encrypted by kube-apiserver",
            },
        ],
        "fullSnapshotId": SNAPSHOT,
        "runId": "uid-of-nightly-1",
        "backupTime": "2026-03-01T11:56:00Z",
        "revision": 1234,
        "hash": "cafe",
        "totalKeys": 500,
        "sha256": "ab" * 32,
        "snapshotSize": 4096,
        "dataAdded": 2048,
        "dataStored": 1024,
        "snapshotFormat": "file",
        "etcdVersion": "3.5.30",
        "certificateFiles": 12,
        "encryptedObjects": 0,
        "unrestorableObjects": 0,
    }
    status = decision.status.to_wire()
    del status["conditions"]
    assert status == {
        "observedGeneration": 1,
        "backupStatus": "Completed",
        "backupTime": "2026-03-01T12:00:00Z",
        "filesNew": 3,
        "filesChanged": 1,
        "dataAdded": 2048,
        "totalBytesProcessed": 8192,
        "totalDurationSecs": "1.500",
        "snapshotId": SNAPSHOT,
        "mbrName": "mbr-9a9808ce",
        "backupPod": "nightly-1-abcde",
        "lastSuccessTime": "2026-03-01T12:00:00Z",
        "nextScheduleTime": "2026-03-01T12:10:00Z",
        "effectiveSchedule": "*/10 * * * *",
        "consecutiveFailures": 0,
        "lastJob": "uid-of-nightly-1",
    }
    assert conditions_of(decision)["BackupSucceeded"] == ("True", "Succeeded", "all is well")
    assert decision.events == (Announcement("Normal", "BackupSucceeded", "all is well", "uid-of-nightly-1"),)
    assert decision.after == (Merge(JOBS, NAMESPACE, "nightly-1", MARK),)
    assert decision.counted == told.report


def test_a_failed_backup_is_told_and_keeps_the_last_good_one() -> None:
    before = {"consecutiveFailures": 2, "mbrName": "mbr-00000001", "lastSuccessTime": stamp(NOW)}
    result = a_result(reason=Reason.ETCD_UNREACHABLE, message="etcd does not answer")
    decision = decided(replace(STATE, policy=a_policy(status=before), untold=untold(result)))
    status = decision.status
    assert decision.before == ()
    assert (status.backup_status, status.backup_error_message) == ("Failed", "etcd does not answer")
    assert (status.consecutive_failures, status.mbr_name) == (3, "mbr-00000001")
    assert conditions_of(decision)["Ready"] == ("False", "EtcdUnreachable", "etcd does not answer")
    assert decision.events == (
        Announcement("Warning", "BackupFailed", "etcd does not answer", "uid-of-nightly-1"),
    )


def test_a_backup_that_was_told_before_the_process_ended_is_not_counted_again() -> None:
    told = untold(slot=Slot("9a9808ce"))
    once = decided(replace(STATE, untold=told))
    again = decided(replace(STATE, policy=a_policy(status=once.status.to_wire()), untold=told))
    assert (again.before, again.counted) == ((), None)
    assert again.status == once.status
    assert again.after == (Merge(JOBS, NAMESPACE, "nightly-1", MARK),)


def test_a_record_without_status_is_completed_and_not_made_again() -> None:
    half = record_object(resourceVersion="9")
    half["status"] = {}
    decision = decided(replace(STATE, untold=untold(slot=Slot("9a9808ce", half))))
    (write,) = decision.before
    assert isinstance(write, Merge)
    assert (write.resource, write.name, write.subresource) == (
        METADATA_BACKUP_RECORDS,
        "mbr-9a9808ce",
        "status",
    )
    assert write.body["metadata"] == {"resourceVersion": "9"}
    assert write.body["status"]["fullSnapshotId"] == SNAPSHOT


def test_a_complete_record_is_left_alone() -> None:
    decision = decided(replace(STATE, untold=untold(slot=Slot("9a9808ce", record_object()))))
    assert decision.before == ()
    assert decision.status.mbr_name == "mbr-9a9808ce"


@pytest.mark.parametrize(
    ("record", "is_same"),
    [
        (record_object(), True),
        (record_object(status={"fullSnapshotId": "9a9808ce" + "f" * 56}), False),
        (
            record_object(
                status={"fullSnapshotId": None},
                annotations={"kubedr.catalogicsoftware.com/snapshot-id": "9a9808ce" + "f" * 56},
            ),
            False,
        ),
        (record_object(status={"fullSnapshotId": None}), True),  # KubeDR's own: eight digits are all it has
    ],
)
def test_a_record_is_told_apart_from_another_of_its_name(record: Object, is_same: bool) -> None:
    assert is_record_of(record, SNAPSHOT) is is_same


def test_more_ended_jobs_are_looked_at_at_once() -> None:
    decision = decided(replace(STATE, untold=untold(slot=Slot("9a9808ce")), more_untold=True))
    assert decision.wake_after == 0.0


def test_a_pod_without_a_node_reaches_the_policy() -> None:
    active = Run(JOB, (a_pod(JOB, unschedulable("0/3 nodes are available")),))
    decision = decided(replace(STATE, active=(active,)))
    assert conditions_of(decision)["Ready"] == (
        "False",
        "JobNotSchedulable",
        "Pod nightly-1-abcde cannot be scheduled: 0/3 nodes are available",
    )


def test_the_trouble_is_remembered_after_the_deadline_took_the_pod() -> None:
    stuck = Run(JOB, (a_pod(JOB, unschedulable("0/3 nodes are available")),))
    first = decided(replace(STATE, active=(stuck,)))
    policy = a_policy(status=first.status.to_wire())
    second = decided(replace(STATE, policy=policy, active=(Run(JOB),)))
    assert conditions_of(second)["Ready"] == conditions_of(first)["Ready"]
    other = Run(a_job("nightly-2"))
    assert conditions_of(decided(replace(STATE, policy=policy, active=(other,))))["Ready"][0] == "True"


def test_records_beyond_the_limit_are_deleted() -> None:
    records = tuple(
        a_record(f"{number:08x}".ljust(64, "0"), age=timedelta(hours=number)) for number in range(1, 4)
    )
    decision = decided(replace(STATE, policy=a_policy(retainNumBackups=1), records=records))
    assert decision.after == (
        Delete(METADATA_BACKUP_RECORDS, NAMESPACE, "mbr-00000003", "uid-of-mbr-00000003"),
        Delete(METADATA_BACKUP_RECORDS, NAMESPACE, "mbr-00000002", "uid-of-mbr-00000002"),
    )


def test_when_a_backup_was_last_due_is_shown() -> None:
    live = live_cronjob(lastScheduleTime="2026-03-01T11:50:00Z")
    decision = decided(replace(STATE, cronjob=live))
    assert decision.status.last_schedule_time == NOW - timedelta(minutes=10)
