"""The resources that KubeDR reads and writes, and the URL paths under which the API server has them.

A resource is plain data, so that nothing has to be discovered from the server before the first
request, and one client serves built-in kinds and our own alike.
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from kubedr_server.api import kinds
from kubedr_server.api.group import GROUP, VERSION


@dataclass(frozen=True)
class Resource:
    """One resource of the Kubernetes API. `group` is empty for the core group."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects, such as `batch/v1`, or `v1` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(
        self, namespace: str | None = None, name: str | None = None, subresource: str | None = None
    ) -> str:
        """Return the URL path of a collection, of one object, or of an object's subresource.

        Without a namespace, the collection of a namespaced resource spans all namespaces.
        Raises ValueError for an object of a namespaced resource without a namespace, and for a
        name that would lead to another path.
        """
        if name is not None and self.namespaced and not namespace:
            raise ValueError(f"{self.kind} {name!r} is namespaced: its namespace is missing")
        if subresource is not None and name is None:
            raise ValueError(f"subresource {subresource!r} of {self.plural} needs the name of an object")
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", _segment(namespace)]
        parts.append(self.plural)
        if name is not None:
            parts.append(_segment(name))
        if subresource is not None:
            parts.append(subresource)
        return "/" + "/".join(parts)


def _segment(value: str) -> str:
    if value in {"", ".", ".."}:
        raise ValueError(f"{value!r} cannot be the name of a Kubernetes object")
    return quote(value, safe="")


def _of_our_group(kind: kinds.Kind) -> Resource:
    return Resource(GROUP, VERSION, kind.plural, kind.name)


NAMESPACES: Final = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
PODS: Final = Resource("", "v1", "pods", "Pod")
SECRETS: Final = Resource("", "v1", "secrets", "Secret")
CONFIGMAPS: Final = Resource("", "v1", "configmaps", "ConfigMap")
EVENTS: Final = Resource("", "v1", "events", "Event")
PVCS: Final = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
JOBS: Final = Resource("batch", "v1", "jobs", "Job")
CRONJOBS: Final = Resource("batch", "v1", "cronjobs", "CronJob")
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease")
CRDS: Final = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
MUTATING_WEBHOOKS: Final = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "mutatingwebhookconfigurations",
    "MutatingWebhookConfiguration",
    namespaced=False,
)
VALIDATING_WEBHOOKS: Final = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "validatingwebhookconfigurations",
    "ValidatingWebhookConfiguration",
    namespaced=False,
)
BACKUP_LOCATIONS: Final = _of_our_group(kinds.BACKUP_LOCATION)
METADATA_BACKUP_POLICIES: Final = _of_our_group(kinds.METADATA_BACKUP_POLICY)
METADATA_BACKUP_RECORDS: Final = _of_our_group(kinds.METADATA_BACKUP_RECORD)
METADATA_RESTORES: Final = _of_our_group(kinds.METADATA_RESTORE)
