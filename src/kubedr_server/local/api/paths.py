"""Request paths: which resource, object and subresource `/apis/batch/v1/namespaces/x/jobs/y/status` names."""

from dataclasses import dataclass

from kubedr_server.local.api.errors import no_such_path
from kubedr_server.local.api.resources import Registry, ResourceType


@dataclass(frozen=True)
class Target:
    """What a path names; empty strings where it names none."""

    resource: ResourceType
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def parse(path: str, registry: Registry) -> Target:
    """Return what a path below /api/v1/ or /apis/ names. Raises APIError(404) where nothing is served."""
    parts = [part for part in path.split("/") if part]
    if len(parts) >= 3 and parts[:2] == ["api", "v1"]:
        group, version, rest = "", "v1", parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise no_such_path()
    namespace = ""
    own = ("status", "finalize")
    if rest[0] == "namespaces" and len(rest) > 2 and not (group == "" and rest[2] in own):
        namespace, rest = rest[1], rest[2:]
    resource = registry.find(group, version, rest[0])
    if resource is None or len(rest) > 3 or (namespace and not resource.namespaced):
        raise no_such_path()
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if subresource and subresource not in resource.subresources:
        raise no_such_path()
    if name and resource.namespaced and not namespace:
        raise no_such_path()
    return Target(resource, namespace, name, subresource)
