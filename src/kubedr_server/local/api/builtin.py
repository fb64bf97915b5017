"""The built-in resource types. Most are plain storage; builtin_defaults and builtin_rules add what counts."""

from kubedr_server.local.api.resources import ResourceType

_CORE = "io.k8s.api.core.v1."
_API = "io.k8s.api."
_EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."


def _core(
    plural: str, kind: str, *, namespaced: bool = True, short: str = "", status: bool = False,
    categories: tuple[str, ...] = (), subresources: tuple[str, ...] = (), generation: bool = False,
) -> ResourceType:  # fmt: skip
    return ResourceType(
        "", "v1", plural, kind, namespaced,
        short_names=tuple(short.split()),
        categories=categories,
        subresources=(("status",) if status else ()) + subresources,
        definition=_CORE + kind,
        has_generation=generation,
    )  # fmt: skip


def _named(
    group: str, package: str, plural: str, kind: str, *, namespaced: bool = True, short: str = "",
    status: bool = False, categories: tuple[str, ...] = (), generation: bool = False,
) -> ResourceType:  # fmt: skip
    return ResourceType(
        group, "v1", plural, kind, namespaced,
        short_names=tuple(short.split()),
        categories=categories,
        subresources=("status",) if status else (),
        definition=f"{_API}{package}.v1.{kind}",
        has_generation=generation,
    )  # fmt: skip


_ALL = ("all",)
_EXTENSION = ("api-extensions",)
_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"
_STORAGE = "storage.k8s.io"

BUILTIN: tuple[ResourceType, ...] = (
    _core("configmaps", "ConfigMap", short="cm"),
    _core("endpoints", "Endpoints", short="ep"),
    _core("events", "Event", short="ev"),
    _core("limitranges", "LimitRange", short="limits"),
    _core("namespaces", "Namespace", namespaced=False, short="ns", status=True, subresources=("finalize",)),
    _core("nodes", "Node", namespaced=False, short="no", status=True),
    _core("persistentvolumeclaims", "PersistentVolumeClaim", short="pvc", status=True),
    _core("persistentvolumes", "PersistentVolume", namespaced=False, short="pv", status=True),
    _core("pods", "Pod", short="po", status=True, categories=_ALL, subresources=("log",), generation=True),
    _core("resourcequotas", "ResourceQuota", short="quota", status=True),
    _core("secrets", "Secret"),
    _core("serviceaccounts", "ServiceAccount", short="sa"),
    _core("services", "Service", short="svc", status=True, categories=_ALL),
    _named(_ADMISSION, "admissionregistration", "mutatingwebhookconfigurations",
           "MutatingWebhookConfiguration", namespaced=False,
           categories=_EXTENSION, generation=True),
    _named(_ADMISSION, "admissionregistration", "validatingwebhookconfigurations",
           "ValidatingWebhookConfiguration", namespaced=False,
           categories=_EXTENSION, generation=True),
    ResourceType(
        "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False,
        short_names=("crd", "crds"), categories=("api-extensions",), subresources=("status",),
        definition=_EXTENSIONS + "CustomResourceDefinition", has_generation=True,
        unconditional_update=False,
    ),
    _named("apps", "apps", "daemonsets", "DaemonSet", short="ds", status=True, categories=_ALL,
           generation=True),
    _named("apps", "apps", "deployments", "Deployment", short="deploy", status=True, categories=_ALL,
           generation=True),
    _named("apps", "apps", "replicasets", "ReplicaSet", short="rs", status=True, categories=_ALL,
           generation=True),
    _named("apps", "apps", "statefulsets", "StatefulSet", short="sts", status=True, categories=_ALL,
           generation=True),
    _named("batch", "batch", "cronjobs", "CronJob", short="cj", status=True, categories=_ALL,
           generation=True),
    _named("batch", "batch", "jobs", "Job", status=True, categories=_ALL,
           generation=True),
    _named("coordination.k8s.io", "coordination", "leases", "Lease"),
    _named("discovery.k8s.io", "discovery", "endpointslices", "EndpointSlice", generation=True),
    _named("networking.k8s.io", "networking", "ingresses", "Ingress", short="ing", status=True,
           generation=True),
    _named("networking.k8s.io", "networking", "networkpolicies", "NetworkPolicy", short="netpol",
           generation=True),
    _named("policy", "policy", "poddisruptionbudgets", "PodDisruptionBudget", short="pdb", status=True,
           generation=True),
    _named(_RBAC, "rbac", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    _named(_RBAC, "rbac", "clusterroles", "ClusterRole", namespaced=False),
    _named(_RBAC, "rbac", "rolebindings", "RoleBinding"),
    _named(_RBAC, "rbac", "roles", "Role"),
    _named("scheduling.k8s.io", "scheduling", "priorityclasses", "PriorityClass", namespaced=False,
           short="pc"),
    _named(_STORAGE, "storage", "storageclasses", "StorageClass", namespaced=False, short="sc"),
)  # fmt: skip
