"""What the API server would send: small reviews of the size that it really sends, and one of 3 MiB."""

import copy
import json
from dataclasses import dataclass
from typing import Any

from benchmarks.load import Call
from kubedr_server.manifests.webhooks import MUTATE_PATH, VALIDATE_PATH
from support.admission import policy, review_of

SMALL_BYTES = 1700
UPDATE_BYTES = 2200
"""An update carries the object twice."""

LARGE_BYTES = 3 * 1024 * 1024
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True)
class Sample:
    """A review, where it is sent, and whether the object is right."""

    path: str
    document: dict[str, Any]
    allowed: bool = True

    @property
    def body(self) -> bytes:
        """The review as JSON."""
        return json.dumps(self.document).encode()

    def call(self, port: int, *, spaced: bool) -> Call:
        """Return the request. `spaced`: the server writes JSON with a space after each colon."""
        body = self.body
        head = (
            f"POST {self.path}?timeout=5s HTTP/1.1\r\nHost: localhost:{port}\r\n"
            "User-Agent: kube-apiserver-admission\r\n"
            f"Content-Length: {len(body)}\r\nAccept: application/json, */*\r\n"
            "Content-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n"
        )
        expected = f'"allowed":{" " if spaced else ""}{"true" if self.allowed else "false"}'
        return Call(head.encode() + body, expected.encode())


def small() -> list[Sample]:
    """Return the mixture that is sent: defaults, a creation, an update, and a mistake."""
    spec = {"schedule": "*/10 * * * *", "etcdEndpoint": "https://10.0.0.1:2379"}
    right = _stored(policy("nightly", **spec))
    changed = _stored(policy("nightly", **{**spec, "schedule": "@hourly"}))
    wrong = _stored(policy("nightly", **{**spec, "schedule": "61 * * * *"}))
    return [
        _sized(Sample(MUTATE_PATH, review_of(right)), SMALL_BYTES),
        _sized(Sample(VALIDATE_PATH, review_of(right)), SMALL_BYTES),
        _sized(Sample(VALIDATE_PATH, review_of(changed, right)), UPDATE_BYTES),
        _sized(Sample(VALIDATE_PATH, review_of(wrong), allowed=False), SMALL_BYTES),
    ]


def large() -> Sample:
    """Return an update of an object whose history of field managers has grown to 3 MiB.

    Its many small keys make it slow to parse: one string of that size would be read in a millisecond.
    """
    new = _stored(policy("nightly"))
    entry = new["metadata"]["managedFields"][0]
    each = len(json.dumps({"f:label-000000": {".": {}, "f:inner-000000": {}}}))
    fields: dict[str, Any] = {
        f"f:label-{number:06d}": {".": {}, f"f:inner-{number:06d}": {}}
        for number in range(LARGE_BYTES // each)
    }
    new["metadata"]["managedFields"] = [{**entry, "fieldsV1": {"f:metadata": fields}}]
    return Sample(VALIDATE_PATH, review_of(new, _stored(policy("nightly"))))


def _stored(obj: dict[str, Any]) -> dict[str, Any]:
    """Give the object what the API server gives it before it asks webhooks."""
    obj["metadata"] |= {
        "uid": "0b3f2a1e-6f1d-4b57-9d2b-6f3a1c2d4e5f",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "generation": 1,
        "managedFields": [
            {
                "manager": "kubectl-client-side-apply",
                "operation": "Update",
                "apiVersion": obj["apiVersion"],
                "time": "2026-01-01T00:00:00Z",
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:spec": {".": {}, **{f"f:{name}": {} for name in obj["spec"]}}},
            }
        ],
    }
    return obj


def _sized(sample: Sample, size: int) -> Sample:
    """Fill the review up to a size with the annotation that `kubectl apply` leaves."""
    document = copy.deepcopy(sample.document)
    annotations = {_LAST_APPLIED: ""}
    document["request"]["object"]["metadata"]["annotations"] = annotations
    annotations[_LAST_APPLIED] = "x" * max(0, size - len(json.dumps(document).encode()))
    return Sample(sample.path, document, sample.allowed)
