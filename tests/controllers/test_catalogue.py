"""What a repository's list of snapshots means for the records."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from kubedr_server.api.metadata_backup_record import MetadataBackupRecord
from kubedr_server.catalogue import CatalogueEntry
from kubedr_server.controllers.catalogue import Change, Known, Plan, compare
from kubedr_server.controllers.decision import Create, Merge
from kubedr_server.controllers.location.lesson import lesson
from kubedr_server.controllers.retention import Keep, expired
from support.kubedr_objects import (
    NAMESPACE,
    NOW,
    SNAPSHOT,
    a_backup,
    a_condition,
    a_policy,
    record_object,
    stamp,
)

OTHER = "0badc0de" + "0" * 56
KNOWN = Known("minio", NAMESPACE, "cluster-uid", listed=NOW, policies=frozenset({"nightly"}))
AVAILABLE = a_condition("SnapshotAvailable", "True", "Succeeded", "the repository holds the snapshot")
PROVEN = a_condition("Verified", "True", "Succeeded", "proven")
GONE = a_condition("SnapshotAvailable", "False", "SnapshotGone", "gone")


def an_entry(snapshot: str = SNAPSHOT, **more: Any) -> CatalogueEntry:
    entry = CatalogueEntry(
        snapshot_id=snapshot,
        time=NOW - timedelta(hours=2),
        cluster_id="cluster-uid",
        policy=f"{NAMESPACE}/nightly",
        run_id="the-run",
        complete=True,
        backup=a_backup(snapshot),
    )
    return entry.model_copy(update=more)


def known(*records: dict[str, Any], **more: Any) -> Known:
    return replace(KNOWN, records=records, **more)


def a_known_record(snapshot: str = SNAPSHOT, *conditions: Any, **metadata: Any) -> dict[str, Any]:
    return record_object(snapshot, status={"conditions": list(conditions) or [PROVEN, AVAILABLE]}, **metadata)


def planned(entries: list[CatalogueEntry], what: Known) -> Plan:
    return compare(entries, what, NOW)


def only(plan: Plan) -> Change:
    (change,) = plan.changes
    return change


def test_a_backup_whose_result_was_lost_gets_its_record() -> None:
    change = only(planned([an_entry()], KNOWN))
    assert isinstance(change.write, Create)
    record, status = change.write.object, change.write.status
    assert status is not None
    assert (record["metadata"]["name"], record["metadata"]["namespace"]) == ("mbr-9a9808ce", NAMESPACE)
    assert record["spec"] == {"policy": "nightly", "backuploc": "minio", "snapshotId": "9a9808ce"}
    assert record["metadata"]["finalizers"] == ["mbr.finalizers.kubedr.catalogicsoftware.com"]
    assert "kubedr.catalogicsoftware.com/foreign-cluster" not in record["metadata"]["labels"]
    verified, available = status["conditions"]
    assert (verified["type"], verified["status"], verified["reason"]) == ("Verified", "True", "Adopted")
    assert (available["type"], available["status"]) == ("SnapshotAvailable", "True")
    assert (status["revision"], status["hash"], status["runId"], status["clusterId"]) == (
        1234,
        "cafe",
        "the-run",
        "cluster-uid",
    )
    assert status["backupTime"] == stamp(NOW - timedelta(hours=2))
    assert change.event is not None
    assert change.event.reason == "RecordAdopted"


def test_doing_it_again_changes_nothing() -> None:
    change = only(planned([an_entry()], KNOWN))
    assert isinstance(change.write, Create)
    made = {**change.write.object, "status": change.write.status}
    assert planned([an_entry()], known(made)) == Plan()


def test_another_clusters_backup_is_adopted_and_left_alone_by_retention() -> None:
    foreign = an_entry(cluster_id="another", policy="other-namespace/nightly")
    change = only(planned([foreign], KNOWN))
    assert isinstance(change.write, Create)
    made = {**change.write.object, "status": change.write.status}
    assert made["metadata"]["namespace"] == NAMESPACE
    assert made["spec"]["policy"] == "nightly"
    assert made["metadata"]["labels"]["kubedr.catalogicsoftware.com/foreign-cluster"] == "another"
    own = [record_object(f"{number}" * 64, age=timedelta(hours=number)) for number in (1, 2)]
    records = [MetadataBackupRecord.model_validate(each) for each in (*own, made)]
    assert [record.metadata.name for record in expired(records, Keep(1))] == ["mbr-22222222"]


def test_a_cluster_that_does_not_know_its_own_id_counts_nobodys_backups_as_its_own() -> None:
    change = only(planned([an_entry()], replace(KNOWN, cluster_id="")))
    assert isinstance(change.write, Create)
    assert "kubedr.catalogicsoftware.com/foreign-cluster" in change.write.object["metadata"]["labels"]


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        (an_entry(), replace(KNOWN, pending_runs=frozenset({"the-run"}))),
        (an_entry(), replace(KNOWN, let_go=frozenset({"9a9808ce00000000"}))),
        (an_entry(), replace(KNOWN, let_go=frozenset({SNAPSHOT}))),
        (an_entry(), known(a_known_record(deletionTimestamp=stamp(NOW)))),
        (an_entry(policy="other-namespace/nightly"), KNOWN),
        (an_entry(policy="kubedr-system/--options"), KNOWN),
        (an_entry(policy=""), KNOWN),
    ],
    ids=[
        "its own result is still to be told",
        "it was let go",
        "a forget Job has removed it",
        "its record is being deleted",
        "it is of another namespace",
        "its tag names no policy",
        "it has no tag",
    ],
)
def test_no_record_is_made(entry: CatalogueEntry, what: Known) -> None:
    assert planned([entry], what).changes == ()


def test_an_incomplete_snapshot_is_told_and_not_adopted() -> None:
    entry = an_entry(complete=False, backup=None, why="its size differs")
    plan = planned([entry], KNOWN)
    assert plan.changes == ()
    assert plan.remark == "No whole backups, and so without records: 9a9808ce (its size differs)"


def test_what_gets_no_record_is_named() -> None:
    forged = an_entry(policy="kubedr-system/--options")
    assert "9a9808ce (its tags name no policy)" in planned([forged], KNOWN).remark
    elsewhere = planned([an_entry(policy="other-namespace/nightly")], KNOWN)
    assert elsewhere.remark == (
        "It holds backups of policies in other namespaces of this cluster; a BackupLocation there "
        "brings their records back: other-namespace (1)"
    )


def test_two_locations_on_one_repository_do_not_make_two_records() -> None:
    record = a_known_record()
    record["spec"]["backuploc"] = "the-other-one"
    assert planned([an_entry()], known(record)) == Plan()
    # And what the other one's record stands for is not this one's to say.
    assert planned([], known(record)) == Plan()


def test_snapshots_that_begin_alike_get_records_of_their_own() -> None:
    twins = [an_entry("9a9808ce" + digit * 56) for digit in "12"]
    names = [change.write.object["metadata"]["name"] for change in planned(twins, KNOWN).changes]  # type: ignore[union-attr]  # all are new
    assert names == ["mbr-9a9808ce", "mbr-9a9808ce2222"]


def test_a_record_whose_snapshot_is_gone_says_so_once() -> None:
    record = a_known_record()
    change = only(planned([an_entry(OTHER, complete=False)], known(record)))
    assert isinstance(change.write, Merge)
    said = change.write.body["status"]["conditions"][-1]
    assert (said["type"], said["status"], said["reason"]) == ("SnapshotAvailable", "False", "SnapshotGone")
    assert (change.event.reason if change.event else None, change.record) == ("SnapshotGone", record)
    assert planned([], known(a_known_record(SNAPSHOT, PROVEN, GONE))).changes == ()


def test_a_snapshot_that_is_back_is_available_again() -> None:
    change = only(planned([an_entry()], known(a_known_record(SNAPSHOT, PROVEN, GONE))))
    assert isinstance(change.write, Merge)
    assert [(each["type"], each["status"]) for each in change.write.body["status"]["conditions"]] == [
        ("Verified", "True"),
        ("SnapshotAvailable", "True"),
    ]


@pytest.mark.parametrize(
    "record",
    [
        a_known_record(creationTimestamp=stamp(NOW + timedelta(seconds=1))),
        a_known_record(deletionTimestamp=stamp(NOW)),
        record_object(status={"conditions": []}),
    ],
    ids=["made after the list", "being deleted", "of another program, whose snapshots are not listed"],
)
def test_a_record_that_the_list_says_nothing_of_is_left_alone(record: dict[str, Any]) -> None:
    assert planned([], known(record)).changes == ()


def test_a_record_without_a_location_belongs_to_its_policys() -> None:
    record = a_known_record()
    del record["spec"]["backuploc"]
    assert len(planned([], known(record)).changes) == 1
    assert planned([], replace(known(record), policies=frozenset())).changes == ()


@pytest.mark.fault
def test_a_record_that_was_left_without_its_status_is_completed() -> None:
    change = only(planned([an_entry()], KNOWN))
    assert isinstance(change.write, Create)
    metadata = {**change.write.object["metadata"], "resourceVersion": "5", "generation": 1}
    bare = {**change.write.object, "metadata": metadata}
    completion = only(planned([an_entry()], known(bare)))
    assert isinstance(completion.write, Merge)
    assert completion.write.body == {"metadata": {"resourceVersion": "5"}, "status": change.write.status}


def test_an_unmarked_record_of_another_cluster_is_not_called_proven() -> None:
    record = record_object(status={"conditions": []})
    change = only(planned([an_entry(cluster_id="another")], known(record)))
    assert isinstance(change.write, Merge)
    assert [each["type"] for each in change.write.body["status"]["conditions"]] == ["SnapshotAvailable"]


def an_adopted_record(**entry: Any) -> dict[str, Any]:
    write = only(planned([an_entry(**entry)], KNOWN)).write
    assert isinstance(write, Create)
    return {**write.object, "status": write.status}


def test_a_policy_learns_of_the_backup_that_it_never_heard_of() -> None:
    failing = a_policy(
        status={
            "lastSuccessTime": stamp(NOW - timedelta(days=2)),
            "backupTime": stamp(NOW - timedelta(days=1)),
            "backupStatus": "Failed",
            "backupErrorMessage": "etcd does not answer",
            "consecutiveFailures": 3,
            "conditions": [a_condition("BackupSucceeded", "False", "EtcdUnreachable", "no answer")],
        }
    )
    patch = lesson(failing, an_adopted_record(), NOW)
    assert patch is not None
    status = patch.body["status"]
    assert (status["lastSuccessTime"], status["mbrName"]) == (stamp(NOW - timedelta(hours=2)), "mbr-9a9808ce")
    assert (status["backupStatus"], status["consecutiveFailures"]) == ("Completed", 0)
    assert status["backupErrorMessage"] is None
    assert [(each["type"], each["status"]) for each in status["conditions"]] == [("BackupSucceeded", "True")]
    assert patch.body["metadata"] == {"resourceVersion": "1"}


def test_a_failure_that_came_later_stays_the_last_word() -> None:
    policy = a_policy(
        status={
            "backupTime": stamp(NOW),
            "backupStatus": "Failed",
            "consecutiveFailures": 1,
            "lastJob": "another",
        }
    )
    patch = lesson(policy, an_adopted_record(), NOW)
    assert patch is not None
    assert set(patch.body["status"]) == {"lastSuccessTime", "mbrName", "snapshotId"}


def test_a_run_that_was_told_as_failed_for_want_of_a_result_turns_out_well() -> None:
    policy = a_policy(
        status={
            "backupTime": stamp(NOW),
            "backupStatus": "Failed",
            "consecutiveFailures": 1,
            "lastJob": "the-run",
        }
    )
    patch = lesson(policy, an_adopted_record(), NOW)
    assert patch is not None
    assert (patch.body["status"]["backupStatus"], patch.body["status"]["consecutiveFailures"]) == (
        "Completed",
        0,
    )


@pytest.mark.fault
def test_a_forged_future_does_not_become_the_last_success() -> None:
    patch = lesson(a_policy(), an_adopted_record(time=NOW + timedelta(days=400)), NOW)
    assert patch is not None
    assert patch.body["status"]["lastSuccessTime"] == stamp(NOW)


def test_a_policy_that_knows_of_a_later_success_learns_nothing() -> None:
    assert lesson(a_policy(status={"lastSuccessTime": stamp(NOW)}), an_adopted_record(), NOW) is None
