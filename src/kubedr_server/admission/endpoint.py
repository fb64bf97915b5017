"""The HTTP side of a webhook: a bare ASGI callable, because every write of the group waits for it.

It bounds what a client can take (bytes, time, requests at once) and makes sure that whatever goes
wrong after the uid is known is still an answer with that uid.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qs

from prometheus_client import Counter

from kubedr_server.admission import large, review, status
from kubedr_server.admission.judge import RULES
from kubedr_server.admission.review import NotAReviewError, Request, WrongReviewError
from kubedr_server.ops.admission_metrics import AdmissionMetrics

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Answer = Callable[[Request, float], Awaitable[dict[str, Any]]]
MAX_BODY: Final = 7 * 1024 * 1024
SMALL_BODY: Final = 64 * 1024
DEFAULT_TIMEOUT: Final = 10.0
MAX_TIMEOUT: Final = 30.0
"""What the API server gives a webhook if nothing is configured, and at most."""

_MARGIN: Final = 0.9
"""The part of the time that we use: the answer has to travel, too."""

_GO_DURATION: Final = re.compile(r"(?:([0-9.]+)h)?(?:([0-9.]+)m)?(?:([0-9.]+)s)?(?:([0-9.]+)ms)?")
_OPERATIONS: Final = frozenset({"CREATE", "UPDATE", "DELETE", "CONNECT"})


class _HTTPError(Exception):
    """The request ends with an HTTP error."""

    def __init__(self, code: int, message: str, *headers: tuple[bytes, bytes]) -> None:
        self.code = code
        self.message = message
        self.headers = headers
        super().__init__(message)


@dataclass(slots=True)
class _Progress:
    """How far a request has come: what can be said when its time is over."""

    body_is_complete: bool = False
    uid: str = ""
    request: Request | None = None


@dataclass
class Load:
    """What all webhooks of a process hold at the moment, and may hold at most."""

    max_requests: int = 1024
    max_bytes: int = 64 * 1024 * 1024
    """Of the bodies that are larger than `SMALL_BODY`: small ones get through beside slow large ones."""

    requests: int = 0
    bytes: int = 0


class Webhook:
    """One webhook as an ASGI application: POST an AdmissionReview, get one back."""

    def __init__(
        self, name: str, answer: Answer, load: Load, reader: large.Reader, metrics: AdmissionMetrics
    ) -> None:
        self._name = name
        self._answer = answer
        self._load = load
        self._reader = reader
        self._metrics = metrics
        self._seconds = metrics.seconds.labels(name)
        self._counts: dict[tuple[str, str, str], Counter] = {}
        metrics.in_flight.set_function(lambda: load.requests)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        self._load.requests += 1
        try:
            body = await self._respond(scope, receive)
        except _HTTPError as error:
            self._metrics.refused_requests.labels(self._name, str(error.code)).inc()
            await _send(
                send,
                error.code,
                error.message.encode(),
                b"text/plain; charset=utf-8",
                (b"connection", b"close"),  # the rest of the body is not read
                *error.headers,
            )
        except ConnectionError:
            return  # the client has gone: nobody to answer
        else:
            await _send(send, 200, body, b"application/json")
        finally:
            self._load.requests -= 1

    async def _respond(self, scope: Scope, receive: Receive) -> bytes:
        if scope["method"] != "POST":
            raise _HTTPError(405, "only POST is possible here", (b"allow", b"POST"))
        headers = dict(scope["headers"])
        media_type = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if media_type != b"application/json":
            raise _HTTPError(415, "the body must be application/json")
        seconds = _MARGIN * _timeout(scope.get("query_string", b""))
        deadline = time.monotonic() + seconds
        progress = _Progress()
        try:
            async with asyncio.timeout(seconds):
                body, started = await self._read(headers, receive, progress)
                progress.uid, document, raw = _parse(body)
                encoded = await self._review(progress, document, raw, deadline)
        except TimeoutError as error:
            encoded = self._encode(progress.request, _too_late(progress, error))
            started = deadline - seconds
        self._seconds.observe(time.monotonic() - started)
        return encoded

    async def _read(
        self, headers: dict[bytes, bytes], receive: Receive, progress: _Progress
    ) -> tuple[bytes, float]:
        """Return the body, and when its last byte was there."""
        load, counted = self._load, 0
        if load.requests > load.max_requests:
            raise _overloaded()
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared[:20]) > MAX_BODY:
            raise _too_large()
        chunks: list[bytes] = []
        size = 0
        try:
            while not progress.body_is_complete:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ConnectionError("the client has gone")
                chunk = message.get("body", b"")
                chunks.append(chunk)
                size += len(chunk)
                if size > MAX_BODY:
                    raise _too_large()
                if size > SMALL_BODY:
                    load.bytes += size - counted
                    counted = size
                    if load.bytes > load.max_bytes:
                        raise _overloaded()
                progress.body_is_complete = not message.get("more_body", False)
            ended = time.monotonic()
            if size > SMALL_BODY:
                return await self._reader.trimmed(chunks), ended
            return chunks[0] if len(chunks) == 1 else b"".join(chunks), ended
        finally:
            load.bytes -= counted

    async def _review(
        self, progress: _Progress, document: dict[str, Any], raw: dict[str, Any], deadline: float
    ) -> bytes:
        """Answer with the uid, whatever goes wrong."""
        try:
            progress.request = review.read(progress.uid, document, raw)
            answer = await self._answer(progress.request, deadline - time.monotonic())
            return self._encode(progress.request, answer)
        except WrongReviewError as error:
            answer = review.deny(progress.uid, status.bad_request(str(error)))
        except Exception as error:  # noqa: BLE001 - a fault of ours must not lose the uid
            answer = self._confess(progress.uid, progress.request, error)
        return self._encode(progress.request, answer)

    def _encode(self, request: Request | None, answer: dict[str, Any]) -> bytes:
        """Write the answer, and count it."""
        encoded = review.encode(answer)
        self._count(request, answer["response"])
        return encoded

    def _confess(self, uid: str, request: Request | None, error: Exception) -> dict[str, Any]:
        """Name the fault by its type and place only: its message may hold a part of the object."""
        place = _place(error)
        logger.error(
            "admission review failed",
            extra={
                "uid": uid,
                "webhook": self._name,
                "kind": request.kind if request else "",
                "error": type(error).__name__,
                "place": place,
            },
        )
        message = (
            f"kubedr failed while judging this object ({type(error).__name__} at {place}). This is a "
            f"fault of kubedr, not of the object: see its log for the review {uid}"
        )
        return review.deny(uid, status.internal_error(message))

    def _count(self, request: Request | None, response: dict[str, Any]) -> None:
        kind = request.kind if request and request.kind in RULES else "other"
        operation = request.operation if request and request.operation in _OPERATIONS else "other"
        if response["allowed"]:
            outcome = "patched" if "patch" in response else "allowed"
        else:
            outcome = str(response["status"]["reason"])
        labels = (kind, operation, outcome)
        count = self._counts.get(labels)
        if count is None:
            count = self._counts[labels] = self._metrics.reviews.labels(self._name, *labels)
        count.inc()


def _parse(body: bytes) -> tuple[str, dict[str, Any], dict[str, Any]]:
    try:
        return review.parse(body)
    except NotAReviewError as error:
        raise _HTTPError(400, str(error)) from error


def _too_late(progress: _Progress, error: TimeoutError) -> dict[str, Any]:
    """Return the refusal; raises an HTTP error where there is no uid to refuse with."""
    if progress.uid:
        message = "kubedr could not judge this object in the time that the API server gave: try again"
        return review.deny(progress.uid, status.timeout(message))
    if progress.body_is_complete:
        raise _overloaded() from error
    raise _HTTPError(408, "the body did not come in time") from error


def _place(error: Exception) -> str:
    """Return where in our own code an error was raised: `cron.py:120`."""
    place = "unknown"
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        if "kubedr_server" in code.co_filename:
            place = f"{code.co_filename.rpartition('/')[2]}:{step.tb_lineno}"
        step = step.tb_next
    return place


@lru_cache(maxsize=64)
def _timeout(query: bytes) -> float:
    """Return the seconds that the API server gives us (`?timeout=5s`); its default if it does not say."""
    given = parse_qs(query.decode("latin-1")).get("timeout", [""])[0] if query else ""
    match = _GO_DURATION.fullmatch(given)
    if not given or not match:
        return DEFAULT_TIMEOUT
    try:
        hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    except ValueError:
        return DEFAULT_TIMEOUT
    total = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    return min(total, MAX_TIMEOUT) if total > 0 else DEFAULT_TIMEOUT


def _too_large() -> _HTTPError:
    return _HTTPError(413, f"the body is larger than {MAX_BODY} bytes")


def _overloaded() -> _HTTPError:
    message = "too many reviews at once: try again"
    return _HTTPError(503, message, (b"retry-after", b"1"))


async def _send(
    send: Send, code: int, body: bytes, content_type: bytes, *headers: tuple[bytes, bytes]
) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": code,
            "headers": [
                (b"content-type", content_type),
                (b"content-length", str(len(body)).encode()),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
