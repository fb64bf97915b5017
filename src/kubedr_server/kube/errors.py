"""What a request to the API server can end with, other than success.

The type of an error says what happens next:

- `Transient`: the same request may succeed later. Try again, with backoff.
- `Outdated`: what was known of the cluster is no longer so. Read again, then decide again.
- `Refused`: the request is wrong or not allowed. Trying again changes nothing until
  someone changes the object, the configuration or a role.

Messages name method, path and server; they hold no headers and no bodies.
"""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cause:
    """One of `details.causes` of a metav1.Status: which field, and what is wrong with it."""

    field: str
    message: str
    reason: str


@dataclass(frozen=True)
class Request:
    """Which request failed. `server` is the API server's address."""

    method: str
    path: str
    server: str

    def __str__(self) -> str:
        return f"{self.method} {self.path} at {self.server}"


class KubeError(Exception):
    """A request to the API server failed. `status` is the HTTP status, or None if no answer came."""

    def __init__(
        self,
        message: str,
        *,
        request: Request | None = None,
        status: int | None = None,
        reason: str = "",
        causes: tuple[Cause, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        self.message = message
        self.request = request
        self.status = status
        self.reason = reason
        self.causes = causes
        self.retry_after = retry_after
        """Seconds that the server asks to wait before the next attempt."""
        super().__init__(message)

    def __str__(self) -> str:
        code = f" ({f'{self.status} {self.reason}'.strip()})" if self.status else ""
        return f"{self.request}: {self.message}{code}" if self.request else f"{self.message}{code}"


class Transient(KubeError):
    """The same request may succeed later."""


class Unreachable(Transient):
    """No connection to the API server, or it broke. Whether a write was carried out is not known."""


class ServerTimeout(Transient):
    """The API server did not answer in time. Whether a write was carried out is not known."""


class TooManyRequests(Transient):
    """The API server asks to slow down (429); `retry_after` says for how long."""


class ServerError(Transient):
    """The API server, or a webhook it called, failed (5xx)."""


class Outdated(KubeError):
    """What was known of the cluster is no longer so."""


class NotFound(Outdated):
    """The object, its namespace or its kind does not exist."""


class AlreadyExists(Outdated):
    """An object of that name exists."""


class Conflict(Outdated):
    """The object was changed since it was read, or a precondition or another field manager's claim fails."""


class Gone(Outdated):
    """The resourceVersion or the continue token is too old (410): list again."""


class Refused(KubeError):
    """The request is wrong or not allowed."""


class BadRequest(Refused):
    """The API server does not understand the request (400, and 4xx that have no type of their own)."""


class Invalid(Refused):
    """The object does not fit its schema or a validating webhook's rules (422); `causes` name fields."""


class Unauthorized(Refused):
    """The API server does not know who asks (401): token or client certificate is missing or expired."""


class Forbidden(Refused):
    """The API server knows who asks, and a role, quota or webhook does not allow it (403)."""


class NamespaceTerminating(Forbidden):
    """Nothing can be created in a namespace that is being deleted."""


class ConfigurationError(Refused):
    """The kubeconfig, or the in-cluster service account, cannot be used."""


_BY_REASON: dict[str, type[KubeError]] = {
    "AlreadyExists": AlreadyExists,
    "Conflict": Conflict,
    "Expired": Gone,
    "Forbidden": Forbidden,
    "Gone": Gone,
    "Invalid": Invalid,
    "NotFound": NotFound,
    "ServerTimeout": ServerTimeout,
    "Timeout": ServerTimeout,
    "TooManyRequests": TooManyRequests,
    "Unauthorized": Unauthorized,
}
_BY_STATUS: dict[int, type[KubeError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    408: ServerTimeout,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
    504: ServerTimeout,
}
_MAX_TEXT = 512


def from_status(
    status: dict[str, Any],
    *,
    http_status: int | None = None,
    request: Request | None = None,
    retry_after: float | None = None,
) -> KubeError:
    """Make the error that a metav1.Status (an answer's body, or a watch's ERROR event) stands for."""
    code = _integer(status.get("code")) or http_status or 500
    reason = str(status.get("reason") or "")
    details = status.get("details")
    details = details if isinstance(details, dict) else {}
    causes = tuple(
        Cause(str(cause.get("field", "")), str(cause.get("message", "")), str(cause.get("reason", "")))
        for cause in details.get("causes") or ()
        if isinstance(cause, dict)
    )
    error = _BY_REASON.get(reason) or _BY_STATUS.get(code) or (ServerError if code >= 500 else BadRequest)
    if error is Forbidden and any(cause.reason == "NamespaceTerminating" for cause in causes):
        error = NamespaceTerminating
    if retry_after is None:
        retry_after = _integer(details.get("retryAfterSeconds"))
    message = str(status.get("message") or reason or "the answer names no reason")
    return error(message, request=request, status=code, reason=reason, causes=causes, retry_after=retry_after)


def from_response(
    http_status: int, body: bytes, *, request: Request, retry_after: float | None = None
) -> KubeError:
    """Make the error that an answer with a status of 400 or more stands for, be it a metav1.Status or not."""
    try:
        status = json.loads(body)
    except ValueError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        # A proxy or load balancer in between answers in its own words.
        text = body[:_MAX_TEXT].decode(errors="replace").strip()
        status = {"message": text or "the answer is empty"}
    return from_status(status, http_status=http_status, request=request, retry_after=retry_after)


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
