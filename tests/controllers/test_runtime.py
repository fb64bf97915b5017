"""What follows from how a reconciliation ended. Time is virtual: each test takes milliseconds."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from kubernetes_asyncio.client import Configuration
from prometheus_client import CollectorRegistry

from kubedr_server.controllers.cluster import Cluster
from kubedr_server.controllers.manager import ControllerMetrics
from kubedr_server.controllers.outcome import Done, Outcome, RequeueAfter, Retry
from kubedr_server.controllers.refusal import Refusals
from kubedr_server.controllers.runtime import Controller
from kubedr_server.controllers.settings import ControllerSettings
from kubedr_server.kube import errors
from kubedr_server.kube.cache import Key
from kubedr_server.kube.client import Client
from kubedr_server.kube.connection import Connection
from kubedr_server.kube.election import LeadershipLost
from kubedr_server.kube.resources import BACKUP_LOCATIONS
from kubedr_server.kube.transport import Transport
from support.kubedr_objects import RUNNER
from support.virtual_time import run_in_virtual_time

KEY = Key("ns", "minio")
SETTINGS = ControllerSettings(RUNNER, workers=2, retry_base_seconds=1.0, retry_longest_seconds=60.0)


class Scripted:
    """A reconciler that ends as it is told, and notes when it was called."""

    resource = BACKUP_LOCATIONS

    def __init__(self, *ends: Outcome | Exception) -> None:
        self.ends = list(ends)
        self.times: list[float] = []

    async def reconcile(self, key: Key) -> Outcome:
        self.times.append(asyncio.get_running_loop().time())
        end = self.ends.pop(0) if self.ends else Done()
        if isinstance(end, Exception):
            raise end
        return end


def delays(*ends: Outcome | Exception, wait: float = 300.0) -> tuple[list[float], CollectorRegistry]:
    """Return after how many seconds each next call came, and the metrics."""
    registry = CollectorRegistry()

    async def main() -> list[float]:
        reconciler = Scripted(*ends)
        async with a_controller(reconciler, registry) as controller:
            task = asyncio.create_task(controller.run())
            controller.queue.add(KEY)
            await asyncio.sleep(wait)
            controller.queue.shutdown()
            await task
        times = reconciler.times
        return [round(later - earlier, 3) for earlier, later in pairwise(times)]

    return run_in_virtual_time(main()), registry


@asynccontextmanager
async def a_controller(reconciler: Scripted, registry: CollectorRegistry) -> AsyncIterator[Controller]:
    metrics = ControllerMetrics(registry)
    async with Client(Transport(Connection(Configuration(host="http://127.0.0.1:1")))) as client:
        cluster = Cluster(client, None, rng=random.Random(1))
        yield Controller(
            reconciler,
            SETTINGS,
            Refusals(cluster, lambda: datetime(2026, 3, 1, tzinfo=UTC)),
            queues=metrics.queues,
            reconciles=metrics.reconciles,
            clock=asyncio.get_running_loop().time,
        )


def count(registry: CollectorRegistry, result: str) -> float | None:
    labels = {"controller": "backuplocation", "result": result}
    return registry.get_sample_value("controller_runtime_reconcile_total", labels)


def test_done_is_done() -> None:
    waits, registry = delays(Done())
    assert (waits, count(registry, "success")) == ([], 1)


def test_requeue_after_is_exact() -> None:
    waits, registry = delays(RequeueAfter(17.0))
    assert (waits, count(registry, "requeue_after")) == ([17.0], 1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Retry("not yet"),
        lambda: errors.Conflict("changed since"),
        lambda: errors.Unreachable("no answer"),
        lambda: errors.Unauthorized("the token is being rotated"),
        lambda: RuntimeError("a mistake of ours"),
    ],
)
def test_what_may_pass_is_tried_again_with_backoff(make: Callable[[], Outcome | Exception]) -> None:
    waits, registry = delays(*[make() for _ in range(4)])
    assert (waits, count(registry, "error")) == ([1.0, 2.0, 4.0, 8.0], 4)


def test_the_server_says_how_long_it_wants_to_be_left_alone() -> None:
    waits, _ = delays(errors.TooManyRequests("slow down", retry_after=42.0))
    assert waits == [42.0]


def test_what_is_refused_is_looked_at_again_much_later() -> None:
    waits, _ = delays(errors.Forbidden("no such role"))
    assert waits == [60.0]


def test_what_cannot_be_read_is_not_tried_again() -> None:
    waits, registry = delays(ValueError("spec.url: Field required"))
    assert waits == []
    labels = {"controller": "backuplocation"}
    name = "controller_runtime_terminal_reconcile_errors_total"
    assert registry.get_sample_value(name, labels) == 1


def test_success_ends_the_backoff() -> None:
    waits, _ = delays(Retry("a"), Retry("b"), RequeueAfter(5.0), Retry("c"))
    assert waits == [1.0, 2.0, 5.0, 1.0]


def test_losing_the_lease_ends_the_controller() -> None:
    async def main() -> None:
        async with a_controller(Scripted(LeadershipLost("gone")), CollectorRegistry()) as controller:
            controller.queue.add(KEY)
            with pytest.raises(ExceptionGroup) as caught:
                await controller.run()
        assert caught.group_contains(LeadershipLost)

    run_in_virtual_time(main())


def test_a_shutdown_waits_for_the_work_under_way() -> None:
    class Slow(Scripted):
        async def reconcile(self, key: Key) -> Outcome:
            await asyncio.sleep(5)
            return await super().reconcile(key)

    async def main() -> None:
        reconciler = Slow()
        async with a_controller(reconciler, CollectorRegistry()) as controller:
            task = asyncio.create_task(controller.run())
            for name in ("first", "second", "waits"):
                controller.queue.add(Key("ns", name))
            await asyncio.sleep(1)
            controller.queue.shutdown()
            await task
        # Both workers ended what they had begun; what was still waiting was not begun.
        assert len(reconciler.times) == 2

    run_in_virtual_time(main())
