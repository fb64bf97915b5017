"""Drives reconcilers: keys from a queue, workers, and what follows from how a reconciliation ended.

A key says only that something may have changed. What a failure leads to follows from its type: what
may pass is tried again with backoff, what needs a person is told on the object and not tried again
until something changes.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from kubedr_server.controllers.outcome import Done, Outcome, Permanent, RequeueAfter, Retry
from kubedr_server.controllers.reconciler import Reconciler
from kubedr_server.controllers.refusal import Refusals
from kubedr_server.controllers.settings import ControllerSettings
from kubedr_server.kube import errors
from kubedr_server.kube.cache import Key
from kubedr_server.kube.election import LeadershipLost
from kubedr_server.kube.workqueue import QueueShutDown, WorkQueue
from kubedr_server.ops.queue_metrics import QueueMetrics, ReconcileMetrics

logger = logging.getLogger(__name__)

_RESULTS = {Done: "success", RequeueAfter: "requeue_after", Retry: "error", Permanent: "error"}


class Controller:
    """One reconciler with its queue and workers."""

    def __init__(
        self,
        reconciler: Reconciler,
        settings: ControllerSettings,
        refusals: Refusals,
        *,
        queues: QueueMetrics,
        reconciles: ReconcileMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = reconciler.resource.kind.lower()
        self.resource = reconciler.resource
        self.queue: WorkQueue[Key] = WorkQueue(
            base_delay=settings.retry_base_seconds,
            max_delay=settings.retry_longest_seconds,
            observer=queues.queue(self.name),
            clock=clock,
        )
        self._reconciler = reconciler
        self._settings = settings
        self._metrics = reconciles
        self._refusals = refusals
        self._clock = clock
        queues.watch_longest(self.name, self.queue.longest_processing)
        reconciles.workers(self.name, settings.workers)

    async def run(self) -> None:
        """Work until the queue is shut down. Raises LeadershipLost once this process may not write."""
        async with asyncio.TaskGroup() as workers:
            for number in range(self._settings.workers):
                workers.create_task(self._work(), name=f"{self.name}-{number}")

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except QueueShutDown:
                return
            started = self._clock()
            result, terminal = "error", False
            self._metrics.began(self.name)
            try:
                outcome = await self._reconcile(key)
                result, terminal = _RESULTS[type(outcome)], isinstance(outcome, Permanent)
                self._follow(key, outcome)
            finally:
                self._metrics.ended(self.name, result, self._clock() - started, terminal=terminal)
                self.queue.done(key)

    async def _reconcile(self, key: Key) -> Outcome:
        try:
            return await self._reconciler.reconcile(key)
        except LeadershipLost:
            raise
        except errors.Unauthorized as error:
            # Tokens are rotated: the next one is read from its file.
            return Retry(str(error))
        except errors.Refused as error:
            await self._refusals.tell(self.resource, key, error)
            return Permanent(str(error), self._settings.retry_longest_seconds)
        except errors.KubeError as error:
            return Retry(str(error), error.retry_after)
        except ValueError as error:
            # An object that an older schema let through, or one that no webhook saw.
            await self._refusals.tell(self.resource, key, error)
            return Permanent(str(error))
        except Exception as error:
            logger.exception("%s %s: reconciling failed unexpectedly", self.name, key)
            return Retry(f"{type(error).__name__}: see the log")

    def _follow(self, key: Key, outcome: Outcome) -> None:
        """Do what an outcome asks for."""
        match outcome:
            case Retry(reason, after):
                if after is None:
                    delay = self.queue.add_rate_limited(key)
                else:
                    # The server said how long it wants to be left alone.
                    delay = after
                    self.queue.add_after(key, delay)
                # One conflict is daily life; several in a row are worth a look.
                level = logging.WARNING if self.queue.failures(key) > 3 else logging.DEBUG
                logger.log(level, "%s %s: %s; again in %.1f s", self.name, key, reason, delay)
                return
            case Permanent(reason, look_again):
                logger.error("%s %s: %s", self.name, key, reason)
                if look_again is not None:
                    self.queue.add_after(key, look_again)
            case RequeueAfter(seconds):
                self.queue.add_after(key, seconds)
            case Done():
                pass
        self.queue.forget(key)
