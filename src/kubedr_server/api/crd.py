"""The CustomResourceDefinitions: one per kind, with everything the API server needs to know of it."""

from typing import Any

from kubedr_server.api.group import CATEGORY, GROUP, VERSION
from kubedr_server.api.kinds import KINDS, Column, Kind
from kubedr_server.api.schema import structural_schema


def definitions() -> list[dict[str, Any]]:
    """Return all CustomResourceDefinitions."""
    return [definition(kind) for kind in KINDS]


def definition(kind: Kind) -> dict[str, Any]:
    """Return the CustomResourceDefinition of a kind."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": list(kind.short_names),
                "categories": [CATEGORY],
            },
            "scope": "Namespaced",
            # The default; said, because the definitions of KubeDR's first releases (v1beta1) may hold `true`.
            "preserveUnknownFields": False,
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": structural_schema(kind.model)},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(column) for column in kind.columns],
                }
            ],
        },
    }


def file_name(kind: Kind) -> str:
    """Return the name of a kind's file: `<group>_<plural>.yaml`."""
    return f"{GROUP}_{kind.plural}.yaml"


def _column(column: Column) -> dict[str, Any]:
    result: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.json_path}
    if column.description:
        result["description"] = column.description
    if column.priority:
        result["priority"] = column.priority
    return result
