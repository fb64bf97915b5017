"""The envelope, and what the judge makes of it."""

import asyncio
import base64
import json
from typing import Any

import jsonpatch
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from kubedr_server.admission import endpoint, review
from kubedr_server.admission.endpoint import Load, Webhook
from kubedr_server.admission.facts import Facts, ReferencedKind
from kubedr_server.admission.judge import ALLOW_DELETE, RULES, Judge
from kubedr_server.admission.large import Reader
from kubedr_server.admission.patch import additions
from kubedr_server.admission.schema import rule_of
from kubedr_server.api.group import GROUP
from kubedr_server.api.kinds import KINDS
from kubedr_server.ops.admission_metrics import AdmissionMetrics
from support.admission import location, patch_of, policy, record, resource, restore, review_of


class FakeCluster:
    """References with fixed answers; `delay` makes it slow, `fails` makes it raise."""

    def __init__(self, facts: Facts | None = None, *, delay: float = 0.0, fails: bool = False) -> None:
        self.facts = facts or Facts()
        self.delay = delay
        self.fails = fails
        self.asked = 0

    async def _answer(self) -> None:
        self.asked += 1
        await asyncio.sleep(self.delay)
        if self.fails:
            raise ConnectionError("no API server")

    async def secret_keys(self, namespace: str, name: str) -> frozenset[str] | None:
        await self._answer()
        return self.facts.secret_keys[name]

    async def exists(self, kind: ReferencedKind, namespace: str, name: str) -> bool:
        await self._answer()
        return self.facts.exists[kind, name]

    async def policies_of_location(self, namespace: str, location: str) -> tuple[str, ...]:
        await self._answer()
        return self.facts.policies_of_location

    async def records_of_location(self, namespace: str, location: str) -> tuple[str, ...]:
        await self._answer()
        return self.facts.records_of_location

    async def restores_of_record(self, namespace: str, record: str) -> tuple[str, ...]:
        await self._answer()
        return self.facts.restores_of_record


async def judge(document: dict[str, Any], cluster: FakeCluster | None = None) -> dict[str, Any]:
    request = review.read(*review.parse(json.dumps(document).encode()))
    response: dict[str, Any] = (await Judge(cluster).validate(request, 5.0))["response"]
    return response


