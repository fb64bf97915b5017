"""Events: what `kubectl describe` shows a person about an object.

Recording never fails and never waits: events are for people, and no reconcile may end because one could
not be written. The same event again raises the count of the one that is there; but what can happen only once
has a name that follows from it, so that it stands there once however often, and by whomever, it is said.
"""

import asyncio
import hashlib
import logging
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

from kubedr_server.kube import errors
from kubedr_server.kube.backoff import FullJitter
from kubedr_server.kube.client import Client
from kubedr_server.kube.resources import EVENTS

logger = logging.getLogger(__name__)

EventType = Literal["Normal", "Warning"]

COMPONENT: Final = "kubedr"
MAX_MESSAGE_BYTES: Final = 1024
_MAX_NAME: Final = 253
_REMEMBERED: Final = 4096
_PENDING: Final = 1000
_ATTEMPTS: Final = 5


class _Same(NamedTuple):
    """What makes two events the same."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    type: EventType
    reason: str
    message: str
    once: str
    """What has happened, if it can happen only once."""


@dataclass
class _Pending:
    """How often an event happened since it was last written."""

    reference: dict[str, Any]
    suffix: str
    """The end of its name, if it is a new one: the same at each attempt to write it."""

    first: datetime
    last: datetime
    count: int = 1


@dataclass
class _Written:
    """An event in the cluster."""

    name: str
    count: int


@dataclass
class EventRecorder:
    """Records events about objects. `run` it as a task; `instance` is this process's identity.

    At most a thousand different events wait to be written; more are dropped with a line in the log.
    """

    client: Client
    instance: str = COMPONENT
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    rng: random.Random = field(default_factory=random.Random)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def __post_init__(self) -> None:
        self._pending: OrderedDict[_Same, _Pending] = OrderedDict()
        self._written: OrderedDict[_Same, _Written] = OrderedDict()
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def record(
        self,
        obj: Mapping[str, Any],
        type: EventType,  # noqa: A002 - the field's name in Kubernetes
        reason: str,
        message: str,
        once: str = "",
    ) -> None:
        """Record that `reason` happened to `obj`: an object, or an ObjectReference to one.

        `reason` is one CamelCase word, `message` a sentence without secrets; more than 1024 bytes are cut.
        `once` names what can happen only once, such as the end of a Job by its uid. Never raises.
        """
        try:
            self._record(obj, type, reason, message, once)
        except Exception:
            logger.exception("event %s is not recorded", reason)

    async def run(self) -> None:
        """Write the recorded events until cancelled."""
        while True:
            await self._work.wait()
            while self._pending:
                same, pending = self._pending.popitem(last=False)
                await self._deliver(same, pending)
            self._work.clear()
            self._idle.set()

    async def flush(self, seconds: float = 5.0) -> bool:
        """Wait until all that was recorded is written, and return whether it is. For a shutdown."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def _record(self, obj: Mapping[str, Any], type_: EventType, reason: str, message: str, once: str) -> None:
        reference = _reference(obj)
        same = _Same(
            reference.get("apiVersion", ""),
            reference["kind"],
            reference.get("namespace", ""),
            reference["name"],
            reference.get("uid", ""),
            type_,
            reason,
            _cut(message),
            once,
        )
        now = self.now()
        if (pending := self._pending.get(same)) is not None:
            if not once:
                pending.count += 1
                pending.last = now
            return
        if len(self._pending) >= _PENDING:
            logger.warning("too many events: %s on %s %s is dropped", reason, same.kind, same.name)
            return
        self._pending[same] = _Pending(reference, self._suffix(same), now, now)
        self._idle.clear()
        self._work.set()

    def _suffix(self, same: _Same) -> str:
        if not same.once:
            return f".{self.rng.getrandbits(64):016x}"
        return f".{hashlib.sha256(f'{same.uid}/{same.reason}/{same.once}'.encode()).hexdigest()[:16]}"

    async def _deliver(self, same: _Same, pending: _Pending) -> None:
        """Write one event; give up after a few attempts."""
        backoff = FullJitter(0.5, 10.0, self.rng)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._write(same, pending)
            except errors.Transient as error:
                if attempt == _ATTEMPTS:
                    logger.warning("event %s on %s %s is lost: %s", same.reason, same.kind, same.name, error)
                    return
                await self.sleep(max(backoff.next(), error.retry_after or 0.0))
            except errors.KubeError as error:
                # The namespace goes away, or a role is missing: the next attempt would end the same way.
                logger.info("event %s on %s %s is lost: %s", same.reason, same.kind, same.name, error)
                return
            except Exception:
                logger.exception("event %s on %s %s is lost", same.reason, same.kind, same.name)
                return
            else:
                return

    async def _write(self, same: _Same, pending: _Pending) -> None:
        namespace = same.namespace or "default"
        if (written := self._written.get(same)) is not None:
            if same.once:
                return
            count = written.count + pending.count
            change = {"count": count, "lastTimestamp": _time(pending.last)}
            try:
                await self.client.patch(EVENTS, namespace, written.name, change)
            except errors.NotFound:
                del self._written[same]  # API servers forget events after an hour
            else:
                written.count = count
                self._written.move_to_end(same)
                return
        name = same.name[: _MAX_NAME - len(pending.suffix)].rstrip(".-") + pending.suffix
        # One that exists is an attempt whose answer was lost, or another process has said it before.
        with suppress(errors.AlreadyExists):
            await self.client.create(EVENTS, self._event(same, pending, namespace, name))
        self._written[same] = _Written(name, pending.count)
        while len(self._written) > _REMEMBERED:
            self._written.popitem(last=False)

    def _event(self, same: _Same, pending: _Pending, namespace: str, name: str) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": namespace, "name": name},
            "involvedObject": pending.reference,
            "type": same.type,
            "reason": same.reason,
            "message": same.message,
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": self.instance,
            "firstTimestamp": _time(pending.first),
            "lastTimestamp": _time(pending.last),
            "count": pending.count,
        }


def _reference(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Return an ObjectReference to `obj`, which may be one already."""
    source = obj.get("metadata", obj)
    reference = {"apiVersion": obj.get("apiVersion", ""), "kind": obj["kind"], "name": source["name"]}
    for name in ("namespace", "uid", "resourceVersion"):
        if source.get(name):
            reference[name] = source[name]
    return reference


def _cut(message: str) -> str:
    encoded = message.encode()
    if len(encoded) <= MAX_MESSAGE_BYTES:
        return message
    mark = "…"
    return encoded[: MAX_MESSAGE_BYTES - len(mark.encode())].decode(errors="ignore") + mark


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
