"""Kubernetes' verbs over plain JSON objects.

Objects are dictionaries as the API server sends them. The client keeps no state of the cluster;
each method is one request (a list may be several) and raises a KubeError whose type says what
to do next. See `errors`.
"""

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from kubedr_server.kube import connection, errors
from kubedr_server.kube.resources import PODS, Resource
from kubedr_server.kube.transport import ClientSettings, RequestObserver, Transport

PatchKind = Literal["merge", "json", "strategic"]
Propagation = Literal["Background", "Foreground", "Orphan"]

_PATCH_TYPES: Final[dict[PatchKind, str]] = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}
_AS_METADATA: Final = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1,application/json"
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"

DEFAULT_LOG_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True)
class ResourceList:
    """The objects of a list, and the version to watch from. `continue_token` is empty on the last page."""

    items: list[dict[str, Any]]
    resource_version: str
    continue_token: str = ""


@dataclass(frozen=True)
class WatchEvent:
    """A change: ADDED, MODIFIED or DELETED with the object, or BOOKMARK with a resourceVersion only."""

    type: str
    object: dict[str, Any]


class Client:
    """A client of one API server. Use as an async context manager, or close it."""

    def __init__(self, transport: Transport, *, guard: Callable[[], None] | None = None) -> None:
        self._transport = transport
        self._guard = guard

    @classmethod
    async def from_kubeconfig(
        cls,
        path: str | Path | None = None,
        context: str | None = None,
        *,
        settings: ClientSettings | None = None,
        observer: RequestObserver | None = None,
    ) -> Self:
        """Use a kubeconfig: `path`, else $KUBECONFIG, else ~/.kube/config. Raises ConfigurationError."""
        made = await connection.from_kubeconfig(path, context)
        return cls(Transport(made, settings, observer=observer))

    @classmethod
    async def in_cluster(
        cls, *, settings: ClientSettings | None = None, observer: RequestObserver | None = None
    ) -> Self:
        """Use the pod's service account. Raises ConfigurationError where there is none."""
        return cls(Transport(connection.in_cluster(), settings, observer=observer))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. A watch that is still open ends with Unreachable."""
        await self._transport.close()

    def guarded(self, guard: Callable[[], None]) -> "Client":
        """Return a client on the same connections that calls `guard` right before each write.

        Leader election passes a guard that raises once the lease is lost, so that no code path can
        write without it. Close the original, not this one.
        """
        return Client(self._transport, guard=guard)

    @property
    def server(self) -> str:
        """The API server's URL."""
        return self._transport.server

    async def get(self, resource: Resource, namespace: str | None, name: str) -> dict[str, Any]:
        """Read one object. Raises NotFound."""
        return _object(await self._transport.request("GET", resource.path(namespace, name)))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        limit: int = 500,
        metadata_only: bool = False,
    ) -> ResourceList:
        """Read all objects, in pages of `limit`. For thousands of objects prefer `pages`."""
        items: list[dict[str, Any]] = []
        resource_version = ""
        pages = self.pages(
            resource,
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            limit=limit,
            metadata_only=metadata_only,
        )
        async with aclosing(pages):
            async for page in pages:
                items += page.items
                resource_version = page.resource_version
        return ResourceList(items, resource_version)

    async def pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        limit: int = 500,
        metadata_only: bool = False,
    ) -> AsyncGenerator[ResourceList, None]:
        """Read all objects page by page, all of one state of the cluster.

        Raises Gone if reading took so long that this state is forgotten: begin again, with what
        was read thrown away. Items have `apiVersion` and `kind`, which the server leaves out.
        """
        query: dict[str, Any] = {
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "limit": limit or None,
        }
        while True:
            body = await self._transport.request(
                "GET",
                resource.path(namespace),
                query=query,
                accept=_AS_METADATA.format("List") if metadata_only else "application/json",
            )
            answer = _object(body)
            items = [_complete(item, resource, metadata_only) for item in answer.get("items") or ()]
            metadata = answer.get("metadata") or {}
            token = metadata.get("continue") or ""
            yield ResourceList(items, str(metadata.get("resourceVersion", "")), token)
            if not token:
                return
            query["continue"] = token

    async def create(
        self, resource: Resource, obj: Mapping[str, Any], namespace: str | None = None
    ) -> dict[str, Any]:
        """Create an object, in `namespace` or its metadata's. Raises AlreadyExists, Invalid, Forbidden."""
        path = resource.path(namespace or obj.get("metadata", {}).get("namespace"))
        if resource.namespaced and "/namespaces/" not in path:
            raise ValueError(f"a new {resource.kind} needs a namespace")
        return await self._write("POST", path, obj)

    async def replace(
        self, resource: Resource, obj: Mapping[str, Any], subresource: str | None = None
    ) -> dict[str, Any]:
        """Replace an object, or its `status`. Raises Conflict if it has changed since `obj` was read."""
        return await self._write("PUT", _path_of(resource, obj, subresource), obj)

    async def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Any,
        *,
        kind: PatchKind = "merge",
        subresource: str | None = None,
        field_manager: str | None = None,
    ) -> dict[str, Any]:
        """Patch an object. A merge patch with a `metadata.resourceVersion` raises Conflict on a change."""
        return await self._write(
            "PATCH",
            resource.path(namespace, name, subresource),
            body,
            query={"fieldManager": field_manager},
            content_type=_PATCH_TYPES[kind],
        )

    async def apply(
        self,
        resource: Resource,
        obj: Mapping[str, Any],
        *,
        field_manager: str,
        force: bool = True,
        subresource: str | None = None,
    ) -> dict[str, Any]:
        """Server-side apply: create the object, or make the fields in `obj` so and ours.

        Without `force` it raises Conflict, with the fields as `causes`, where another manager owns one.
        """
        return await self._write(
            "PATCH",
            _path_of(resource, obj, subresource),
            obj,
            query={"fieldManager": field_manager, "force": force},
            content_type="application/apply-patch+yaml",
        )

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Propagation = "Background",
    ) -> None:
        """Delete an object. Raises NotFound, and Conflict if it is not the one of that uid or version."""
        options: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
        }
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        if given := {key: value for key, value in preconditions.items() if value}:
            options["preconditions"] = given
        await self._write("DELETE", resource.path(namespace, name), options)

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str | None = None,
        field_selector: str | None = None,
        timeout_seconds: float = 300.0,
        inactivity_seconds: float | None = None,
        metadata_only: bool = False,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Yield the changes after `resource_version` until the server ends the watch after `timeout_seconds`.

        Raises Gone if that version is too old, be it said by HTTP or in the stream; ServerTimeout after
        `inactivity_seconds` (as long as the watch itself, if not given) without a byte; Unreachable
        when the connection breaks. Close it with `contextlib.aclosing` when leaving early.
        """
        query = {
            "watch": True,
            "allowWatchBookmarks": True,
            "resourceVersion": resource_version,
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "timeoutSeconds": max(1, round(timeout_seconds)),
        }
        path = resource.path(namespace)
        request = errors.Request("WATCH", path, self.server)
        stream = self._transport.stream(
            path,
            query=query,
            accept=_AS_METADATA.format("") if metadata_only else "application/json",
            inactivity=inactivity_seconds or timeout_seconds + self._transport.settings.connect_timeout,
        )
        async with stream as lines:
            async for line in lines:
                try:
                    event = json.loads(line)
                    kind, obj = event["type"], event["object"]
                except (ValueError, KeyError, TypeError) as error:
                    raise errors.ServerError(
                        f"a watch event of {len(line)} bytes is not readable", request=request
                    ) from error
                if kind == "ERROR":
                    raise errors.from_status(obj, request=request)
                yield WatchEvent(kind, obj if kind == "BOOKMARK" else _complete(obj, resource, metadata_only))

    async def pod_log(
        self,
        namespace: str,
        name: str,
        container: str | None = None,
        *,
        tail_lines: int | None = None,
        limit_bytes: int = DEFAULT_LOG_BYTES,
    ) -> str:
        """Return the log of a container, from its start, or its last lines; at most `limit_bytes` of it.

        Raises NotFound if there is no such pod, BadRequest while the container has not started.
        """
        query = {"container": container, "tailLines": tail_lines, "limitBytes": limit_bytes}
        body = await self._transport.request(
            "GET", PODS.path(namespace, name, "log"), query=query, accept="*/*"
        )
        return body.decode(errors="replace")

    async def raw(self, path: str) -> bytes:
        """Read any path of the API server, such as `/version` or `/readyz`."""
        return await self._transport.request("GET", path, accept="*/*")

    async def _write(
        self,
        method: str,
        path: str,
        body: Any,
        *,
        query: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        answer = await self._transport.request(
            method, path, query=query, body=body, content_type=content_type, guard=self._guard
        )
        return _object(answer)


def _path_of(resource: Resource, obj: Mapping[str, Any], subresource: str | None) -> str:
    metadata = obj["metadata"]
    return resource.path(metadata.get("namespace"), metadata["name"], subresource)


def _object(body: bytes) -> dict[str, Any]:
    try:
        obj = json.loads(body)
    except ValueError:
        obj = None
    if not isinstance(obj, dict):
        raise errors.ServerError(
            f"the answer of {len(body)} bytes is not a JSON object; is this an API server?"
        )
    return obj


def _complete(obj: dict[str, Any], resource: Resource, metadata_only: bool) -> dict[str, Any]:
    """Put in `apiVersion` and `kind`, which lists leave out; with `metadata_only` drop everything else.

    A server may not know partial metadata and send whole Secrets; and kubectl keeps a copy of what it
    applied, a Secret's data included, in an annotation.
    """
    head: dict[str, Any] = {"apiVersion": resource.api_version, "kind": resource.kind}
    if not metadata_only:
        return {**obj, **head}
    metadata = dict(obj.get("metadata") or {})
    if annotations := metadata.get("annotations"):
        metadata["annotations"] = {key: text for key, text in annotations.items() if key != _LAST_APPLIED}
    return {**head, "metadata": metadata}
