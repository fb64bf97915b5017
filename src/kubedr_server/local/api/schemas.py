"""The schemas of the built-in kinds, from the Kubernetes definitions that kubernetes-validate packages."""

import json
from importlib import resources
from typing import Any

Schema = dict[str, Any]

META = "io.k8s.apimachinery.pkg.apis.meta.v1."
OBJECT_META = META + "ObjectMeta"
_PREFIX = "#/$defs/"
_VERSION = "v1.37.0-local"
_FREE_FORM = {
    META + "FieldsV1",
    "io.k8s.apimachinery.pkg.runtime.RawExtension",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
}


class Definitions:
    """Named schemas and the references between them.

    The packaged definitions allow null wherever Go has a pointer, which OpenAPI does not
    know; they are read back into the form in which an API server publishes them.
    """

    def __init__(self) -> None:
        folder = resources.files("kubernetes_validate") / "kubernetes-json-schema" / _VERSION
        raw = json.loads((folder / "_definitions.json").read_text())["$defs"]
        self._definitions: dict[str, Schema] = {name: _published(schema) for name, schema in raw.items()}
        for name in _FREE_FORM:
            if name in self._definitions:
                self._definitions[name]["x-kubernetes-preserve-unknown-fields"] = True
        self._definitions[META + "ObjectMeta"]["properties"].setdefault("selfLink", {"type": "string"})

    def __contains__(self, name: str) -> bool:
        return name in self._definitions

    def get(self, name: str) -> Schema:
        """Return a definition by its full name; KeyError if there is none."""
        return self._definitions[name]

    def resolve(self, schema: Schema) -> Schema:
        """Follow a reference; what stands beside it (a default, a merge key) wins."""
        reference = schema.get("$ref")
        if reference is None:
            return schema
        found = self._definitions[reference.removeprefix(_PREFIX)]
        beside = {key: value for key, value in schema.items() if key not in ("$ref", "description")}
        return found | beside if beside else found

    def name_of(self, schema: Schema) -> str:
        """Return the last word of the referenced definition's name: the Go type; or an empty string."""
        return str(schema.get("$ref", "")).rpartition(".")[2]


def reference(name: str) -> Schema:
    """Return a reference to a definition."""
    return {"$ref": _PREFIX + name}


def _published(schema: Schema) -> Schema:
    """Turn `type: [x, null]` into `type: x`, and the unions of basic types into their OpenAPI forms."""
    if "oneOf" in schema and "properties" not in schema:
        names = {_plain(option.get("type")) for option in schema["oneOf"]}
        rest = {key: value for key, value in schema.items() if key != "oneOf"}
        if names == {"string", "integer"}:
            return rest | {"type": "string", "format": "int-or-string", "x-kubernetes-int-or-string": True}
        if names == {"string", "number"}:
            return rest | {"type": "string", "format": "quantity", "x-kubernetes-int-or-string": True}
    result: Schema = {}
    for name in ("apiVersion", "kind"):
        if isinstance(schema.get("properties"), dict) and "enum" in schema["properties"].get(name, {}):
            schema["properties"][name].pop("enum")
    for key, value in schema.items():
        if key == "type":
            result[key] = _plain(value)
        elif key == "properties":
            result[key] = {name: _published(each) for name, each in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            result[key] = _published(value)
        elif key == "enum":
            result[key] = [item for item in value if item is not None]
        else:
            result[key] = value
    if "$ref" in result and "enum" in result:
        del result["enum"]
    return result


def _plain(kind: Any) -> Any:
    if isinstance(kind, list):
        return next(name for name in kind if name != "null")
    return kind
