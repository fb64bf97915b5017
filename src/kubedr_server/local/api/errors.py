"""The errors of the API as the real server words them: each is a metav1.Status with an HTTP code."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kubedr_server.local.api.resources import ResourceType

_ABSENT = object()


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with one field; `reason` is the name of a metav1.CauseType."""

    reason: str
    field: str
    body: str

    def __str__(self) -> str:
        return f"{self.field}: {self.body}" if self.field else self.body


def quote(text: str) -> str:
    """Quote like Go's %q."""
    return json.dumps(text, ensure_ascii=False)


def show(value: Any) -> str:
    """Write a bad value as field.Error does: simple types plainly, strings quoted, the rest as JSON."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _body(title: str, value: Any, detail: str) -> str:
    text = title if value is _ABSENT else f"{title}: {show(value)}"
    return f"{text}: {detail}" if detail else text


def required(field: str, detail: str = "") -> FieldError:
    """Say that a field is missing."""
    return FieldError("FieldValueRequired", field, _body("Required value", _ABSENT, detail))


def invalid(field: str, value: Any, detail: str) -> FieldError:
    """Say that a value breaks a rule."""
    return FieldError("FieldValueInvalid", field, _body("Invalid value", value, detail))


def unsupported(field: str, value: Any, supported: Sequence[Any]) -> FieldError:
    """Say that a value is none of an enumeration."""
    names = ", ".join(show(item) for item in supported)
    detail = f"supported values: {names}" if names else ""
    return FieldError("FieldValueNotSupported", field, _body("Unsupported value", value, detail))


def forbidden(field: str, detail: str) -> FieldError:
    """Say that a field must not be set."""
    return FieldError("FieldValueForbidden", field, _body("Forbidden", _ABSENT, detail))


def duplicate(field: str, value: Any) -> FieldError:
    """Say that a list names the same thing twice."""
    return FieldError("FieldValueDuplicate", field, _body("Duplicate value", value, ""))


def too_long(field: str, limit: int) -> FieldError:
    """Say that a text has more bytes than allowed."""
    detail = f"may not be more than {limit} bytes"
    return FieldError("FieldValueTooLong", field, _body("Too long", _ABSENT, detail))


def too_many(field: str, count: int, limit: int) -> FieldError:
    """Say that a list has too many items."""
    return FieldError(
        "FieldValueTooMany", field, _body("Too many", count, f"must have at most {limit} items")
    )


class APIError(Exception):
    """A request that ends with a Status instead of an object."""

    def __init__(
        self, code: int, reason: str, message: str, details: dict[str, Any] | None = None,
        retry_after: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.retry_after = retry_after

    def status(self) -> dict[str, Any]:
        """Return the metav1.Status document."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        details = dict(self.details or {})
        if self.retry_after is not None:
            details["retryAfterSeconds"] = self.retry_after
        if details or self.details is not None:
            status["details"] = details
        return status | {"code": self.code}


def _details(resource: ResourceType, name: str, kind: str | None = None) -> dict[str, Any]:
    details = {"name": name, "group": resource.group, "kind": kind or resource.plural}
    return {key: value for key, value in details.items() if value}


def not_found(resource: ResourceType, name: str) -> APIError:
    """404: no such object."""
    return APIError(404, "NotFound", f'{resource.qualified} "{name}" not found', _details(resource, name))


def no_such_path() -> APIError:
    """404: nothing is served there."""
    return APIError(404, "NotFound", "the server could not find the requested resource", {})


def method_not_allowed() -> APIError:
    """405: the resource is served, but not for this verb."""
    return APIError(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {}
    )


def already_exists(resource: ResourceType, name: str) -> APIError:
    """409 of a create."""
    return APIError(
        409, "AlreadyExists", f'{resource.qualified} "{name}" already exists', _details(resource, name)
    )


STALE = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(resource: ResourceType, name: str, why: str = STALE) -> APIError:
    """409 of a write with an old resourceVersion, or with a precondition that does not hold."""
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return APIError(409, "Conflict", message, _details(resource, name))


def bad_request(message: str) -> APIError:
    """400: the request makes no sense."""
    return APIError(400, "BadRequest", message)


def is_forbidden(
    resource: ResourceType, name: str, why: str, causes: list[dict[str, str]] | None = None
) -> APIError:
    """403: understood, and refused."""
    details = _details(resource, name) | ({"causes": causes} if causes else {})
    return APIError(403, "Forbidden", f'{resource.qualified} "{name}" is forbidden: {why}', details)


def expired(message: str) -> APIError:
    """410: the resourceVersion or the continue token is too old."""
    return APIError(410, "Expired", message)


def unauthorized() -> APIError:
    """401: no credential, or an unknown one."""
    return APIError(401, "Unauthorized", "Unauthorized")


def unsupported_media_type(accepted: Sequence[str]) -> APIError:
    """415: the body is in a format that is not read."""
    names = ", ".join(accepted)
    message = f"the body of the request was in an unknown format - accepted media types include: {names}"
    return APIError(415, "UnsupportedMediaType", message)


def options_invalid(kind: str, error: FieldError) -> APIError:
    """422: the request's options break a rule."""
    causes = [{"reason": error.reason, "message": error.body, "field": error.field}]
    details = {"group": "meta.k8s.io", "kind": kind, "causes": causes}
    return APIError(422, "Invalid", f'{kind}.meta.k8s.io "" is invalid: {error}', details)


def invalid_patch(whole: str, why: str) -> APIError:
    """422: what a patch makes of an object, `whole`, cannot be decoded."""
    mistake = invalid("patch", whole, why)
    cause = {"reason": mistake.reason, "message": mistake.body, "field": mistake.field}
    return APIError(422, "Invalid", f' "" is invalid: {mistake}', {"causes": [cause]})


def aggregate(errors: Sequence[FieldError]) -> str:
    """Join errors as utilerrors.Aggregate does: alone as it is, several in brackets, none twice."""
    texts = list(dict.fromkeys(str(error) for error in errors))
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def is_invalid(resource: ResourceType, name: str, errors: Sequence[FieldError]) -> APIError:
    """422: the object breaks rules."""
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    causes = [{"reason": e.reason, "message": e.body, "field": e.field} for e in errors]
    for cause in causes:
        if not cause["field"]:
            del cause["field"]
    details = _details(resource, name, resource.kind) | {"causes": causes}
    return APIError(422, "Invalid", f"{kind} {quote(name)} is invalid: {aggregate(errors)}", details)