async def post(body: bytes, path: str = "validate") -> tuple[int, bytes]:
    """Call a webhook as an ASGI server would."""
    rules = Judge()
    answer = rules.validate if path == "validate" else rules.mutate
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": f"/{path}",
        "query_string": b"timeout=5s",
        "headers": [(b"content-type", b"application/json")],
    }
    async with Reader() as reader:
        webhook = Webhook(path, answer, Load(), reader, AdmissionMetrics(CollectorRegistry()))
        await webhook(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


async def test_a_right_object_is_allowed_and_nothing_else_is_said() -> None:
    status, body = await post(json.dumps(review_of(policy(), uid="u-1")).encode())
    assert status == 200
    assert json.loads(body) == {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": "u-1", "allowed": True},
    }


async def test_a_refusal_is_a_whole_status() -> None:
    response = await judge(review_of(policy("x", schedule="often")))
    detail = (
        'Invalid value: "often": expected exactly 5 fields, found 1: '
        "minute, hour, day of the month, month, day of the week"
    )
    assert response == {
        "uid": "uid-1",
        "allowed": False,
        "status": {
            "apiVersion": "v1",
            "kind": "Status",
            "metadata": {},
            "status": "Failure",
            "code": 422,
            "reason": "Invalid",
            "message": f'MetadataBackupPolicy.{GROUP} "x" is invalid: spec.schedule: {detail}',
            "details": {
                "name": "x",
                "group": GROUP,
                "kind": "MetadataBackupPolicy",
                "causes": [{"reason": "FieldValueInvalid", "message": detail, "field": "spec.schedule"}],
            },
        },
    }


async def test_several_mistakes_stand_in_one_message() -> None:
    response = await judge(review_of(location("x", url="", bucketName="")))
    assert response["status"]["message"] == (
        f'BackupLocation.{GROUP} "x" is invalid: [spec.url: Required value, spec.bucketName: Required value]'
    )


async def test_mutation_brings_in_the_defaults_once() -> None:
    _, body = await post(json.dumps(review_of(policy())).encode(), "mutate")
    operations = patch_of(json.loads(body))
    defaulted = jsonpatch.apply_patch(policy(), operations)
    assert defaulted == RULES["MetadataBackupPolicy"].default(policy())
    _, again = await post(json.dumps(review_of(defaulted)).encode(), "mutate")
    assert patch_of(json.loads(again)) == []


@pytest.mark.parametrize("path", ["mutate", "validate"])
async def test_an_object_being_deleted_is_let_through_as_it_is(path: str) -> None:
    wrong = policy(schedule="often")
    wrong["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    _, body = await post(json.dumps(review_of(wrong, policy(schedule="often"))).encode(), path)
    assert json.loads(body)["response"] == {"uid": "uid-1", "allowed": True}


async def test_an_old_mistake_that_an_update_does_not_touch_is_let_through() -> None:
    old, new = policy(schedule="often"), policy(schedule="often", suspend=True)
    assert (await judge(review_of(new, old)))["allowed"]
    new["spec"]["schedule"] = "seldom"
    refusal = await judge(review_of(new, old))
    assert [cause["field"] for cause in refusal["status"]["details"]["causes"]] == ["spec.schedule"]


async def test_a_part_of_resources_is_judged_with_the_rest_of_them() -> None:
    old = policy(resources={"requests": {"cpu": "1"}, "limits": {"cpu": "1"}})
    new = policy(resources={"requests": {"cpu": "1"}, "limits": {"cpu": "500m"}})
    assert not (await judge(review_of(new, old)))["allowed"]


async def test_a_name_that_is_too_long_since_before_the_rule_does_not_hinder_an_update() -> None:
    assert (await judge(review_of(policy("p" * 50, suspend=True), policy("p" * 50))))["allowed"]


async def test_subresources_are_not_judged() -> None:
    assert (await judge(review_of(policy(schedule="often"), policy(), subResource="status")))["allowed"]


async def test_objects_of_other_groups_are_let_through_with_a_warning() -> None:
    document = review_of(policy())
    document["request"]["kind"] = {"group": "batch", "version": "v1", "kind": "Job"}
    response = await judge(document)
    assert response["allowed"]
    assert "check the webhook's rules" in response["warnings"][0]


@pytest.mark.parametrize(
    "change",
    [
        {"kind": {"group": GROUP, "version": "v1alpha1", "kind": "Unheard"}},
        {"kind": {"group": GROUP, "version": "v2", "kind": "MetadataBackupPolicy"}},
        {"kind": "MetadataBackupPolicy"},
        {"object": None},
        {"object": "text"},
        {"object": location()},
        {"oldObject": []},
        {"operation": 7},
        {"name": {}},
    ],
)
async def test_a_review_that_contradicts_itself_is_refused_with_its_uid(change: dict[str, Any]) -> None:
    document = review_of(policy())
    document["request"].update(change)
    status, body = await post(json.dumps(document).encode())
    response = json.loads(body)["response"]
    assert status == 200
    assert (response["uid"], response["allowed"]) == ("uid-1", False)
    assert (response["status"]["code"], response["status"]["reason"]) == (400, "BadRequest")


async def test_another_version_of_the_envelope_is_refused_with_the_uid() -> None:
    document = {**review_of(policy()), "apiVersion": "admission.k8s.io/v1beta1"}
    _, body = await post(json.dumps(document).encode())
    assert json.loads(body)["response"]["status"]["code"] == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'{"request": {}}',
        b'{"request": {"uid": ""}}',
        b'{"request": {"uid": 5}}',
        b'{"request": {"uid": "u", "x": NaN}}',
        b'{"request": {"uid": "u", "x": "\\ud800"}}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"request": {"uid": "u", "x": ' + b"9" * 5000 + b"}}",
    ],
)
async def test_what_has_no_uid_is_a_bad_request(body: bytes) -> None:
    status, _ = await post(body)
    assert status == 400


