"""The forms in which an object can be asked for: whole, its metadata only, or a row of a table."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kubedr_server.local.api.context import Object
from kubedr_server.local.api.errors import APIError
from kubedr_server.local.api.resources import ResourceType
from kubedr_server.local.api.storage import Entry, encode
from kubedr_server.local.api.tables import Tables

JSON = "application/json"
_META_GROUP = "meta.k8s.io"
_TYPE_META = ("apiVersion", "kind")


@dataclass(frozen=True)
class Accept:
    """What the client takes: `form` is empty for whole objects."""

    form: str = ""
    version: str = "v1"


def parse_accept(header: str) -> Accept:
    """Choose from an Accept header. Raises APIError(406) if it names nothing that is served."""
    if not header.strip():
        return Accept()
    for part in header.split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        options = dict(parameter.partition("=")[::2] for parameter in parameters)
        if media not in (JSON, "application/*", "*/*"):
            continue
        form = options.get("as", "")
        if not form:
            return Accept()
        known = options.get("g") == _META_GROUP and options.get("v") in ("v1", "v1beta1")
        if known and form in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList"):
            return Accept(form.removesuffix("List"), options["v"])
    message = f"only the following media types are accepted: {JSON}"
    raise APIError(406, "NotAcceptable", message)


def metadata_only(obj: Object, version: str) -> Object:
    """Return the PartialObjectMetadata of an object."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"{_META_GROUP}/{version}",
        "metadata": obj["metadata"],
    }


class View:
    """Renders objects of one resource in one form."""

    def __init__(
        self, resource: ResourceType, accept: Accept, tables: Tables, include: str = "Metadata"
    ) -> None:
        self._resource = resource
        self._accept = accept
        self._tables = tables
        self._include = include
        self._first = True

    def one(self, entry: Entry) -> bytes:
        """Render a stored object."""
        if not self._accept.form and entry.object.get("apiVersion") == self._resource.api_version:
            return entry.body
        return encode(self.plain(entry.object))

    def plain(self, obj: Object) -> Object:
        """Render an object that need not be stored."""
        obj = obj | {"apiVersion": self._resource.api_version}
        if self._accept.form == "PartialObjectMetadata":
            return metadata_only(obj, self._accept.version)
        if self._accept.form == "Table":
            meta = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            return self._table([obj], meta)
        return obj

    def watched(self, entry: Entry) -> bytes:
        """Render an object of a watch event: only the first table names its columns."""
        if self._accept.form != "Table":
            return self.one(entry)
        table = self.plain(entry.object)
        if not self._first:
            table["columnDefinitions"] = None
        self._first = False
        return encode(table)

    def bookmark(self, revision: int, annotations: dict[str, str] | None = None) -> bytes:
        """Render the object of a bookmark: nothing but a resourceVersion."""
        meta: Object = {"resourceVersion": str(revision)}
        if annotations:
            meta["annotations"] = annotations
        kind, version = self._resource.kind, self._resource.api_version
        if self._accept.form == "PartialObjectMetadata":
            kind, version = "PartialObjectMetadata", f"{_META_GROUP}/{self._accept.version}"
        if self._accept.form == "Table":
            table = self._table(
                [], {"resourceVersion": str(revision)} | ({"annotations": annotations} if annotations else {})
            )
            table["columnDefinitions"] = None
            table["rows"] = [
                {"cells": [""], "object": metadata_only({"metadata": meta}, self._accept.version)}
            ]
            return encode(table)
        return encode({"kind": kind, "apiVersion": version, "metadata": meta})

    def listed(self, entries: Iterable[Entry], meta: dict[str, Any]) -> bytes:
        """Render a list."""
        if self._accept.form == "Table":
            objects = (entry.object | {"apiVersion": self._resource.api_version} for entry in entries)
            return encode(self._table(objects, meta))
        if self._accept.form:
            kind, version = "PartialObjectMetadataList", f"{_META_GROUP}/{self._accept.version}"
        else:
            kind, version = self._resource.list_kind_name, self._resource.api_version
        head = encode({"kind": kind, "apiVersion": version, "metadata": meta})
        return head[:-1] + b',"items":[' + b",".join(self._item(entry) for entry in entries) + b"]}"

    def _item(self, entry: Entry) -> bytes:
        """Render an object of a list: a built-in one does not repeat what the list says of its kind."""
        if self._resource.custom or self._accept.form:
            return self.one(entry)
        return encode({name: value for name, value in entry.object.items() if name not in _TYPE_META})

    def _table(self, objects: Iterable[Object], meta: dict[str, Any]) -> Object:
        columns, cells = self._tables.columns(self._resource)
        rows = []
        for obj in objects:
            row: Object = {"cells": cells(obj)}
            conditions = self._tables.row_conditions(self._resource, obj)
            if conditions:
                row["conditions"] = conditions
            if self._include == "Object":
                row["object"] = obj
            elif self._include == "Metadata":
                row["object"] = metadata_only(obj, self._accept.version)
            rows.append(row)
        return {
            "kind": "Table",
            "apiVersion": f"{_META_GROUP}/{self._accept.version}",
            "metadata": meta,
            "columnDefinitions": columns,
            "rows": rows,
        }
