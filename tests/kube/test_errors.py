import json

import pytest

from kubedr_server.kube import errors

REQUEST = errors.Request("PUT", "/api/v1/namespaces/ns/configmaps/a", "https://api.example:6443")


@pytest.mark.parametrize(
    ("code", "reason", "kind", "what_next"),
    [
        (404, "NotFound", errors.NotFound, errors.Outdated),
        (409, "Conflict", errors.Conflict, errors.Outdated),
        (409, "AlreadyExists", errors.AlreadyExists, errors.Outdated),
        (410, "Expired", errors.Gone, errors.Outdated),
        (410, "Gone", errors.Gone, errors.Outdated),
        (422, "Invalid", errors.Invalid, errors.Refused),
        (400, "BadRequest", errors.BadRequest, errors.Refused),
        (405, "MethodNotAllowed", errors.BadRequest, errors.Refused),
        (401, "Unauthorized", errors.Unauthorized, errors.Refused),
        (403, "Forbidden", errors.Forbidden, errors.Refused),
        (429, "TooManyRequests", errors.TooManyRequests, errors.Transient),
        (500, "InternalError", errors.ServerError, errors.Transient),
        (503, "ServiceUnavailable", errors.ServerError, errors.Transient),
        (500, "ServerTimeout", errors.ServerTimeout, errors.Transient),
        (504, "Timeout", errors.ServerTimeout, errors.Transient),
    ],
)
def test_the_type_says_what_happens_next(
    code: int, reason: str, kind: type[errors.KubeError], what_next: type[errors.KubeError]
) -> None:
    error = errors.from_status({"kind": "Status", "code": code, "reason": reason, "message": "m"})
    assert type(error) is kind
    assert isinstance(error, what_next)
    assert error.status == code


def test_the_message_names_method_path_server_and_status() -> None:
    body = json.dumps({"kind": "Status", "code": 409, "reason": "Conflict", "message": "it was modified"})
    error = errors.from_response(409, body.encode(), request=REQUEST)
    assert str(error) == (
        "PUT /api/v1/namespaces/ns/configmaps/a at https://api.example:6443: it was modified (409 Conflict)"
    )


def test_causes_name_the_fields() -> None:
    cause = {"field": "spec.schedule", "message": "Invalid value", "reason": "FieldValueInvalid"}
    error = errors.from_status(
        {"code": 422, "reason": "Invalid", "message": "m", "details": {"causes": [cause]}}
    )
    assert error.causes == (errors.Cause("spec.schedule", "Invalid value", "FieldValueInvalid"),)


def test_a_namespace_that_goes_away_is_told_apart_from_a_missing_role() -> None:
    cause = {
        "reason": "NamespaceTerminating",
        "message": "namespace x is being terminated",
        "field": "metadata.namespace",
    }
    error = errors.from_status({"code": 403, "reason": "Forbidden", "details": {"causes": [cause]}})
    assert type(error) is errors.NamespaceTerminating


def test_the_wait_is_taken_from_the_header_or_from_the_details() -> None:
    status = {"kind": "Status", "code": 429, "reason": "TooManyRequests", "details": {"retryAfterSeconds": 7}}
    assert errors.from_status(status).retry_after == 7
    assert (
        errors.from_response(429, json.dumps(status).encode(), request=REQUEST, retry_after=3).retry_after
        == 3
    )


@pytest.mark.parametrize(
    "body", [b"", b"<html>502 Bad Gateway</html>", b"[]", b'{"kind": "Pod"}', b"\xff\xfe"]
)
def test_an_answer_that_is_no_status_still_becomes_an_error_by_its_code(body: bytes) -> None:
    error = errors.from_response(502, body, request=REQUEST)
    assert type(error) is errors.ServerError
    assert error.status == 502


def test_a_long_answer_of_a_proxy_is_cut() -> None:
    assert len(str(errors.from_response(502, b"x" * 100_000, request=REQUEST))) < 1000