async def test_of_a_duplicate_key_the_last_counts() -> None:
    body = json.dumps(review_of(policy())).encode().replace(b'"uid": "uid-1"', b'"uid": "a", "uid": "b"')
    _, answer = await post(body)
    assert json.loads(answer)["response"]["uid"] == "b"


async def test_a_fault_of_ours_is_told_with_the_uid_and_without_the_object(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("canary-of-the-object")

    monkeypatch.setattr("kubedr_server.api.cron.parse", broken)
    unknown = policy(schedule="7 7 7 7 *")  # a schedule that was seen before would not be parsed again
    status, body = await post(json.dumps(review_of(unknown, uid="u-7")).encode())
    response = json.loads(body)["response"]
    assert status == 200
    assert (response["uid"], response["allowed"], response["status"]["code"]) == ("u-7", False, 500)
    assert "RuntimeError at schedules.py" in response["status"]["message"]
    assert "canary" not in body.decode() + caplog.text


async def test_a_dry_run_is_judged_like_any_other() -> None:
    for obj in (policy(), policy(schedule="x")):
        answers = [await judge(review_of(obj, dryRun=dry)) for dry in (True, False)]
        assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        (b"timeout=5s", 5.0),
        (b"timeout=500ms", 0.5),
        (b"timeout=1m0s", 30.0),
        (b"timeout=1h", 30.0),
        (b"a=b&timeout=2.5s", 2.5),
        (b"timeout=0s", 10.0),
        (b"timeout=-5s", 10.0),
        (b"timeout=5", 10.0),
        (b"timeout=nan", 10.0),
        (b"timeout=1.2.3s", 10.0),
        (b"timeout=" + b"9" * 1000 + b"s", 30.0),
        (b"timeout=\xff", 10.0),
        (b"timeout", 10.0),
        (b"", 10.0),
    ],
)
def test_the_time_that_the_api_server_gives_is_bounded_and_defaulted(query: bytes, seconds: float) -> None:
    assert endpoint._timeout(query) == seconds


async def test_an_empty_deadline_is_a_refusal_with_the_uid() -> None:
    async def never(*_: Any) -> dict[str, Any]:
        await asyncio.sleep(3600)
        return {}

    webhook = Webhook("validate", never, Load(), Reader(), AdmissionMetrics(CollectorRegistry()))
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(review_of(policy())).encode(), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "method": "POST",
        "query_string": b"timeout=100ms",
        "headers": [(b"content-type", b"application/json; charset=utf-8")],
    }
    await webhook(scope, receive, send)
    response = json.loads(sent[1]["body"])["response"]
    assert (response["uid"], response["status"]["reason"]) == ("uid-1", "Timeout")


# References


ALL_KEYS = frozenset({"access_key", "secret_key", "restic_repo_password"})


@pytest.mark.parametrize(
    ("obj", "facts", "warnings"),
    [
        (
            policy(etcdCreds="etcd-creds"),
            Facts(secret_keys={"etcd-creds": None}, exists={("BackupLocation", "offsite"): False}),
            [
                (
                    'spec.destination: BackupLocation "offsite" does not exist yet: '
                    "no backup is made before it is there"
                ),
                'spec.etcdCreds: Secret "etcd-creds" does not exist yet: backups fail until it is there',
            ],
        ),
        (
            policy(),
            Facts(
                secret_keys={"etcd-creds": frozenset({"ca.crt"})},
                exists={("BackupLocation", "offsite"): True},
            ),
            [
                (
                    'spec.etcdCreds: Secret "etcd-creds" has no keys "client.crt", "client.key": '
                    "backups fail until it is there"
                )
            ],
        ),
        (
            location(),
            Facts(secret_keys={"s3-credentials": ALL_KEYS - {"secret_key"}}),
            [
                (
                    'spec.credentials: Secret "s3-credentials" has no key "secret_key": '
                    "the repository waits for it"
                )
            ],
        ),
        (location(), Facts(secret_keys={"s3-credentials": ALL_KEYS}), None),
        (
            location(caSecret="ca"),
            Facts(secret_keys={"s3-credentials": ALL_KEYS, "ca": frozenset()}),
            ['spec.caSecret: Secret "ca" has no key "ca.crt": the repository waits for it'],
        ),
        (
            record(backuploc="gone"),
            Facts(exists={("BackupLocation", "gone"): False}),
            [
                (
                    'spec.backuploc: BackupLocation "gone" does not exist yet: '
                    "nothing can be restored before it is there"
                )
            ],
        ),
        (
            restore(),
            Facts(
                exists={
                    ("MetadataBackupRecord", "mbr-9a9808ce"): False,
                    ("PersistentVolumeClaim", "restored"): False,
                }
            ),
            [
                (
                    'spec.mbrName: MetadataBackupRecord "mbr-9a9808ce" does not exist yet: '
                    "the restore waits for it"
                ),
                'spec.pvcName: PersistentVolumeClaim "restored" does not exist yet: the restore waits for it',
            ],
        ),
    ],
)
async def test_what_is_not_there_yet_is_a_warning(
    obj: dict[str, Any], facts: Facts, warnings: list[str] | None
) -> None:
    response = await judge(review_of(obj), FakeCluster(facts))
    assert response["allowed"]
    assert response.get("warnings") == warnings


