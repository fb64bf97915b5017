"""The four kinds of patches: JSON (RFC 6902), merge (RFC 7396), strategic merge, and server-side apply."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jsonpatch

from kubedr_server.local.api import errors
from kubedr_server.local.api.context import Call, Engine, Object
from kubedr_server.local.api.decode import parse_body, parse_json
from kubedr_server.local.api.fieldmanager import FieldManager
from kubedr_server.local.api.preparing import Preparer, schema_of
from kubedr_server.local.api.storage import Entry
from kubedr_server.local.api.strategic import StrategicMerge

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
_MAX_OPERATIONS = 10_000


@dataclass(frozen=True)
class Patch:
    """A patch that was read: how it changes a stored object."""

    apply: Callable[[Entry], Object]
    creates: bool = False
    """Whether it is a server-side apply, which also creates, and tracks its fields itself."""
    body: Object = field(default_factory=dict)


def merge(value: Any, patch: Any) -> Any:
    """Return `value` changed by a merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(value) if isinstance(value, dict) else {}
    for key, item in patch.items():
        if item is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), item)
    return result


class Patcher:
    """Reads patches."""

    def __init__(self, engine: Engine, fields: FieldManager, prepare: Preparer) -> None:
        self._fields = fields
        self._prepare = prepare
        self._strategic = StrategicMerge(engine.definitions)

    def parse(self, call: Call, content_type: str, body: bytes) -> Patch:
        """Return the patch in a body. Raises APIError 400 or 415."""
        kind = content_type.partition(";")[0].strip()
        custom = call.target.resource.custom
        accepted = [JSON_PATCH, MERGE_PATCH, *([] if custom else [STRATEGIC_PATCH]), APPLY_PATCH]
        if kind not in accepted:
            if custom:
                raise errors.unsupported_media_type(accepted)
            raise errors.APIError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
        if kind == APPLY_PATCH:
            return self._apply_patch(call, body)
        patch = parse_json(body)
        if kind == JSON_PATCH:
            return Patch(lambda entry: self._changed(call, self._json(self._start(call, entry), patch)))
        if not isinstance(patch, dict):
            raise errors.bad_request(
                "error decoding patch: json: cannot unmarshal into map[string]interface {}"
            )
        if kind == MERGE_PATCH:
            return Patch(lambda entry: self._changed(call, merge(self._start(call, entry), patch)))
        schema = schema_of(call.target.resource)
        return Patch(
            lambda entry: self._changed(
                call, self._strategic.merge(self._start(call, entry), copy.deepcopy(patch), schema)
            )
        )

    def _start(self, call: Call, entry: Entry) -> Object:
        return entry.copy() | {"apiVersion": call.target.resource.api_version}

    def _changed(self, call: Call, obj: Any) -> Object:
        if not isinstance(obj, dict):
            raise errors.bad_request("error decoding patch: the result is not an object")
        self._prepare.decode(call, obj, patched=True)
        return obj

    def _json(self, obj: Object, patch: Any) -> Any:
        if not isinstance(patch, list):
            raise errors.bad_request(
                "error decoding patch: json: cannot unmarshal object into Go value "
                "of type []handlers.jsonPatchOp"
            )
        if len(patch) > _MAX_OPERATIONS:
            raise errors.APIError(
                413, "RequestEntityTooLarge",
                f"The allowed maximum operations in a JSON patch is {_MAX_OPERATIONS}, got {len(patch)}",
            )  # fmt: skip
        try:
            return jsonpatch.JsonPatch(patch).apply(obj)
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, ValueError) as error:
            message = "the server rejected our request due to an error in our request"
            raise errors.APIError(422, "Invalid", message, {}) from error

    def _apply_patch(self, call: Call, body: bytes) -> Patch:
        is_json = body.lstrip().startswith(b"{")
        config = parse_body(body, "application/json" if is_json else "application/yaml")
        if not call.options.names_manager:
            raise errors.options_invalid(
                "PatchOptions", errors.required("fieldManager", "is required for apply patch")
            )
        if not (config.get("apiVersion") and config.get("kind")):
            group, _, version = str(config.get("apiVersion", "")).rpartition("/")
            raise errors.bad_request(f"invalid object type: {group}/{version}, Kind={config.get('kind', '')}")
        self._fields.check_applied(call, config)
        self._prepare.decode(call, config)
        return Patch(lambda entry: self._fields.apply(call, config, self._start(call, entry)), True, config)
