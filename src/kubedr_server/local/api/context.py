"""What a request carries through the handlers, and what all handlers share."""

import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from kubedr_server.local.api.errors import options_invalid, too_long, unsupported
from kubedr_server.local.api.paths import Target
from kubedr_server.local.api.resources import Registry
from kubedr_server.local.api.schemas import Definitions
from kubedr_server.local.api.storage import Store
from kubedr_server.local.api.structural import Structure

Object = dict[str, Any]
Clock = Callable[[], datetime]

_OPTIONS = {
    "POST": "CreateOptions",
    "PUT": "UpdateOptions",
    "PATCH": "PatchOptions",
    "DELETE": "DeleteOptions",
}
_LONGEST_MANAGER = 128


def utc_now() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)


def timestamp(moment: datetime) -> str:
    """Write a moment as metav1.Time: whole seconds, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class LogSource(Protocol):
    """Where `kubectl logs` reads from: whoever runs the pods."""

    def read(
        self, namespace: str, pod: str, container: str, *, follow: bool = False,
        tail_lines: int | None = None, limit_bytes: int | None = None,
        since_seconds: int | None = None, timestamps: bool = False, previous: bool = False,
    ) -> AsyncIterator[bytes]:  # fmt: skip
        """Yield the log of a container in pieces. Raises LookupError(sentence) where there is none."""
        ...


@dataclass
class Options:
    """The query of a writing request, as metav1.CreateOptions, UpdateOptions and PatchOptions have it."""

    dry_run: bool = False
    field_validation: str = "Warn"
    field_manager: str = ""
    force: bool = False
    names_manager: bool = False
    """Whether the request itself says who the field manager is."""

    @classmethod
    def parse(cls, method: str, query: Mapping[str, str], user_agent: str) -> "Options":
        """Read them. Raises APIError(422) on values that do not exist."""
        dry_run = query.get("dryRun", "")
        validation = query.get("fieldValidation", "")
        manager = query.get("fieldManager", "")
        mistake = None
        if dry_run not in ("", "All"):
            mistake = unsupported("dryRun", [dry_run], ["All"])
        elif validation not in ("", "Ignore", "Strict", "Warn"):
            mistake = unsupported("fieldValidation", validation, ["", "Ignore", "Strict", "Warn"])
        elif len(manager) > _LONGEST_MANAGER:
            mistake = too_long("fieldManager", _LONGEST_MANAGER)
        if mistake is not None and method in _OPTIONS:
            raise options_invalid(_OPTIONS[method], mistake)
        return cls(
            dry_run=bool(dry_run),
            field_validation=validation or "Warn",
            field_manager=manager or user_agent.partition("/")[0][:_LONGEST_MANAGER] or "unknown",
            force=query.get("force") in ("true", "1"),
            names_manager=bool(manager),
        )


@dataclass
class Call:
    """One request: what it is about, how it is to be done, and the warnings to answer with."""

    target: Target
    options: Options = field(default_factory=Options)
    warnings: list[str] = field(default_factory=list)
    user: str = "kubernetes-admin"

    def warn(self, text: str) -> None:
        """Add a warning that kubectl prints; none is repeated."""
        if text not in self.warnings:
            self.warnings.append(text)


@dataclass
class Engine:
    """What the handlers share."""

    store: Store
    registry: Registry
    definitions: Definitions
    structure: Structure
    clock: Clock
    rng: random.Random
