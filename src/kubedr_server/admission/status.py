"""The `metav1.Status` of a refusal, as the API server itself would build it.

kubectl prints `The MetadataBackupPolicy "x" is invalid: spec.schedule: …` from `details`; everything
else (API clients, audit logs, GitOps tools) shows `message`.
"""

from collections.abc import Sequence
from typing import Any

from kubedr_server.admission.field import FieldError
from kubedr_server.api.group import GROUP

Status = dict[str, Any]


def _failure(code: int, reason: str, message: str) -> Status:
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }


def invalid(kind: str, name: str, errors: Sequence[FieldError]) -> Status:
    """422: the object is wrong in these fields."""
    causes = [error.to_cause() for error in errors]
    words = list(dict.fromkeys(f"{cause['field']}: {cause['message']}" for cause in causes))
    listed = words[0] if len(words) == 1 else f"[{', '.join(words)}]"
    status = _failure(422, "Invalid", f'{kind}.{GROUP} "{name}" is invalid: {listed}')
    status["details"] = {
        "name": name,
        "group": GROUP,
        "kind": kind,
        "causes": causes,
    }
    return status


def forbidden(plural: str, name: str, why: str) -> Status:
    """403: the object is right, but this may not be done to it now."""
    status = _failure(403, "Forbidden", f'{plural}.{GROUP} "{name}" is forbidden: {why}')
    status["details"] = {"name": name, "group": GROUP, "kind": plural}
    return status


def bad_request(message: str) -> Status:
    """400: the review itself is not understood."""
    return _failure(400, "BadRequest", message)


def internal_error(message: str) -> Status:
    """500: a fault of ours."""
    return _failure(500, "InternalError", message)


def timeout(message: str) -> Status:
    """504: there was no time left to judge."""
    return _failure(504, "Timeout", message)