@pytest.mark.parametrize("cluster", [FakeCluster(fails=True), FakeCluster(delay=3600), None])
async def test_an_api_server_that_does_not_answer_is_never_a_reason_to_refuse(
    cluster: FakeCluster | None,
) -> None:
    request = review.read(*review.parse(json.dumps(review_of(policy())).encode()))
    async with asyncio.timeout(60):
        answer = await Judge(cluster, reference_timeout=0.2).validate(request, 5.0)
    assert answer["response"] == {"uid": "uid-1", "allowed": True}


async def test_nothing_is_looked_up_for_a_change_outside_the_spec() -> None:
    cluster = FakeCluster(Facts())
    relabelled = policy()
    relabelled["metadata"]["labels"] = {"a": "b"}
    stored = RULES["MetadataBackupPolicy"].default(policy())
    assert (await judge(review_of({**relabelled, "spec": stored["spec"]}, stored), cluster))["allowed"]
    assert cluster.asked == 0


async def test_a_location_in_use_cannot_be_deleted() -> None:
    facts = Facts(policies_of_location=("nightly",), records_of_location=tuple(f"mbr-{n}" for n in range(7)))
    response = await judge(review_of(None, location("offsite")), FakeCluster(facts))
    assert response["status"] == {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "code": 403,
        "reason": "Forbidden",
        "message": (
            f'backuplocations.{GROUP} "offsite" is forbidden: MetadataBackupPolicies "nightly" and '
            'MetadataBackupRecords "mbr-0", "mbr-1", "mbr-2", "mbr-3", "mbr-4" and 2 more refer to it: '
            f'delete them first (or set the annotation {ALLOW_DELETE}: "true")'
        ),
        "details": {"name": "offsite", "group": GROUP, "kind": "backuplocations"},
    }


async def test_the_annotation_overrides_the_refusal_to_delete() -> None:
    facts = Facts(policies_of_location=("nightly",))
    old = location()
    old["metadata"]["annotations"] = {ALLOW_DELETE: "true"}
    assert (await judge(review_of(None, old), FakeCluster(facts)))["allowed"]


async def test_a_record_in_use_by_a_running_restore_cannot_be_deleted() -> None:
    response = await judge(review_of(None, record()), FakeCluster(Facts(restores_of_record=("bring-back",))))
    assert 'MetadataRestores "bring-back" are using it' in response["status"]["message"]


@pytest.mark.parametrize("obj", [location(), record(), policy(), restore()])
async def test_what_nothing_refers_to_can_be_deleted(obj: dict[str, Any]) -> None:
    assert (await judge(review_of(None, obj), FakeCluster()))["allowed"]
    assert (await judge(review_of(None, obj), FakeCluster(fails=True)))["allowed"]


