"""OpenAPI documents: what `kubectl explain` shows and what kubectl asks before it validates or patches.

v3 is one document for each group version behind an index with hashes, as clients cache them; v2
is one document for everything. Both are built when first asked for and again after a CRD changed.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from kubedr_server.local.api.discovery import KUBERNETES_VERSION
from kubedr_server.local.api.errors import APIError
from kubedr_server.local.api.resources import Registry, ResourceType
from kubedr_server.local.api.schemas import META, Definitions, Schema
from kubedr_server.local.api.storage import encode

_V3_REFERENCE = "#/components/schemas/"
_V2_REFERENCE = "#/definitions/"
_STORED = "#/$defs/"
_JSON = "application/json"
_V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
_INFO = {"title": "Kubernetes", "version": KUBERNETES_VERSION}
_SHARED = ("Status", "DeleteOptions", "WatchEvent", "ObjectMeta", "ListMeta")
_WRITE_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")

Document = dict[str, Any]


def schema_name(resource: ResourceType) -> str:
    """Return the name of a type's schema: `io.k8s.api.batch.v1.Job`, `com.example.v1.Widget`."""
    if resource.definition:
        return resource.definition
    return ".".join([*reversed(resource.group.split(".")), resource.version, resource.kind])


class OpenAPI:
    """Answers /openapi/v2, /openapi/v3 and what is below."""

    def __init__(self, registry: Registry, definitions: Definitions) -> None:
        self._registry = registry
        self._definitions = definitions
        self._built = -1
        self._documents: dict[str, bytes] = {}

    def answer(self, path: str, headers: Mapping[str, str]) -> Response | None:
        """Return the document at a path; None if the path is not OpenAPI's."""
        if not path.startswith("/openapi/"):
            return None
        if self._built != self._registry.generation:
            self._built, self._documents = self._registry.generation, {}
        accept = headers.get("accept", "") or _JSON
        if path == "/openapi/v2" and _V2_PROTOBUF in accept:
            return Response(_empty_v2(), media_type=_V2_PROTOBUF.replace("@", "."))
        if not any(each in accept for each in (_JSON, "*/*", "application/*")):
            raise APIError(406, "NotAcceptable", f"only the following media types are accepted: {_JSON}")
        name = path.removeprefix("/openapi/").strip("/")
        body = self._document(name)
        if body is None:
            return None
        etag = f'"{_hash(body)}"'
        if headers.get("if-none-match") == etag:
            return Response(status_code=304, headers={"etag": etag})
        return Response(body, media_type=_JSON, headers={"etag": etag, "vary": "Accept"})

    def _document(self, name: str) -> bytes | None:
        if name in self._documents:
            return self._documents[name]
        built: Document | None = None
        if name == "v2":
            built = self._v2()
        elif name == "v3":
            built = self._index()
        elif name.startswith("v3/api"):
            built = self._v3(name.removeprefix("v3/"))
        if built is None:
            return None
        self._documents[name] = encode(built)
        return self._documents[name]

    def _index(self) -> Document:
        paths = {}
        for group, versions in self._registry.groups().items():
            for version in versions:
                name = f"apis/{group}/{version}" if group else f"api/{version}"
                body = self._document(f"v3/{name}")
                if body is not None:
                    paths[name] = {"serverRelativeURL": f"/openapi/v3/{name}?hash={_hash(body)}"}
        return {"paths": paths}

    def _v3(self, name: str) -> Document | None:
        parts = name.split("/")
        group, version = ("", parts[-1]) if len(parts) == 2 else (parts[1], parts[-1])
        types = self._registry.in_version(group, version)
        if not types:
            return None
        schemas: dict[str, Schema] = {}
        for resource in types:
            self._collect(resource, schemas, _V3_REFERENCE)
        paths: Document = {}
        for resource in types:
            paths |= _paths(resource, _V3_REFERENCE, name, v3=True)
        return {"openapi": "3.0.0", "info": _INFO, "paths": paths, "components": {"schemas": schemas}}

    def _v2(self) -> Document:
        schemas: dict[str, Schema] = {}
        paths: Document = {}
        for resource in self._registry:
            self._collect(resource, schemas, _V2_REFERENCE)
            prefix = f"apis/{resource.api_version}" if resource.group else "api/v1"
            paths |= _paths(resource, _V2_REFERENCE, prefix, v3=False)
        return {"swagger": "2.0", "info": _INFO, "paths": paths, "definitions": schemas}

    def _collect(self, resource: ResourceType, schemas: dict[str, Schema], prefix: str) -> None:
        """Add a type's schema, its list's, and all that they refer to."""
        name = schema_name(resource)
        gvk = {"group": resource.group, "version": resource.version, "kind": resource.kind}
        if resource.schema is not None:
            own = {"x-kubernetes-group-version-kind": [gvk]}
            schemas[name] = self._rewrite(resource.schema, schemas, prefix) | own
            schemas[f"{name}List"] = {
                "type": "object",
                "required": ["items"],
                "properties": {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": {"$ref": f"{prefix}{META}ListMeta"},
                    "items": {"type": "array", "items": {"$ref": prefix + name}},
                },
                "x-kubernetes-group-version-kind": [gvk | {"kind": resource.list_kind_name}],
            }
        else:
            for each in (name, f"{name}List"):
                self._add(each, schemas, prefix)
        for shared in _SHARED:
            self._add(META + shared, schemas, prefix)

    def _add(self, name: str, schemas: dict[str, Schema], prefix: str) -> None:
        if name in schemas or name not in self._definitions:
            return
        schemas[name] = {}
        schemas[name] = self._rewrite(self._definitions.get(name), schemas, prefix)

    def _rewrite(self, value: Any, schemas: dict[str, Schema], prefix: str) -> Any:
        """Copy a schema with its references turned to the document's own."""
        if isinstance(value, list):
            return [self._rewrite(item, schemas, prefix) for item in value]
        if not isinstance(value, dict):
            return value
        reference = value.get("$ref")
        if not isinstance(reference, str):
            return {key: self._rewrite(item, schemas, prefix) for key, item in value.items()}
        name = reference.removeprefix(_STORED)
        self._add(name, schemas, prefix)
        beside = {key: item for key, item in value.items() if key != "$ref"}
        target = {"$ref": prefix + name}
        if not beside:
            return target
        # In OpenAPI nothing may stand beside a reference, in version 2 it is ignored.
        return {"allOf": [target]} | beside if prefix == _V3_REFERENCE else target | beside


