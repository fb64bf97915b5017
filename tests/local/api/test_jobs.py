"""Jobs, CronJobs and pods: defaults, and the mistakes that people make, in the real server's words."""

from typing import Any

import pytest

from support.api_requests import MERGE, STRATEGIC, Requests

Object = dict[str, Any]
CONTAINER: Object = {"name": "a", "image": "x"}
LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
    "and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


@pytest.fixture
def jobs(namespace: str) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs"


@pytest.fixture
def cronjobs(namespace: str) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/cronjobs"


def pod_template(**changes: Any) -> Object:
    return {"spec": {"restartPolicy": "Never", "containers": [CONTAINER]} | changes}


def job(**spec: Any) -> Object:
    return {"metadata": {"name": "j"}, "spec": {"template": pod_template()} | spec}


def cronjob(name: str = "c", **spec: Any) -> Object:
    return {
        "metadata": {"name": name},
        "spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": {"template": pod_template()}}} | spec,
    }


def template(*containers: Object, **changes: Any) -> Object:
    return job(template=pod_template(containers=list(containers), **changes))


NEGATIVE = "must be greater than or equal to 0"
PULLS = 'supported values: "Always", "IfNotPresent", "Never"'
POD = "spec.template.spec"
RESTART = f'{POD}.restartPolicy: Required value: valid values: "OnFailure", "Never"'
WRONG_JOBS: dict[str, tuple[Object, str]] = {
    "restart policy": (template(CONTAINER, restartPolicy=None), RESTART),
    "no containers": (template(), f"{POD}.containers: Required value"),
    "no name": (template({"image": "x"}), f"{POD}.containers[0].name: Required value"),
    "no image": (template({"name": "a"}), f"{POD}.containers[0].image: Required value"),
    "bad name": (
        template({"name": "A_", "image": "x"}), f'{POD}.containers[0].name: Invalid value: "A_": {LABEL}',
    ),
    "twice": (template(CONTAINER, CONTAINER), f'{POD}.containers[1].name: Duplicate value: "a"'),
    "no volume": (
        template(CONTAINER | {"volumeMounts": [{"name": "v", "mountPath": "/x"}]}),
        f'{POD}.containers[0].volumeMounts[0].name: Not found: "v"',
    ),
    "negative": (job(backoffLimit=-1), f"spec.backoffLimit: Invalid value: -1: {NEGATIVE}"),
    "pull policy": (
        template(CONTAINER | {"imagePullPolicy": "Maybe"}),
        f'{POD}.containers[0].imagePullPolicy: Unsupported value: "Maybe": {PULLS}',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_JOBS)
def test_a_wrong_job_is_refused(requests: Requests, jobs: str, case: str) -> None:
    obj, expected = WRONG_JOBS[case]
    reply = requests("POST", jobs, obj)
    assert (reply.status, reply.message) == (422, f'Job.batch "j" is invalid: {expected}')


def test_a_wrong_type_is_told_as_go_tells_it(requests: Requests, jobs: str) -> None:
    reply = requests("POST", jobs, job(backoffLimit="x"))
    assert reply.message == (
        'Job in version "v1" cannot be handled as a Job: json: cannot unmarshal string into Go struct field '
        "JobSpec.spec.backoffLimit of type int32"
    )


def test_unknown_fields_are_told_with_their_place(requests: Requests, jobs: str) -> None:
    right = template(CONTAINER | {"imag": "y"})
    obj = right | {"spec": {"backofLimit": 1} | right["spec"]}
    reply = requests("POST", jobs, obj, fieldValidation="Strict")
    assert reply.message == (
        'Job in version "v1" cannot be handled as a Job: strict decoding error: unknown field '
        '"spec.backofLimit", unknown field "spec.template.spec.containers[0].imag"'
    )


def test_a_job_gets_its_defaults(requests: Requests, jobs: str) -> None:
    created = requests("POST", jobs, job()).json
    uid = created["metadata"]["uid"]
    labels = {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": "j",
        "controller-uid": uid,
        "job-name": "j",
    }
    assert created["metadata"]["labels"] == labels
    spec = created["spec"]
    assert spec["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    assert spec["template"]["metadata"]["labels"] == labels
    assert {key: spec[key] for key in spec if key not in ("selector", "template")} == {
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "completions": 1,
        "manualSelector": False,
        "parallelism": 1,
        "podReplacementPolicy": "TerminatingOrFailed",
        "suspend": False,
    }
    assert spec["template"]["spec"] == {
        "containers": [
            {
                "name": "a",
                "image": "x",
                "imagePullPolicy": "Always",
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Never",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    }
    assert created["metadata"]["generation"] == 1


def test_a_jobs_template_stays_as_it_is(requests: Requests, jobs: str) -> None:
    requests("POST", jobs, job())
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "y"}]}}}}
    assert "field is immutable" in requests("PATCH", f"{jobs}/j", patch, kind=STRATEGIC).message
    completions = requests("PATCH", f"{jobs}/j", {"spec": {"completions": 2}}, kind=MERGE)
    assert (
        completions.message
        == 'Job.batch "j" is invalid: spec.completions: Invalid value: 2: field is immutable'
    )
    assert (
        requests("PATCH", f"{jobs}/j", {"spec": {"suspend": True}}, kind=MERGE).json["metadata"]["generation"]
        == 2
    )


