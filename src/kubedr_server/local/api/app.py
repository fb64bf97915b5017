"""The ASGI application: who asks, for what, and in which form the answer goes back."""

import hmac
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from kubedr_server.local.api import errors
from kubedr_server.local.api.context import Call, Engine, LogSource, Options
from kubedr_server.local.api.decode import MAX_BODY, parse_body
from kubedr_server.local.api.deleting import DeleteOptions, Deleter
from kubedr_server.local.api.discovery import Discovery
from kubedr_server.local.api.faults import ConnectionCutError, Faults
from kubedr_server.local.api.openapi import OpenAPI
from kubedr_server.local.api.paths import Target, parse
from kubedr_server.local.api.podlog import pod_log
from kubedr_server.local.api.reading import Reader
from kubedr_server.local.api.reviews import REVIEWS, answer_review
from kubedr_server.local.api.storage import StorageError, encode
from kubedr_server.local.api.tables import Tables
from kubedr_server.local.api.views import View, parse_accept
from kubedr_server.local.api.writing import Writer

_log = logging.getLogger(__name__)

_SPOIL = "kubedr.spoil"
_OPEN_PATHS = ("/healthz", "/livez", "/readyz", "/version")


def json_response(body: Any, status: int = 200) -> Response:
    """Answer with JSON; bytes are JSON already."""
    content = body if isinstance(body, bytes) else encode(body)
    return Response(content, status, media_type="application/json")


