"""The registry of resource types: which are built in, and which ones CustomResourceDefinitions add."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
STATUS_VERBS = ("get", "patch", "update")


@dataclass(frozen=True)
class ResourceType:
    """One resource in one version: how it is named, stored and described."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    singular: str = ""
    list_kind: str = ""
    definition: str = ""
    """The schema's name in the packaged Kubernetes definitions; empty for custom resources."""
    schema: dict[str, Any] | None = field(default=None, compare=False, hash=False)
    """A custom resource's schema, with apiVersion, kind and metadata filled in."""
    columns: tuple[dict[str, Any], ...] = field(default=(), compare=False, hash=False)
    """A custom resource's additionalPrinterColumns."""
    selectable: tuple[str, ...] = ()
    """JSON paths that a field selector may name, beside the built-in ones."""
    unconditional_update: bool = True
    """Whether an update without a resourceVersion is taken."""
    has_generation: bool = False
    """Whether `metadata.generation` counts the changes of the spec."""
    has_rules: bool = False
    """Whether a custom resource's schema has CEL rules."""
    verbs: tuple[str, ...] = ALL_VERBS

    @property
    def api_version(self) -> str:
        """Return `group/version`, or the version alone in the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """Return the name in messages and as the storage's prefix: `jobs.batch`, `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def custom(self) -> bool:
        """Whether a CustomResourceDefinition made it."""
        return not self.definition

    @property
    def list_kind_name(self) -> str:
        """Return the kind of its lists."""
        return self.list_kind or f"{self.kind}List"

    @property
    def singular_name(self) -> str:
        """Return the name that discovery gives as the singular."""
        return self.singular or self.kind.lower()


class Registry:
    """The resource types that are served now: the built-in ones, and those of established CRDs."""

    def __init__(self, builtin: tuple[ResourceType, ...]) -> None:
        self._builtin = builtin
        self._custom: dict[str, tuple[ResourceType, ...]] = {}
        self._by_path: dict[tuple[str, str, str], ResourceType] = {}
        self.generation = 0
        """Grows with each change, so that discovery and OpenAPI know when to rebuild."""
        self._rebuild()

    def _rebuild(self) -> None:
        self._by_path = {(r.group, r.version, r.plural): r for r in self}
        self.generation += 1

    def __iter__(self) -> Iterator[ResourceType]:
        yield from self._builtin
        for name in sorted(self._custom):
            yield from self._custom[name]

    def set_custom(self, crd: str, types: tuple[ResourceType, ...]) -> None:
        """Serve a CRD's versions, the storage version first; an empty tuple stops serving it."""
        if types:
            self._custom[crd] = types
        else:
            self._custom.pop(crd, None)
        self._rebuild()

    def find(self, group: str, version: str, plural: str) -> ResourceType | None:
        """Return the type that a path names."""
        return self._by_path.get((group, version, plural))

    def find_kind(self, api_version: str, kind: str) -> ResourceType | None:
        """Return the type of an object."""
        return next((r for r in self if r.kind == kind and r.api_version == api_version), None)

    def served(self) -> dict[str, ResourceType]:
        """Return one type for each stored resource, by its qualified name."""
        found: dict[str, ResourceType] = {}
        for resource in self:
            found.setdefault(resource.qualified, resource)
        return found

    def groups(self) -> dict[str, list[str]]:
        """Return the versions of each group, preferred first, in the order of registration."""
        groups: dict[str, list[str]] = {}
        for resource in self:
            versions = groups.setdefault(resource.group, [])
            if resource.version not in versions:
                versions.append(resource.version)
        return groups

    def in_version(self, group: str, version: str) -> list[ResourceType]:
        """Return the types of one group version, by their plural names."""
        found = [r for r in self if (r.group, r.version) == (group, version)]
        return sorted(found, key=lambda r: r.plural)