def _empty_v2() -> bytes:
    """Return a document of version 2 without definitions, in protobuf.

    kubectl asks for it when an object's kind is not served at all, and reads no other format; with
    nothing in it, kubectl goes on to say that there is no such kind.
    """
    version = KUBERNETES_VERSION.encode()
    info = b"\x0a" + bytes([len("Kubernetes")]) + b"Kubernetes" + b"\x12" + bytes([len(version)]) + version
    return b"\x0a\x032.0" + b"\x12" + bytes([len(info)]) + info


def _hash(body: bytes) -> str:
    return hashlib.sha512(body).hexdigest().upper()


def _paths(resource: ResourceType, prefix: str, base: str, *, v3: bool) -> Document:
    name = schema_name(resource)
    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    collection = f"/{base}{scope}/{resource.plural}"
    one, many = {"$ref": prefix + name}, {"$ref": f"{prefix}{name}List"}
    status = {"$ref": f"{prefix}{META}Status"}

    def operation(action: str, schema: Schema) -> Document:
        return _operation(resource, action, schema, v3=v3)

    paths = {
        collection: {
            "get": operation("list", many),
            "post": operation("post", one),
            "delete": operation("deletecollection", status),
        },
        f"{collection}/{{name}}": {
            "get": operation("get", one),
            "put": operation("put", one),
            "patch": operation("patch", one),
            "delete": operation("delete", status),
        },
    }
    if "status" in resource.subresources:
        paths[f"{collection}/{{name}}/status"] = {
            "get": operation("get", one),
            "put": operation("put", one),
            "patch": operation("patch", one),
        }
    for path, item in paths.items():
        names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
        item["parameters"] = [  # type: ignore[assignment] # an item holds its operations and one list
            _parameter(each, "path", v3=v3) | {"required": True} for each in names
        ]
    return dict(paths)


def _operation(resource: ResourceType, action: str, schema: Schema, *, v3: bool) -> Document:
    writes = action in ("post", "put", "patch")
    names = [*_WRITE_PARAMETERS, *(["force"] if action == "patch" else [])] if writes else []
    names += ["dryRun", "propagationPolicy"] if action.startswith("delete") else []
    names += ["labelSelector", "fieldSelector", "limit", "continue", "watch"] if action == "list" else []
    group = resource.group.title()
    answer: Document = {"description": "OK"}
    answer |= {"content": {_JSON: {"schema": schema}}} if v3 else {"schema": schema}
    gvk = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    return {
        "operationId": action + group.replace(".", "") + resource.version.title() + resource.kind,
        "parameters": [_parameter(name, "query", v3=v3) for name in names],
        "responses": {"200": answer},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk,
    }


def _parameter(name: str, where: str, *, v3: bool) -> Document:
    kind = {"type": {"force": "boolean", "watch": "boolean", "limit": "integer"}.get(name, "string")}
    parameter: Document = {"name": name, "in": where}
    return parameter | ({"schema": kind} if v3 else kind)