def test_deleting_a_job_without_a_policy_warns_of_its_pods(requests: Requests, jobs: str) -> None:
    requests("POST", jobs, job())
    reply = requests("DELETE", f"{jobs}/j")
    assert reply.warnings == [
        (
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to "
            "remove them or set propagationPolicy=Orphan to suppress this warning"
        )
    ]
    assert reply.json["metadata"]["finalizers"] == ["orphan"]


SCHEDULES = {
    "bad": "expected exactly 5 fields, found 1: [bad]",
    "61 * * * *": "end of range (61) above maximum (59): 61",
    "x * * * *": 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax',
    "*/0 * * * *": "step of range should be a positive number: */0",
    "5-3 * * * *": "beginning of range (5) beyond end of range (3): 5-3",
    "@never": "unrecognized descriptor: @never",
    "TZ=UTC 0 0 * * *": "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
}
POLICIES = 'supported values: "Allow", "Forbid", "Replace"'
LONG = "c" * 53
WRONG_CRONJOBS: dict[str, tuple[Object, str]] = {
    **{
        schedule: (cronjob(schedule=schedule), f'spec.schedule: Invalid value: "{schedule}": {why}')
        for schedule, why in SCHEDULES.items()
    },
    "missing": (cronjob(schedule=""), "spec.schedule: Required value"),
    "zone": (
        cronjob(timeZone="Nowhere/X"),
        'spec.timeZone: Invalid value: "Nowhere/X": unknown time zone Nowhere/X',
    ),
    "policy": (
        cronjob(concurrencyPolicy="Foo"),
        f'spec.concurrencyPolicy: Unsupported value: "Foo": {POLICIES}',
    ),
    "history": (
        cronjob(successfulJobsHistoryLimit=-1),
        f"spec.successfulJobsHistoryLimit: Invalid value: -1: {NEGATIVE}",
    ),
    "long name": (
        cronjob(LONG),
        f'metadata.name: Invalid value: "{LONG}": must be no more than 52 characters',
    ),
}


@pytest.mark.parametrize("case", WRONG_CRONJOBS)
def test_a_wrong_cronjob_is_refused(requests: Requests, cronjobs: str, case: str) -> None:
    obj, expected = WRONG_CRONJOBS[case]
    reply = requests("POST", cronjobs, obj)
    name = obj["metadata"]["name"]
    assert (reply.status, reply.message) == (422, f'CronJob.batch "{name}" is invalid: {expected}')


def test_a_cronjob_gets_its_defaults(requests: Requests, cronjobs: str) -> None:
    spec = requests("POST", cronjobs, cronjob(schedule="@daily")).json["spec"]
    del spec["jobTemplate"]
    assert spec == {
        "concurrencyPolicy": "Allow",
        "failedJobsHistoryLimit": 1,
        "schedule": "@daily",
        "successfulJobsHistoryLimit": 3,
        "suspend": False,
    }


def test_a_lease_is_timed_in_microseconds(requests: Requests, namespace: str) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    bad = requests("POST", path, {"metadata": {"name": "l"}, "spec": {"renewTime": "2026-01-01T00:00:00Z"}})
    assert bad.message.endswith(
        'parsing time "2026-01-01T00:00:00Z" as "2006-01-02T15:04:05.000000Z07:00": '
        'cannot parse "Z" as ".000000"'
    )
    good = {"metadata": {"name": "l"}, "spec": {"renewTime": "2026-01-01T01:00:00.000000+01:00"}}
    assert requests("POST", path, good).json["spec"]["renewTime"] == "2026-01-01T00:00:00.000000Z"


def test_a_claim_says_how_and_how_much(requests: Requests, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    reply = requests("POST", path, {"metadata": {"name": "v"}, "spec": {}})
    assert reply.message == (
        'PersistentVolumeClaim "v" is invalid: [spec.accessModes: Required value: at least 1 access mode is '
        "required, spec.resources[storage]: Required value]"
    )


def test_an_event_is_in_the_namespace_of_what_it_is_about(requests: Requests, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/events"
    event = {"metadata": {"name": "e"}, "involvedObject": {"namespace": "other", "name": "x"}}
    reply = requests("POST", path, event)
    assert reply.message == (
        'Event "e" is invalid: involvedObject.namespace: Invalid value: "other": '
        "does not match event.namespace"
    )
