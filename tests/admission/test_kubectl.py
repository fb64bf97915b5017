"""The same table through kubectl, an API server, the CRDs and the webhooks over TLS.

The API server checks a CRD's schema and its CEL rules before it asks the validating webhook, so the words may
be either's. What must hold is that both together accept what is right and refuse what is wrong,
and name the field.
"""

import json
import re
from typing import Any

import pytest

from kubedr_server.admission.judge import ALLOW_DELETE
from support.admission import location, policy, resource
from support.admission_cases import CASES
from support.clusters import Cluster

pytestmark = pytest.mark.cluster

PRUNED = ("spec.tolerations[0].colour", "spec.resources.claims", "spec.resources.request")
"""Fields that the CRDs do not have: the API server drops them before a webhook sees the object, and kubectl
refuses them only where it validates strictly."""


def _documents(namespace: str) -> dict[str, dict[str, Any]]:
    documents = {}
    for number, (kind, spec, _) in enumerate(CASES):
        name = f"case-{number}"
        documents[name] = resource(kind, name, **spec)
        documents[name]["metadata"]["namespace"] = namespace
    return documents


def _refusals(stderr: str) -> dict[str, str]:
    """Return what was said of each refused object, by its name."""
    found: dict[str, str] = {}
    name = ""
    for line in stderr.splitlines():
        if match := re.search(r'"(case-[0-9]+)" is invalid', line):
            name = match[1]
        if not line.startswith("Warning:"):
            found[name] = found.get(name, "") + line
    return found


def test_the_whole_table_gets_the_same_verdict_through_an_api_server(cluster: Cluster) -> None:
    kubectl = cluster.new_namespace("admission")
    documents = _documents(kubectl.namespace)
    stream = "\n".join(json.dumps(document) for document in documents.values())
    answer = kubectl.answer("create", "--dry-run=server", "--validate=false", "-f", "-", stdin=stream)
    accepted = set(re.findall(r"/(case-[0-9]+) created", answer.stdout))
    refused = _refusals(answer.stderr)
    wrong = []
    for number, (kind, spec, causes) in enumerate(CASES):
        name = f"case-{number}"
        if [cause[0] for cause in causes if cause[0] in PRUNED]:
            continue
        if (name in accepted) == bool(causes) or (name in refused) != bool(causes):
            wrong.append((kind, spec, "refused" if causes else "accepted", refused.get(name)))
        elif causes and not any(_field(cause[0]) in refused[name] for cause in causes):
            wrong.append((kind, spec, causes[0][0], refused[name]))
    assert not wrong, "\n".join(map(repr, wrong))


def _field(path: str) -> str:
    """Return the spec's field: CEL rules name no more of a path than that."""
    return ".".join(path.split("[")[0].split(".")[:2])


def test_kubectl_prints_a_refusal_as_the_api_servers_own(cluster: Cluster) -> None:
    kubectl = cluster.new_namespace("admission")
    wrong = policy("x", schedule="0 25 * * *")
    del wrong["metadata"]["namespace"]
    answer = kubectl.answer("apply", "-f", "-", stdin=json.dumps(wrong))
    assert answer.exit_code == 1
    assert answer.stderr.splitlines()[-1] == (
        'The MetadataBackupPolicy "x" is invalid: spec.schedule: Invalid value: "0 25 * * *": '
        "'25' is out of range: hour must be between 0 and 23"
    )
    assert 'Warning: spec.destination: BackupLocation "offsite" does not exist yet' in answer.stderr


def test_several_mistakes_that_the_schema_does_not_see_are_told_at_once(cluster: Cluster) -> None:
    kubectl = cluster.new_namespace("admission")
    wrong = policy("x", schedule="0 0 31 4 *", timeZone="utc", certsDir="/proc", suspend=True)
    del wrong["metadata"]["namespace"]
    lines = [line for line in kubectl.refusal(wrong).splitlines() if not line.startswith("Warning:")]
    never = "is never due: no such day exists in the months it names"
    assert lines == [
        'The MetadataBackupPolicy "x" is invalid: ',
        f'* spec.schedule: Invalid value: "0 0 31 4 *": {never}',
        '* spec.timeZone: Invalid value: "utc": unknown time zone utc; did you mean UTC?',
        '* spec.certsDir: Invalid value: "/proc": is /proc, which must not be backed up as files',
    ]


def test_a_location_in_use_is_kept_until_its_annotation_allows_to_delete_it(cluster: Cluster) -> None:
    kubectl = cluster.new_namespace("admission")
    objects = [location("offsite"), policy("nightly", suspend=True)]
    for each in objects:
        del each["metadata"]["namespace"]
    kubectl.apply(*objects)
    for options in ([], ["--dry-run=server"], ["--force"]):
        answer = kubectl.answer("delete", "backuplocation", "offsite", *options)
        assert answer.exit_code == 1
        assert (
            'backuplocations.kubedr.catalogicsoftware.com "offsite" is forbidden: MetadataBackupPolicies '
            '"nightly" refer to it: delete them first (or set the annotation '
            f'{ALLOW_DELETE}: "true")'
        ) in answer.stderr
    kubectl("annotate", "backuplocation", "offsite", f"{ALLOW_DELETE}=true")
    kubectl("delete", "backuplocation", "offsite", "--timeout=60s", seconds=70)


def test_what_the_server_stores_has_its_defaults(cluster: Cluster) -> None:
    kubectl = cluster.new_namespace("admission")
    right = policy("nightly", suspend=True)
    del right["metadata"]["namespace"]
    kubectl("apply", "-f", "-", stdin=json.dumps(right))
    spec = json.loads(kubectl("get", "mbp", "nightly", "-o", "json"))["spec"]
    assert (spec["etcdEndpoint"], spec["retainNumBackups"]) == ("https://127.0.0.1:2379", 120)