class App:
    """Everything that is served, behind one bearer token."""

    def __init__(
        self, engine: Engine, reader: Reader, writer: Writer, deleter: Deleter, token: str,
        logs: LogSource | None, faults: Faults,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._reader = reader
        self._writer = writer
        self._deleter = deleter
        self._token = token.encode()
        self._logs = logs
        self._faults = faults
        self._tables = Tables(engine.clock)
        self._openapi = OpenAPI(engine.registry, engine.definitions)
        self._discovery = Discovery(engine.registry)

    def set_log_source(self, logs: LogSource) -> None:
        """Say where pod logs are read from, once whoever runs the pods is there."""
        self._logs = logs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive)
        call_warnings: list[str] = []
        try:
            response = await self._respond(request, call_warnings)
        except errors.APIError as error:
            response = json_response(error.status(), error.code)
            if error.retry_after is not None:
                response.headers["Retry-After"] = str(error.retry_after)
        except StorageError as error:
            failure = errors.APIError(500, "InternalError", f"Internal error occurred: {error}")
            response = json_response(failure.status(), 500)
        except ClientDisconnect:
            return
        except ConnectionCutError:
            # An answer that is announced and never comes: the server closes the connection.
            headers = [(b"content-length", b"1024"), (b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            raise
        except Exception:  # noqa: BLE001 - a bug must end one request, not the server
            _log.exception("%s %s failed", request.method, request.url.path)
            failure = errors.APIError(500, "InternalError", "Internal error occurred: see the server's log")
            response = json_response(failure.status(), 500)
        for text in call_warnings:
            quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
            response.raw_headers.append((b"warning", f'299 - "{quoted}"'.encode("latin-1", "replace")))
        await response(scope, receive, send)

    def _authenticate(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self._token):
            raise errors.unauthorized()

    async def _respond(self, request: Request, warnings: list[str]) -> Response:
        path = request.url.path
        if path.split("/")[1] in {name[1:] for name in _OPEN_PATHS[:3]}:
            return Response("ok", media_type="text/plain")
        if path != "/version":
            self._authenticate(request)
        request.scope[_SPOIL] = await self._faults.before(request.method, path, request.query_params)
        accept = request.headers.get("accept", "")
        general = self._discovery.answer(path, accept) or self._openapi.answer(path, request.headers)
        if general is not None:
            return general
        review = REVIEWS.get(path)
        if review is not None:
            if request.method != "POST":
                raise errors.method_not_allowed()
            body = parse_body(await self._body(request), request.headers.get("content-type", ""))
            return json_response(answer_review(review, body), 201)
        target = parse(path, self._engine.registry)
        options = Options.parse(request.method, request.query_params, request.headers.get("user-agent", ""))
        call = Call(target, options, warnings)
        handler = self._handlers().get(request.method)
        if handler is None:
            raise errors.method_not_allowed()
        return await handler(request, call)

    def _handlers(self) -> Mapping[str, Callable[[Request, Call], Awaitable[Response]]]:
        return {
            "GET": self._get,
            "POST": self._post,
            "PUT": self._put,
            "PATCH": self._patch,
            "DELETE": self._delete,
        }

    def _view(self, request: Request, target: Target) -> View:
        accept = parse_accept(request.headers.get("accept", ""))
        include = request.query_params.get("includeObject", "Metadata")
        return View(target.resource, accept, self._tables, include)

    async def _body(self, request: Request) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > MAX_BODY:
                message = f"Request entity too large: limit is {MAX_BODY}"
                raise errors.APIError(413, "RequestEntityTooLarge", message)
            parts.append(part)
        return b"".join(parts)

    async def _get(self, request: Request, call: Call) -> Response:
        target, query = call.target, request.query_params
        if target.subresource == "log":
            return await pod_log(self._reader.get(target, {}), query, self._logs)
        view = self._view(request, target)
        if query.get("watch") in ("true", "1") and not target.name:
            lines = self._reader.watch(target, query, view)
            spoil = request.scope.get(_SPOIL)
            if spoil is not None:
                lines = spoil(lines)
            return StreamingResponse(_whole(lines), media_type="application/json")
        if target.name:
            return json_response(view.one(self._reader.get(target, query)))
        return json_response(self._reader.list(target, query, view))

    async def _post(self, request: Request, call: Call) -> Response:
        if call.target.name:
            raise errors.method_not_allowed()
        body = parse_body(await self._body(request), request.headers.get("content-type", ""))
        if call.target.resource.namespaced and not call.target.namespace:
            raise errors.method_not_allowed()
        created = await self._writer.create(call, body)
        return json_response(self._view(request, call.target).plain(created), 201)

    async def _put(self, request: Request, call: Call) -> Response:
        if not call.target.name or call.target.subresource == "log":
            raise errors.method_not_allowed()
        body = parse_body(await self._body(request), request.headers.get("content-type", ""))
        stored = await self._writer.replace(call, body)
        return json_response(self._view(request, call.target).plain(stored))

    async def _patch(self, request: Request, call: Call) -> Response:
        if not call.target.name or call.target.subresource == "log":
            raise errors.method_not_allowed()
        body = await self._body(request)
        stored, created = await self._writer.patch(call, request.headers.get("content-type", ""), body)
        return json_response(self._view(request, call.target).plain(stored), 201 if created else 200)

    async def _delete(self, request: Request, call: Call) -> Response:
        target = call.target
        if target.subresource:
            raise errors.method_not_allowed()
        options = DeleteOptions.parse(request.query_params, await self._body(request))
        if target.name:
            obj, gone = await self._deleter.delete(call, options)
            if gone and target.resource.qualified != "pods":
                return json_response(_deleted(target, obj))
            return json_response(self._view(request, target).plain(obj))
        listed = self._reader.list(
            target, request.query_params, View(target.resource, parse_accept(""), self._tables)
        )
        for item in json.loads(listed)["items"]:
            meta = item["metadata"]
            one = Target(target.resource, meta.get("namespace", ""), meta["name"])
            try:
                await self._deleter.delete(Call(one, call.options, call.warnings), options)
            except errors.APIError as error:
                if error.code != 404:
                    raise
        return json_response(listed)


async def _whole(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Send the headers at once: a watch that has nothing to say yet must not look dead."""
    yield b""
    async for line in lines:
        yield line


def _deleted(target: Target, obj: dict[str, Any]) -> dict[str, Any]:
    details = {"name": target.name, "group": target.resource.group, "kind": target.resource.plural}
    details["uid"] = obj["metadata"]["uid"]
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {key: value for key, value in details.items() if value},
    }
