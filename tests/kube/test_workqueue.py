"""The work queue, in virtual time."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import pytest

from kubedr_server.kube.workqueue import QueueShutDown, WorkQueue
from support.virtual_time import run_in_virtual_time


def in_virtual_time(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    @wraps(test)
    def run() -> None:
        run_in_virtual_time(test())

    del run.__wrapped__  # pytest must see a plain function
    return run


def queue_of(**options: Any) -> WorkQueue[str]:
    return WorkQueue(clock=now, **options)


def now() -> float:
    return asyncio.get_running_loop().time()


@in_virtual_time
async def test_a_key_that_waits_is_there_once() -> None:
    queue = queue_of()
    for key in ("a", "b", "a"):
        queue.add(key)
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    assert len(queue) == 0


@in_virtual_time
async def test_a_key_that_is_worked_on_goes_to_no_second_worker_and_comes_again_after() -> None:
    queue = queue_of()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert len(queue) == 1
    assert await queue.get() == "a"
    queue.done("a")
    assert len(queue) == 0


@in_virtual_time
async def test_a_delayed_key_comes_at_the_earliest_of_its_times() -> None:
    queue, start = queue_of(), now()
    queue.add_after("a", 30)
    queue.add_after("a", 10)
    queue.add_after("a", 20)
    assert await queue.get() == "a"
    assert now() - start == pytest.approx(10)
    queue.done("a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 100)


@in_virtual_time
async def test_thousands_of_keys_that_are_due_at_once_all_come_and_leave_nothing_behind() -> None:
    queue = queue_of()
    for number in range(1000):
        for delay in (30, 20, 10):
            queue.add_after(str(number), delay)
    await asyncio.sleep(11)
    assert len(queue) == 1000
    assert len(queue._due) < 3000
    await asyncio.sleep(30)
    assert len(queue) == 1000
    assert not queue._due


@in_virtual_time
async def test_failures_of_a_key_double_its_delay_until_it_is_forgotten() -> None:
    queue = queue_of(base_delay=1, max_delay=10)
    assert [queue.add_rate_limited("a") for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    assert queue.failures("a") == 6
    assert queue.add_rate_limited("b") == 1, "each key has its own count"
    queue.forget("a")
    assert queue.add_rate_limited("a") == 1
    queue.shutdown()


@in_virtual_time
async def test_many_failing_keys_together_keep_to_the_global_rate() -> None:
    queue, start = queue_of(base_delay=0.01, retry_rate=10, retry_burst=20), now()
    for number in range(120):
        queue.add_rate_limited(str(number))
    for _ in range(120):
        queue.done(await queue.get())
    assert now() - start == pytest.approx(10)


@in_virtual_time
async def test_workers_share_the_keys_and_none_is_worked_on_twice_at_a_time() -> None:
    queue = queue_of()
    at_work: set[str] = set()
    worked: dict[str, int] = {}

    async def worker() -> None:
        while True:
            try:
                key = await queue.get()
            except QueueShutDown:
                return
            assert key not in at_work
            at_work.add(key)
            await asyncio.sleep(1)
            at_work.remove(key)
            worked[key] = worked.get(key, 0) + 1
            queue.done(key)

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(worker())
        for step in range(100):
            queue.add(str(step % 7))
            await asyncio.sleep(0.25)
        await asyncio.sleep(60)
        queue.shutdown()
    assert set(worked) == {str(number) for number in range(7)}
    assert queue.processing == 0


@in_virtual_time
async def test_a_cancelled_worker_loses_no_key() -> None:
    queue = queue_of()
    first, second = asyncio.ensure_future(queue.get()), asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.add("a")  # wakes the first, which is cancelled before it runs
    first.cancel()
    assert await asyncio.wait_for(second, 1) == "a"
    assert first.cancelled()


@in_virtual_time
async def test_a_shutdown_ends_waiting_workers_and_drops_what_waits() -> None:
    queue = queue_of()
    waiting = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.add_after("b", 5)
    queue.shutdown()
    with pytest.raises(QueueShutDown):
        await waiting
    queue.add("a")
    queue.add_after("a", 1)
    await asyncio.sleep(10)
    assert len(queue) == 0


@in_virtual_time
async def test_draining_waits_for_the_keys_that_are_worked_on() -> None:
    queue, start = queue_of(), now()
    queue.add("a")
    key = await queue.get()
    queue.add("a")
    queue.shutdown()
    asyncio.get_running_loop().call_later(7, queue.done, key)
    await queue.drained()
    assert now() - start == pytest.approx(7)
    assert len(queue) == 0


@in_virtual_time
async def test_the_observer_is_told_of_waits_and_work() -> None:
    class Observer:
        def __init__(self) -> None:
            self.depths: list[int] = []
            self.told: list[Any] = []

        def depth(self, keys: int) -> None:
            self.depths.append(keys)

        def added(self) -> None:
            self.told.append("added")

        def retried(self) -> None:
            self.told.append("retried")

        def started(self, waited: float) -> None:
            self.told.append(("waited", waited))

        def finished(self, worked: float) -> None:
            self.told.append(("worked", worked))

    observer = Observer()
    queue = queue_of(observer=observer)
    queue.add("a")
    queue.add("a")
    await asyncio.sleep(3)
    key = await queue.get()
    await asyncio.sleep(5)
    assert queue.longest_processing() == 5
    queue.done(key)
    queue.add_rate_limited("a")
    assert observer.told == ["added", ("waited", 3), ("worked", 5), "retried"]
    assert observer.depths == [1, 0]
    queue.shutdown()


async def test_a_worker_that_never_waits_does_not_hold_up_everything_else() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for number in range(100):
        queue.add(f"key-{number}")
    worked = 0

    async def work() -> None:
        nonlocal worked
        while True:
            key = await queue.get()
            worked += 1
            queue.done(key)

    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(work()) for _ in range(20)]
        turns = 0
        while worked < 100:
            await asyncio.sleep(0)
            turns += 1
        for worker in workers:
            worker.cancel()
    assert turns >= 100
