"""The CustomResourceDefinitions beside their schemas, which are compared whole by `generate --check`."""

import re
from typing import Any

import pytest

from kubedr_server.api.crd import definition, definitions, file_name
from kubedr_server.api.kinds import KINDS, METADATA_BACKUP_POLICY, Kind


def test_a_definition_names_its_kind_and_serves_one_version() -> None:
    crd = definition(METADATA_BACKUP_POLICY)
    (version,) = crd["spec"].pop("versions")

    assert crd == {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "metadatabackuppolicies.kubedr.catalogicsoftware.com"},
        "spec": {
            "group": "kubedr.catalogicsoftware.com",
            "names": {
                "kind": "MetadataBackupPolicy",
                "listKind": "MetadataBackupPolicyList",
                "plural": "metadatabackuppolicies",
                "singular": "metadatabackuppolicy",
                "shortNames": ["mbp"],
                "categories": ["kubedr"],
            },
            "scope": "Namespaced",
            "preserveUnknownFields": False,
        },
    }
    assert version["name"] == "v1alpha1"
    assert version["served"] is version["storage"] is True
    assert version["subresources"] == {"status": {}}
    assert version["additionalPrinterColumns"][1] == {
        "name": "Suspend",
        "type": "boolean",
        "jsonPath": ".spec.suspend",
    }


def test_no_two_kinds_share_a_name() -> None:
    names = [
        name
        for crd in definitions()
        for name in (crd["spec"]["names"]["plural"], *crd["spec"]["names"]["shortNames"])
    ]

    assert len(set(names)) == len(names)
    assert len({file_name(kind) for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_column_shows_a_field_that_exists(kind: Kind) -> None:
    (version,) = definition(kind)["spec"]["versions"]
    root = version["schema"]["openAPIV3Schema"]
    for column in version["additionalPrinterColumns"]:
        path = column["jsonPath"]
        if path != ".metadata.creationTimestamp":
            schema = at(root, path)
            expected = "date" if schema.get("format") == "date-time" else schema["type"]
            assert column["type"] == expected, path


def at(schema: dict[str, Any], path: str) -> dict[str, Any]:
    for name, index in re.findall(r"\.(\w+)(\[[^]]*\])?", path.replace("@.type", "@")):
        schema = schema["properties"][name]
        if index:
            schema = schema["items"]
    return schema
