"""The AdmissionReview envelope, admission.k8s.io/v1: read it, answer it, never lose its uid.

Reviews are read as plain JSON, once. No model is built of them: most of a review is the object's
metadata, which nobody here looks at.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json, to_json

from kubedr_server.admission.status import Status
from kubedr_server.api.group import GROUP

API_VERSION: Final = "admission.k8s.io/v1"
KIND: Final = "AdmissionReview"
MAX_UID: Final = 256
MAX_WARNING: Final = 256
"""The API server cuts a warning here; and all of them together at 4096."""

MAX_WARNINGS: Final = 15


class NotAReviewError(ValueError):
    """The body is no AdmissionReview with a uid: only an HTTP error can answer it."""


class WrongReviewError(ValueError):
    """The review has a uid but is not one that can be judged; the message says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the API server asks. `new` is None for DELETE, `old` for CREATE."""

    uid: str
    operation: str
    group: str
    version: str
    kind: str
    name: str
    namespace: str
    sub_resource: str
    dry_run: bool
    new: dict[str, Any] | None
    old: dict[str, Any] | None

    @property
    def is_ours(self) -> bool:
        """Whether the object is of our group."""
        return self.group == GROUP

    @property
    def object_name(self) -> str:
        """The object's name; with `generateName` the request itself has none."""
        if self.name:
            return self.name
        metadata = (self.new or self.old or {}).get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        return name if isinstance(name, str) else ""

    @property
    def is_being_deleted(self) -> bool:
        """Whether only finalizers still hold the object: nothing may stand in their way."""
        metadata = (self.new or self.old or {}).get("metadata")
        return isinstance(metadata, dict) and metadata.get("deletionTimestamp") is not None


def parse(body: bytes) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Read a review as far as its uid; returns `(uid, review, request)`. Raises NotAReviewError."""
    try:
        review = from_json(body, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        raise NotAReviewError(f"the body is not JSON: {error}") from error
    request = review.get("request") if isinstance(review, dict) else None
    uid = request.get("uid") if isinstance(request, dict) else None
    if not isinstance(request, dict) or not isinstance(uid, str) or not 0 < len(uid) <= MAX_UID:
        raise NotAReviewError(f"the body is not an {KIND} of {API_VERSION}: it has no request.uid")
    return uid, review, request


def read(uid: str, review: dict[str, Any], request: dict[str, Any]) -> Request:
    """Read the rest; raises WrongReviewError."""
    if review.get("apiVersion") != API_VERSION or review.get("kind") != KIND:
        raise WrongReviewError(f"the review is not an {KIND} of {API_VERSION}")
    kind = request.get("kind")
    if not isinstance(kind, dict):
        raise WrongReviewError("request.kind is missing")
    new, old = request.get("object"), request.get("oldObject")
    read_request = Request(
        uid=uid,
        operation=_text(request, "operation"),
        group=_text(kind, "group"),
        version=_text(kind, "version"),
        kind=_text(kind, "kind"),
        name=_text(request, "name"),
        namespace=_text(request, "namespace"),
        sub_resource=_text(request, "subResource"),
        dry_run=request.get("dryRun") is True,
        new=_object("request.object", new),
        old=_object("request.oldObject", old),
    )
    _check(read_request)
    return read_request


def _check(request: Request) -> None:
    if request.operation in ("CREATE", "UPDATE") and request.new is None:
        raise WrongReviewError(f"request.object is missing for {request.operation}")
    if request.operation == "DELETE" and request.old is None:
        raise WrongReviewError("request.oldObject is missing for DELETE")
    if not request.is_ours or request.sub_resource:
        return
    for field, obj in (("object", request.new), ("oldObject", request.old)):
        if obj is not None and obj.get("kind") != request.kind:
            raise WrongReviewError(f"request.{field} is not a {request.kind}, as request.kind says")


def _text(document: dict[str, Any], field: str) -> str:
    value = document.get(field)
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    raise WrongReviewError(f"'{field}' of the review is not a string")


def _object(field: str, value: Any) -> dict[str, Any] | None:
    if value is None or isinstance(value, dict):
        return value
    raise WrongReviewError(f"{field} is not an object")


def allow(uid: str, *, warnings: Sequence[str] = (), patch: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """Build the answer that lets the object through, changed by the patch if there is one."""
    response: dict[str, Any] = {"uid": uid, "allowed": True}
    if patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(encode(list(patch))).decode()
    return _answer(response, warnings)


def deny(uid: str, status: Status, *, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """Build the answer that refuses the object."""
    return _answer({"uid": uid, "allowed": False, "status": status}, warnings)


def _answer(response: dict[str, Any], warnings: Sequence[str]) -> dict[str, Any]:
    if warnings:
        response["warnings"] = [
            text if len(text) <= MAX_WARNING else text[: MAX_WARNING - 1] + "…"
            for text in warnings[:MAX_WARNINGS]
        ]
    return {"apiVersion": API_VERSION, "kind": KIND, "response": response}


def encode(document: Any) -> bytes:
    """Write JSON as it is sent."""
    return to_json(document)
