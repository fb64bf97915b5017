"""The webhook configurations, whole."""

from kubedr_server.manifests.webhooks import (
    ServiceTarget,
    URLTarget,
    mutating_configuration,
    validating_configuration,
)

RESOURCES = ["backuplocations", "metadatabackuppolicies", "metadatabackuprecords", "metadatarestores"]
NOT_BEING_DELETED = {
    "name": "not-being-deleted",
    "expression": (
        "request.operation == 'DELETE' ? !has(oldObject.metadata.deletionTimestamp) "
        ": !has(object.metadata.deletionTimestamp)"
    ),
}


def rule(operations: list[str], resources: list[str]) -> dict[str, object]:
    return {
        "apiGroups": ["kubedr.catalogicsoftware.com"],
        "apiVersions": ["v1alpha1"],
        "operations": operations,
        "resources": resources,
        "scope": "Namespaced",
    }


def test_the_mutating_configuration_behind_a_service() -> None:
    made = mutating_configuration("kubedr", ServiceTarget("hooks", "system"), metadata={"labels": {"a": "b"}})
    assert made == {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "kubedr", "labels": {"a": "b"}},
        "webhooks": [
            {
                "name": "defaults.kubedr.catalogicsoftware.com",
                "clientConfig": {
                    "service": {"name": "hooks", "namespace": "system", "path": "/mutate", "port": 443}
                },
                "admissionReviewVersions": ["v1"],
                "failurePolicy": "Fail",
                "matchPolicy": "Equivalent",
                "matchConditions": [NOT_BEING_DELETED],
                "reinvocationPolicy": "IfNeeded",
                "rules": [rule(["CREATE", "UPDATE"], RESOURCES)],
                "sideEffects": "None",
                "timeoutSeconds": 5,
            }
        ],
    }


def test_the_validating_configuration_at_a_url() -> None:
    made = validating_configuration("kubedr", URLTarget("https://127.0.0.1:9443/"), b"PEM")
    assert made == {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "kubedr"},
        "webhooks": [
            {
                "name": "validation.kubedr.catalogicsoftware.com",
                "clientConfig": {"url": "https://127.0.0.1:9443/validate", "caBundle": "UEVN"},
                "admissionReviewVersions": ["v1"],
                "failurePolicy": "Fail",
                "matchPolicy": "Equivalent",
                "matchConditions": [NOT_BEING_DELETED],
                "rules": [
                    rule(["CREATE", "UPDATE"], RESOURCES),
                    rule(["DELETE"], ["backuplocations", "metadatabackuprecords"]),
                ],
                "sideEffects": "None",
                "timeoutSeconds": 5,
            }
        ],
    }
