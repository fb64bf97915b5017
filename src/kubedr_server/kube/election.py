"""Leader election: of several servers one writes, by a Lease that the others wait to see expire.

Two rules keep two leaders from writing at once. A candidate takes a lease over only after watching
it unchanged, by its own clock, for the whole lease duration. A leader counts its time from
before the last renewal that succeeded was sent, and `check` compares it at each write:
a process that was stopped for a minute finds out before its next write, not after.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from kubedr_server.kube import errors
from kubedr_server.kube.client import Client
from kubedr_server.kube.resources import LEASES

logger = logging.getLogger(__name__)


def suspend_aware_clock() -> float:
    """Return monotonic seconds that go on while the machine sleeps, where the system has such a clock."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot_time is None else time.clock_gettime(boot_time)


class LeadershipLost(Exception):  # noqa: N818 - says what happened; there is no error in it
    """A process that does not lead, or no longer, wants to write."""


class LeaderObserver(Protocol):
    """Told who leads, for metrics."""

    def leads(self, name: str, leading: bool) -> None:
        """Note whether this process holds the lease of that name."""


@dataclass(frozen=True)
class ElectionSettings:
    """Times in seconds; the usual 15, 10 and 2."""

    lease_duration: float = 15.0
    """How long others wait after the last renewal that they saw."""

    renew_deadline: float = 10.0
    """How long the leader goes on without a renewal. The difference to `lease_duration` is the margin
    for writes that are under way and for clocks that run at different speeds."""

    retry_period: float = 2.0
    """How often the leader renews, and candidates look."""

    def __post_init__(self) -> None:
        if not 0 < self.retry_period < self.renew_deadline < self.lease_duration:
            raise ValueError(
                f"leader election needs retry period < renew deadline < lease duration, not "
                f"{self.retry_period:g} s, {self.renew_deadline:g} s, {self.lease_duration:g} s"
            )


