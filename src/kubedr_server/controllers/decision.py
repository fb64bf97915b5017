"""What a reconciler wants to be true: plain data, made by pure functions and compared whole in tests.

A decision is carried out in a fixed order, and may be interrupted between any two steps: `before`, the
status, the events, `after`. What `before` makes has names that follow from its inputs, so that doing it
again does no harm; the status is written only onto the version of the object that the decision was made
from; `after` takes away what brought the reconciler here (a mark on a told Job, a finalizer), so an
interrupted decision is made again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kubedr_server.api.base import StatusBase
from kubedr_server.kube.resources import Resource

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Apply:
    """Server-side apply, with this project's field manager."""

    resource: Resource
    object: Object


@dataclass(frozen=True)
class Create:
    """Create an object that was not there; `status` is written right after, where the kind has one."""

    resource: Resource
    object: Object
    status: Object | None = None


@dataclass(frozen=True)
class Merge:
    """A merge patch. With a `metadata.resourceVersion` in it, only onto that version. Gone is good enough."""

    resource: Resource
    namespace: str
    name: str
    body: Object
    subresource: str | None = None


@dataclass(frozen=True)
class Delete:
    """Delete exactly this object: another one of its name stays. Gone already is good enough."""

    resource: Resource
    namespace: str
    name: str
    uid: str


Write = Apply | Create | Merge | Delete


@dataclass(frozen=True)
class Announcement:
    """An Event of the object that is reconciled."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    once: str = ""
    """What has happened, if it can happen only once: an interrupted decision is made again."""


@dataclass(frozen=True)
class Decision:
    """All that is to be done now. `status` is the whole wanted status, or None to leave it alone."""

    status: StatusBase | None = None
    before: tuple[Write, ...] = ()
    events: tuple[Announcement, ...] = ()
    after: tuple[Write, ...] = ()
    wake_after: float | None = field(default=None)
    """Seconds until time itself makes a new decision due; None if only a change can."""
