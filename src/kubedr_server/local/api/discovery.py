"""Discovery: which groups, versions and resources are served, in the aggregated and the old form."""

from typing import Any

from starlette.responses import Response

from kubedr_server.local.api.resources import STATUS_VERBS, Registry, ResourceType
from kubedr_server.local.api.storage import encode

KUBERNETES_VERSION = "v1.37.0"
_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_REVIEW_VERBS = ["create"]

# Reviews are questions, not stored objects: (group, version, plural, kind).
_REVIEWS = (
    ("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview"),
    ("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    ("authorization.k8s.io", "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    ("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview"),
)


def _subresource_verbs(name: str) -> list[str]:
    return {"log": ["get"], "finalize": ["update"]}.get(name, list(STATUS_VERBS))


class Discovery:
    """Answers /version, /api, /apis and what is below up to the group version."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def answer(self, path: str, accept: str) -> Response | None:
        """Return the document at a path; None if the path is not discovery's."""
        parts = path.strip("/").split("/")
        aggregated = "as=APIGroupDiscoveryList" in accept and "v=v2" in accept
        match parts:
            case ["version"]:
                return _json(_version())
            case ["api"]:
                if aggregated:
                    return _json(self._aggregated(core=True), _AGGREGATED)
                addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}]
                return _json(
                    {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}
                )
            case ["apis"]:
                if aggregated:
                    return _json(self._aggregated(core=False), _AGGREGATED)
                groups = [self._group(name) for name in self._groups() if name]
                return _json({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
            case ["api", "v1"]:
                return _json(self._resources("", "v1"))
            case ["apis", group] if group in self._groups():
                return _json({"apiVersion": "v1"} | self._group(group) | {"kind": "APIGroup"})
            case ["apis", group, version] if version in self._groups().get(group, ()):
                return _json(self._resources(group, version))
        return None

    def _groups(self) -> dict[str, list[str]]:
        groups = self._registry.groups()
        for group, version, _, _ in _REVIEWS:
            groups.setdefault(group, [version])
        return groups

    def _group(self, name: str) -> dict[str, Any]:
        versions = [{"groupVersion": f"{name}/{v}", "version": v} for v in self._groups()[name]]
        return {"name": name, "versions": versions, "preferredVersion": versions[0]}

    def _resources(self, group: str, version: str) -> dict[str, Any]:
        listed: list[dict[str, Any]] = []
        for resource in self._registry.in_version(group, version):
            entry: dict[str, Any] = {
                "name": resource.plural,
                "singularName": resource.singular_name,
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": list(resource.verbs),
            }
            if resource.short_names:
                entry["shortNames"] = list(resource.short_names)
            if resource.categories:
                entry["categories"] = list(resource.categories)
            listed.append(entry)
            listed += [
                {
                    "name": f"{resource.plural}/{name}",
                    "singularName": "",
                    "namespaced": resource.namespaced,
                    "kind": resource.kind,
                    "verbs": _subresource_verbs(name),
                }
                for name in resource.subresources
            ]
        for review_group, review_version, plural, kind in _REVIEWS:
            if (review_group, review_version) == (group, version):
                singular = kind.lower()
                listed.append(
                    {
                        "name": plural,
                        "singularName": singular,
                        "namespaced": False,
                        "kind": kind,
                        "verbs": _REVIEW_VERBS,
                    }
                )
        name = f"{group}/{version}" if group else version
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": listed}

    def _aggregated(self, *, core: bool) -> dict[str, Any]:
        items = [
            {
                "metadata": {"name": group, "creationTimestamp": None}
                if group
                else {"creationTimestamp": None},
                "versions": [
                    {"version": v, "resources": self._entries(group, v), "freshness": "Current"}
                    for v in versions
                ],
            }
            for group, versions in self._groups().items()
            if (group == "") is core
        ]
        return {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": "apidiscovery.k8s.io/v2",
            "metadata": {},
            "items": items,
        }

    def _entries(self, group: str, version: str) -> list[dict[str, Any]]:
        entries = [_entry(resource) for resource in self._registry.in_version(group, version)]
        for review_group, review_version, plural, kind in _REVIEWS:
            if (review_group, review_version) == (group, version):
                response = {"group": group, "version": version, "kind": kind}
                entries.append(
                    {"resource": plural, "responseKind": response, "scope": "Cluster",
                     "singularResource": kind.lower(), "verbs": _REVIEW_VERBS}
                )  # fmt: skip
        return entries


def _entry(resource: ResourceType) -> dict[str, Any]:
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    entry: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": kind,
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular_name,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.subresources:
        entry["subresources"] = [
            {"subresource": name, "responseKind": kind, "verbs": _subresource_verbs(name)}
            for name in resource.subresources
        ]
    return entry


def _version() -> dict[str, str]:
    major, minor, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"{KUBERNETES_VERSION}+kubedr-local",
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "linux/amd64",
    }


def _json(body: Any, media_type: str = "application/json") -> Response:
    return Response(encode(body), media_type=media_type)