class LeaderElector:
    """One candidate for a Lease. `identity` is unique to this process: its host name and a random part.

    Give the controllers `client.guarded(elector.check)`; the elector itself uses a client without guard.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        *,
        settings: ElectionSettings | None = None,
        observer: LeaderObserver | None = None,
        rng: random.Random | None = None,
        clock: Callable[[], float] = suspend_aware_clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.identity = identity
        self._client = client
        self._namespace = namespace
        self._name = name
        self._settings = settings or ElectionSettings()
        self._observer = observer
        self._rng = rng or random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._clock = clock
        self._sleep = sleep
        self._now = now
        self._lease: dict[str, Any] | None = None
        """The Lease as last seen."""

        self._seen = clock()
        """When it was first seen so."""

        self._leads_until: float | None = None

    @property
    def leading(self) -> bool:
        """Whether this process leads at this moment."""
        return self._leads_until is not None and self._clock() < self._leads_until

    @property
    def leader(self) -> str:
        """The identity of the leader, as last seen; empty if there is none."""
        return _holder(self._lease)

    def check(self) -> None:
        """Raise LeadershipLost unless this process leads at this moment: the guard of all writes."""
        if not self.leading:
            raise LeadershipLost(f"{self.identity} does not hold the lease {self._namespace}/{self._name}")

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Wait for the lease, then run `lead` for as long as it is held.

        Returns when `lead` does. Raises LeadershipLost, with `lead` cancelled and ended, when the
        lease is lost; the process should end then and start again. When cancelled, it cancels `lead`,
        keeps the lease until that has ended, and then gives the lease up.
        """
        await self._acquire()
        logger.info("%s leads (lease %s/%s)", self.identity, self._namespace, self._name)
        leading = asyncio.ensure_future(lead())
        renewing = asyncio.create_task(self._renew_until_lost(), name="renew-lease")
        try:
            await asyncio.wait({leading, renewing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(leading)
            lost = renewing.done()
            await _end(renewing)
            if lost:
                self._step_down()
            else:
                await self._release()
        if lost:
            renewing.result()
            raise LeadershipLost(f"{self.identity} lost the lease {self._namespace}/{self._name}")
        leading.result()

    async def _acquire(self) -> None:
        while True:
            try:
                await self._try()
            except errors.KubeError as error:
                logger.warning("cannot get the lease %s/%s: %s", self._namespace, self._name, error)
            if self.leading:
                return
            await self._sleep(self._settings.retry_period * self._rng.uniform(1.0, 2.2))

    async def _renew_until_lost(self) -> None:
        """Renew; return once the lease is lost."""
        while self._leads_until is not None:
            await self._sleep(self._settings.retry_period * self._rng.uniform(0.9, 1.1))
            left = (self._leads_until or 0.0) - self._clock()
            if left <= 0:
                break
            try:
                async with asyncio.timeout(left):
                    await self._try()
            except TimeoutError:
                break
            except errors.KubeError as error:
                logger.warning("cannot renew the lease %s/%s: %s", self._namespace, self._name, error)
        logger.error("%s lost the lease %s/%s", self.identity, self._namespace, self._name)
        self._step_down()

    async def _try(self) -> None:
        """Make one attempt to create, take over or renew the lease."""
        sent = self._clock()
        if self._leads_until is None:
            await self._look()
        written = await self._write()
        if written is None:
            # Somebody wrote it since. While we lead, that may have been ourselves, by a request
            # whose answer was lost; if it was another candidate, `_look` steps down.
            await self._look()
            written = await self._write() if self._leads_until is not None else None
        if written is None:
            return
        self._lease, self._seen = written, self._clock()
        if self._leads_until is None and self._observer:
            self._observer.leads(self._name, True)
        self._leads_until = sent + self._settings.renew_deadline

    async def _write(self) -> dict[str, Any] | None:
        """Write the lease as ours if it is free; return it, or None if it is not or has changed."""
        try:
            if self._lease is None:
                return await self._client.create(LEASES, self._new_lease(None))
            if self._may_take():
                return await self._client.replace(LEASES, self._new_lease(self._lease))
        except (errors.AlreadyExists, errors.Conflict, errors.NotFound):
            return None
        return None

    async def _look(self) -> None:
        """Read the lease, and note when it changed."""
        try:
            lease: dict[str, Any] | None = await self._client.get(LEASES, self._namespace, self._name)
        except errors.NotFound:
            lease = None
        if _version(lease) != _version(self._lease):
            self._seen = self._clock()
        self._lease = lease
        if self._leads_until is not None and _holder(lease) != self.identity:
            self._step_down()

    def _may_take(self) -> bool:
        holder = _holder(self._lease)
        if holder in {"", self.identity}:
            return True
        spec = (self._lease or {}).get("spec") or {}
        duration = spec.get("leaseDurationSeconds") or self._settings.lease_duration
        return bool(self._clock() > self._seen + duration)

    def _new_lease(self, old: dict[str, Any] | None) -> dict[str, Any]:
        now = _micro_time(self._now())
        spec = dict((old or {}).get("spec") or {})
        if spec.get("holderIdentity") != self.identity:
            spec["leaseTransitions"] = spec.get("leaseTransitions", 0) + (1 if old else 0)
            spec["acquireTime"] = now
        spec["holderIdentity"] = self.identity
        spec["leaseDurationSeconds"] = max(1, round(self._settings.lease_duration))
        spec["renewTime"] = now
        metadata = (old or {}).get("metadata") or {"namespace": self._namespace, "name": self._name}
        return {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}

    async def _release(self) -> None:
        """Give the lease up, so that the next leader need not wait for it to expire."""
        lease, held = self._lease, self.leading
        self._step_down()
        if lease is None or not held:
            return
        given_up = self._new_lease(lease)
        given_up["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            async with asyncio.timeout(self._settings.retry_period):
                self._lease = await self._client.replace(LEASES, given_up)
        except (errors.KubeError, TimeoutError) as error:
            logger.warning("the lease %s/%s was not given up: %s", self._namespace, self._name, error)

    def _step_down(self) -> None:
        if self._leads_until is not None and self._observer:
            self._observer.leads(self._name, False)
        self._leads_until = None


def _holder(lease: dict[str, Any] | None) -> str:
    return str(((lease or {}).get("spec") or {}).get("holderIdentity") or "")


def _version(lease: dict[str, Any] | None) -> str:
    return str(lease["metadata"].get("resourceVersion")) if lease else ""


def _micro_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def _end(task: asyncio.Future[None]) -> None:
    """Cancel a task and wait until it has ended, even if this one is being cancelled as well."""
    cancelled = False
    task.cancel()
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.info("%s ended with %r", task, error)
    if cancelled:
        raise asyncio.CancelledError
