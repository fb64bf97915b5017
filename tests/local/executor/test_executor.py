"""The executor on an API: the embedded one and, where there is one, a real kube-apiserver."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kubedr_server.kube.client import Client
from kubedr_server.kube.resources import CRONJOBS, JOBS, PODS, PVCS, SECRETS
from kubedr_server.local.executor import outcome, process
from kubedr_server.local.executor.job_pods import TRACKING_FINALIZER
from kubedr_server.local.executor.logs import PodLogs
from kubedr_server.local.executor.node import NODES
from kubedr_server.local.executor.objects import has_condition
from kubedr_server.local.executor.pod_status import Termination
from support.eventually import eventually
from support.executor import (
    cronjob,
    executor_on,
    job,
    pod,
    pod_spec,
    terminated,
    wait_for,
    wait_for_event,
    wait_gone,
    waiting_reason,
)
from support.kubectl import Kubectl

pytestmark = pytest.mark.cluster


async def pods_of(client: Client, namespace: str, job_name: str) -> list[dict[str, Any]]:
    selector = f"batch.kubernetes.io/job-name={job_name}"
    return (await client.list(PODS, namespace, label_selector=selector)).items


async def read(logs: PodLogs, namespace: str, name: str, **options: Any) -> str:
    return b"".join([piece async for piece in logs.read(namespace, name, "main", **options)]).decode()


def is_running(obj: dict[str, Any]) -> bool:
    return bool(obj["status"].get("phase") == "Running")


async def test_a_job_of_our_program_completes(client: Client, namespace: str, logs: PodLogs) -> None:
    await client.create(JOBS, job(namespace, "version", pod_spec("kubedr", "--version")))
    done = await wait_for(client, JOBS, namespace, "version", lambda o: has_condition(o, "Complete"))
    assert [c["type"] for c in done["status"]["conditions"]] == ["SuccessCriteriaMet", "Complete"]
    assert done["status"]["succeeded"] == 1
    assert done["status"]["completionTime"] >= done["status"]["startTime"]
    assert not done["status"].get("active")
    [ran] = await pods_of(client, namespace, "version")
    assert ran["status"]["phase"] == "Succeeded"
    assert terminated(ran)["reason"] == "Completed"
    assert TRACKING_FINALIZER not in ran["metadata"].get("finalizers", [])
    assert ran["spec"]["nodeName"] == "kubedr-local"
    assert (await read(logs, namespace, ran["metadata"]["name"])).startswith("kubedr, version ")
    for event in ("Scheduled: Successfully assigned", "Started: Started container main"):
        await wait_for_event(client, namespace, ran["metadata"]["name"], event)


async def test_a_job_that_fails_tells_how(client: Client, namespace: str, logs: PodLogs) -> None:
    script = "echo it went wrong >&2; printf reason > $RESULT; exit 3"
    spec = pod_spec(
        "sh", "-c", script, container={"env": [{"name": "RESULT", "value": "/dev/termination-log"}]}
    )
    await client.create(JOBS, job(namespace, "broken", spec))
    done = await wait_for(client, JOBS, namespace, "broken", lambda o: has_condition(o, "Failed"))
    assert [c["type"] for c in done["status"]["conditions"]] == ["FailureTarget", "Failed"]
    assert done["status"]["conditions"][1]["reason"] == "BackoffLimitExceeded"
    assert done["status"]["failed"] == 1
    [ran] = await pods_of(client, namespace, "broken")
    end = terminated(ran)
    assert (end["exitCode"], end["reason"], end["message"]) == (3, "Error", "reason")
    assert await read(logs, namespace, ran["metadata"]["name"]) == "it went wrong\n"


async def test_a_job_past_its_deadline_is_ended(client: Client, namespace: str, logs: PodLogs) -> None:
    spec = pod_spec("sleep", "600", terminationGracePeriodSeconds=1)
    await client.create(JOBS, job(namespace, "slow", spec, activeDeadlineSeconds=1))
    done = await wait_for(client, JOBS, namespace, "slow", lambda o: has_condition(o, "Failed"))
    assert done["status"]["conditions"][1]["reason"] == "DeadlineExceeded"
    assert await pods_of(client, namespace, "slow") == []


async def test_a_suspended_job_runs_once_it_is_resumed(client: Client, namespace: str, logs: PodLogs) -> None:
    await client.create(JOBS, job(namespace, "later", pod_spec("true"), suspend=True))
    await wait_for(client, JOBS, namespace, "later", lambda o: has_condition(o, "Suspended"))
    assert await pods_of(client, namespace, "later") == []
    await client.patch(JOBS, namespace, "later", {"spec": {"suspend": False}})
    await wait_for(client, JOBS, namespace, "later", lambda o: has_condition(o, "Complete"))


async def test_a_finished_job_goes_after_its_time_to_live(
    client: Client, namespace: str, logs: PodLogs
) -> None:
    await client.create(JOBS, job(namespace, "brief", pod_spec("true"), ttlSecondsAfterFinished=0))
    await wait_gone(client, JOBS, namespace, "brief")


async def test_a_cronjob_runs_every_second(client: Client, namespace: str, logs: PodLogs) -> None:
    made = cronjob(namespace, "tick", "@every 2s", pod_spec("true"), concurrencyPolicy="Forbid")
    await client.create(CRONJOBS, made)
    done = await wait_for(
        client, CRONJOBS, namespace, "tick", lambda o: (o.get("status") or {}).get("lastSuccessfulTime")
    )
    assert done["status"]["lastScheduleTime"]
    run = (await client.list(JOBS, namespace)).items[0]
    assert run["metadata"]["name"].startswith("tick-")
    assert "batch.kubernetes.io/cronjob-scheduled-timestamp" in run["metadata"]["annotations"]
    assert run["metadata"]["ownerReferences"][0]["uid"] == done["metadata"]["uid"]


async def test_a_pod_sees_only_what_its_spec_says(
    client: Client, namespace: str, logs: PodLogs, state_dir: Path, tmp_path: Path
) -> None:
    secret = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "keys", "namespace": namespace}}
    await client.create(SECRETS, {**secret, "stringData": {"password": "s3cret", "user": "me"}})
    shared = tmp_path / "shared"
    shared.mkdir()
    spec = pod_spec(
        "sh",
        "-c",
        'tr "\\0" "\\n" < /proc/self/environ; stat -c "%a" $KEYS $KEYS/password; '
        'cat $KEYS/password; echo; echo kept > "$1/file"',
        "sh",
        "/shared",
        container={
            "env": [
                {"name": "KEYS", "value": "/kubedr/keys"},
                {"name": "USER_NAME", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "user"}}},
                {"name": "GREETING", "value": "hello $(USER_NAME) $$(USER_NAME) $(NOBODY)"},
                {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "SCRATCH", "value": "/kubedr/scratch/x"},
            ],
            "volumeMounts": [
                {"name": "keys", "mountPath": "/kubedr/keys", "readOnly": True},
                {"name": "scratch", "mountPath": "/kubedr/scratch"},
                {"name": "shared", "mountPath": "/shared"},
            ],
        },
        volumes=[
            {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 0o440}},
            {"name": "scratch", "emptyDir": {}},
            {"name": "shared", "hostPath": {"path": str(shared), "type": "Directory"}},
        ],
    )
    await client.create(PODS, pod(namespace, "look", spec))
    await wait_for(client, PODS, namespace, "look", terminated)
    printed = (await read(logs, namespace, "look")).splitlines()
    variables = dict(line.split("=", 1) for line in printed if "=" in line)
    assert set(variables) == {"APP", "GREETING", "KEYS", "PATH", "SCRATCH", "USER_NAME"}
    assert variables["GREETING"] == "hello me $(USER_NAME) $(NOBODY)"
    assert variables["APP"] == "look"
    assert printed[-3:] == ["700", "400", "s3cret"]
    assert (shared / "file").read_text() == "kept\n"
    pods_dir = state_dir / "pods"
    await eventually(lambda: not list(pods_dir.iterdir()))  # secrets and scratch files go with the pod


async def test_a_pod_waits_for_its_secret(client: Client, namespace: str, logs: PodLogs) -> None:
    spec = pod_spec("true", volumes=[{"name": "keys", "secret": {"secretName": "later"}}])
    await client.create(PODS, pod(namespace, "waits", spec))
    await wait_for(client, PODS, namespace, "waits", lambda o: waiting_reason(o) == "ContainerCreating")
    secret = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "later", "namespace": namespace}}
    await client.create(SECRETS, secret)
    await wait_for(client, PODS, namespace, "waits", lambda o: o["status"]["phase"] == "Succeeded")
    event = 'FailedMount: MountVolume.SetUp failed for volume "keys" : secret "later" not found'
    await wait_for_event(client, namespace, "waits", event)


async def test_another_image_is_not_run(client: Client, namespace: str, logs: PodLogs) -> None:
    spec = pod_spec("true", container={"image": "busybox"})
    await client.create(PODS, pod(namespace, "foreign", spec))
    seen = await wait_for(client, PODS, namespace, "foreign", lambda o: waiting_reason(o) == "ErrImagePull")
    assert seen["status"]["phase"] == "Pending"
    message = seen["status"]["containerStatuses"][0]["state"]["waiting"]["message"]
    assert "local mode runs only KubeDR's own image" in message
    await client.delete(PODS, namespace, "foreign")
    await wait_gone(client, PODS, namespace, "foreign")


async def test_a_missing_program_is_told(client: Client, namespace: str, logs: PodLogs) -> None:
    await client.create(PODS, pod(namespace, "missing", pod_spec("no-such-program")))
    seen = await wait_for(client, PODS, namespace, "missing", terminated)
    assert terminated(seen)["reason"] == "StartError"
    assert 'exec: "no-such-program": executable file not found' in terminated(seen)["message"]


async def test_a_deleted_pod_may_end_in_order(
    client: Client, namespace: str, logs: PodLogs, tmp_path: Path
) -> None:
    script = f"trap 'echo ended > {tmp_path}/trace; exit 0' TERM; echo up; while :; do sleep 0.1; done"
    await client.create(PODS, pod(namespace, "polite", pod_spec("sh", "-c", script)))
    await wait_for(client, PODS, namespace, "polite", is_running)
    assert await anext(logs.read(namespace, "polite", "main", follow=True)) == b"up\n"
    await client.delete(PODS, namespace, "polite")
    await wait_gone(client, PODS, namespace, "polite")
    assert (tmp_path / "trace").read_text() == "ended\n"


async def test_a_deleted_pod_that_does_not_end_is_killed(
    client: Client, namespace: str, logs: PodLogs
) -> None:
    spec = pod_spec("sh", "-c", "trap '' TERM; while :; do sleep 0.1; done", terminationGracePeriodSeconds=1)
    await client.create(PODS, pod(namespace, "stubborn", spec))
    await wait_for(client, PODS, namespace, "stubborn", is_running)
    await client.delete(PODS, namespace, "stubborn")
    await wait_gone(client, PODS, namespace, "stubborn")


async def test_a_deleted_pod_of_a_job_counts_as_failed(client: Client, namespace: str, logs: PodLogs) -> None:
    spec = pod_spec("sleep", "600", terminationGracePeriodSeconds=1)
    await client.create(JOBS, job(namespace, "robbed", spec))
    await wait_for(client, JOBS, namespace, "robbed", lambda o: o["status"].get("ready") == 1)
    [ran] = await pods_of(client, namespace, "robbed")
    await client.delete(PODS, namespace, ran["metadata"]["name"])
    done = await wait_for(client, JOBS, namespace, "robbed", lambda o: has_condition(o, "Failed"))
    assert done["status"]["failed"] == 1


async def test_a_pod_that_fits_nowhere_says_so(client: Client, namespace: str, logs: PodLogs) -> None:
    spec = pod_spec("true", nodeSelector={"disk": "golden"})
    await client.create(PODS, pod(namespace, "picky", spec))
    seen = await wait_for(client, PODS, namespace, "picky", lambda o: o["status"].get("conditions"))
    [condition] = [c for c in seen["status"]["conditions"] if c["type"] == "PodScheduled"]
    assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
    assert condition["message"].startswith("0/1 nodes are available")


async def test_the_node_is_a_ready_control_plane_node(client: Client, logs: PodLogs) -> None:
    node = await client.get(NODES, None, "kubedr-local")
    assert has_condition(node, "Ready")
    assert node["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] == ""


async def test_a_claim_is_a_directory_that_outlives_it(
    client: Client, namespace: str, logs: PodLogs, state_dir: Path
) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    await client.create(PVCS, claim)
    bound = await wait_for(client, PVCS, namespace, "data", lambda o: o["status"]["phase"] == "Bound")
    assert bound["status"]["capacity"] == {"storage": "1Gi"}
    spec = pod_spec(
        "sh",
        "-c",
        'echo restored > "$0/file"',
        "/data",
        container={"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
        volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    )
    await client.create(PODS, pod(namespace, "writer", spec))
    await wait_for(client, PODS, namespace, "writer", lambda o: o["status"]["phase"] == "Succeeded")
    [file] = (state_dir / "volumes" / namespace).glob("data-*/file")
    assert file.read_text() == "restored\n"


async def test_a_log_is_followed_to_its_end(
    client: Client, namespace: str, logs: PodLogs, tmp_path: Path
) -> None:
    script = f"echo 1; until [ -e {tmp_path}/go ]; do sleep 0.1; done; echo 2; echo 3"
    await client.create(PODS, pod(namespace, "counts", pod_spec("sh", "-c", script)))
    await wait_for(client, PODS, namespace, "counts", is_running)
    followed = logs.read(namespace, "counts", "main", follow=True)
    assert await anext(followed) == b"1\n"
    (tmp_path / "go").touch()
    assert b"".join([piece async for piece in followed]) == b"2\n3\n"
    assert await read(logs, namespace, "counts", tail_lines=2) == "2\n3\n"
    assert await read(logs, namespace, "counts", limit_bytes=3) == "1\n2"
    assert (await read(logs, namespace, "counts", timestamps=True)).splitlines()[0].endswith("Z 1")
    with pytest.raises(LookupError, match="previous terminated container"):
        await read(logs, namespace, "counts", previous=True)


async def test_stopping_ends_what_runs_and_tells_it(
    client: Client, namespace: str, kubeconfig: Path, state_dir: Path
) -> None:
    async with executor_on(kubeconfig, state_dir, shutdown_grace=60.0):
        await client.create(PODS, pod(namespace, "cut", pod_spec("sleep", "600")))
        await wait_for(client, PODS, namespace, "cut", is_running)
    seen = await client.get(PODS, namespace, "cut")
    assert (seen["status"]["phase"], seen["status"]["reason"]) == ("Failed", "Terminated")
    assert terminated(seen)["exitCode"] == 143


async def test_stopping_leaves_pods_that_have_not_started(
    client: Client, namespace: str, kubeconfig: Path, state_dir: Path
) -> None:
    spec = pod_spec("true", volumes=[{"name": "keys", "secret": {"secretName": "later"}}])
    async with executor_on(kubeconfig, state_dir):
        await client.create(PODS, pod(namespace, "waits", spec))
        await wait_for(client, PODS, namespace, "waits", waiting_reason)
    seen = await client.get(PODS, namespace, "waits")
    assert seen["status"]["phase"] == "Pending"


async def a_bound_pod(client: Client, namespace: str, trace: Path) -> dict[str, Any]:
    """Make a pod that an earlier executor may have run; it leaves a trace if it runs."""
    return await client.create(
        PODS, pod(namespace, "before", pod_spec("touch", str(trace), nodeName="kubedr-local"))
    )


async def test_an_outcome_that_was_not_told_any_more_is_told_after_a_restart(
    client: Client, namespace: str, kubeconfig: Path, state_dir: Path, tmp_path: Path
) -> None:
    made = await a_bound_pod(client, namespace, tmp_path / "trace")
    directory = state_dir / "pods" / made["metadata"]["uid"]
    directory.mkdir(parents=True)
    then = datetime(2026, 3, 1, 12, tzinfo=UTC)
    outcome.remember(directory / "outcome.json", Termination(4, "Error", "the result", then, then))
    async with executor_on(kubeconfig, state_dir):
        seen = await wait_for(client, PODS, namespace, "before", terminated)
    end = terminated(seen)
    assert (end["exitCode"], end["message"], end["finishedAt"]) == (4, "the result", "2026-03-01T12:00:00Z")
    assert not (tmp_path / "trace").exists()


async def test_a_pod_whose_process_is_gone_is_lost_and_not_run_again(
    client: Client, namespace: str, kubeconfig: Path, state_dir: Path, tmp_path: Path
) -> None:
    made = await a_bound_pod(client, namespace, tmp_path / "trace")
    directory = state_dir / "pods" / made["metadata"]["uid"]
    directory.mkdir(parents=True)
    process.write_record(directory / process.RECORD, process.ProcessId(2**22, 1, "an earlier boot"))
    (directory / "termination-log").write_text('{"outcome": "half a result')
    async with executor_on(kubeconfig, state_dir):
        seen = await wait_for(client, PODS, namespace, "before", terminated)
    assert (seen["status"]["phase"], seen["status"]["reason"]) == ("Failed", "NodeLost")
    assert terminated(seen)["reason"] == "ContainerStatusUnknown"
    assert terminated(seen)["message"] == '{"outcome": "half a result'
    assert not (tmp_path / "trace").exists()


async def test_what_is_left_of_a_deleted_pod_is_ended_and_removed(
    client: Client, kubeconfig: Path, state_dir: Path
) -> None:
    left = await asyncio.create_subprocess_exec("sleep", "600", start_new_session=True)
    identity = process.ProcessId.of(left.pid)
    assert identity is not None
    directory = state_dir / "pods" / "uid-of-a-pod-that-is-gone"
    (directory / "volumes" / "keys").mkdir(parents=True)
    process.write_record(directory / process.RECORD, identity)
    async with executor_on(kubeconfig, state_dir):
        assert await asyncio.wait_for(left.wait(), 60) == -15
    assert not directory.exists()


async def test_a_job_made_by_hand_from_a_cronjob_runs(
    client: Client, namespace: str, logs: PodLogs, kubeconfig: Path
) -> None:
    await client.create(CRONJOBS, cronjob(namespace, "yearly", "@yearly", pod_spec("true"), suspend=True))
    kubectl = Kubectl(kubeconfig, namespace)
    await asyncio.to_thread(kubectl, "create", "job", "now", "--from=cronjob/yearly")
    await wait_for(client, JOBS, namespace, "now", lambda o: has_condition(o, "Complete"))
    await wait_for(client, CRONJOBS, namespace, "yearly", lambda o: o["status"].get("lastSuccessfulTime"))