@pytest.mark.parametrize(
    ("field", "value"), [("url", "https://other"), ("bucketName", "other"), ("prefix", "other")]
)
async def test_a_location_with_records_cannot_be_moved(field: str, value: str) -> None:
    facts = Facts(
        secret_keys={"s3-credentials": ALL_KEYS}, policies_of_location=("p",), records_of_location=("mbr-1",)
    )
    moved = location(**{field: value})
    response = await judge(review_of(moved, location()), FakeCluster(facts))
    assert response["status"]["details"]["causes"] == [
        {
            "reason": "FieldValueInvalid",
            "field": f"spec.{field}",
            "message": f'Invalid value: "{value}": field is immutable while MetadataBackupRecords refer to '
            'this location, because their snapshots are there: "mbr-1". Make another BackupLocation instead',
        }
    ]
    unused = Facts(secret_keys={"s3-credentials": ALL_KEYS})
    assert (await judge(review_of(moved, location()), FakeCluster(unused)))["allowed"]


async def test_warnings_fit_what_the_api_server_passes_on() -> None:
    answer = review.allow("u", warnings=["w" * 1000] * 100)
    assert len(answer["response"]["warnings"]) == 15
    assert all(len(warning) <= 256 for warning in answer["response"]["warnings"])


# Properties

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
FIELDS = sorted({name for kind in KINDS for name in rule_of(kind.model).properties["spec"].properties})
tolerations = st.lists(
    st.dictionaries(st.sampled_from(["key", "operator", "value", "effect", "x"]), json_values), max_size=3
)
amounts = st.from_regex(
    r"[+-]?[0-9]{1,40}([.][0-9]{0,9})?([eE][+-]?[0-9]{1,3}|[numkMGTPE]|[KMGTPE]i)?", fullmatch=True
)
quantities = st.dictionaries(
    st.sampled_from(["cpu", "memory", "a/b", "x"]), amounts | json_values, max_size=3
)
resources = st.dictionaries(st.sampled_from(["limits", "requests", "x"]), quantities | json_values)
specs = st.dictionaries(st.sampled_from(FIELDS), json_values | tolerations | resources, max_size=8)
kinds = st.sampled_from(sorted(RULES))
relaxed = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@relaxed
@given(kinds, specs | json_values)
def test_defaulting_is_idempotent_and_its_patch_leads_there(kind: str, spec: Any) -> None:
    rules = RULES[kind]
    obj = {**resource(kind), "spec": spec}
    once = rules.default(obj)
    assert repr(rules.default(once)) == repr(once)
    assert repr(jsonpatch.apply_patch(obj, additions(obj, once))) == repr(once)


@relaxed
@given(kinds, specs | json_values, specs | json_values | st.none(), st.sampled_from(["mutate", "validate"]))
def test_no_object_makes_a_webhook_fail_or_lose_the_uid(kind: str, new: Any, old: Any, path: str) -> None:
    before = None if old is None else {**resource(kind), "spec": old}
    document = review_of({**resource(kind), "spec": new}, before)
    try:
        body = json.dumps(document, allow_nan=False).encode("utf-8")
    except ValueError:
        return  # NaN, or half a surrogate pair: no JSON
    status, answer = asyncio.run(post(body, path))
    if status == 400:
        return  # half a surrogate pair, written as an escape
    response = json.loads(answer)["response"]
    assert (status, response["uid"]) == (200, "uid-1")
    assert response["allowed"] or response["status"]["code"] == 422


@relaxed
@given(
    st.dictionaries(
        st.sampled_from(["kind", "operation", "name", "namespace", "object", "oldObject", "subResource"]),
        json_values,
    )
)
def test_no_review_with_a_uid_loses_it(request: dict[str, Any]) -> None:
    document = review_of(policy())
    document["request"].update(request)
    try:
        body = json.dumps(document, allow_nan=False).encode("utf-8")
    except ValueError:
        return
    status, answer = asyncio.run(post(body))
    if status == 200:
        response = json.loads(answer)["response"]
        assert response["uid"] == "uid-1"
        assert response["allowed"] or response["status"]["code"] != 500


@relaxed
@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_other_body_is_a_bad_request(body: bytes) -> None:
    status, _ = asyncio.run(post(body))
    assert status == 400


def test_a_patch_is_base64_of_json() -> None:
    answer = review.allow("u", patch=[{"op": "add", "path": "/a", "value": "ä"}])
    assert json.loads(base64.b64decode(answer["response"]["patch"])) == [
        {"op": "add", "path": "/a", "value": "ä"}
    ]
