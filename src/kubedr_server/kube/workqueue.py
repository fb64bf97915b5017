"""A queue of keys to reconcile.

A key that is added again while it waits is there once; while it is worked on, it comes again
after that and never to two workers at a time. Failed keys come back later and later, each by
its own count, and all of them together no faster than a token bucket allows.
"""

import asyncio
import heapq
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

from kubedr_server.kube.limits import TokenBucket

K = TypeVar("K", bound=Hashable)

_DUE_AT_ONCE = 100
"""How many keys may become due in one turn of the loop: others want their turn, too."""


class QueueObserver(Protocol):
    """Told what happens in a queue, for metrics. Times are in seconds."""

    def depth(self, keys: int) -> None:
        """Note how many keys wait to be worked on at once."""

    def added(self) -> None:
        """Count a key that came in (not one that was there already)."""

    def retried(self) -> None:
        """Count a rate-limited addition."""

    def started(self, waited: float) -> None:
        """Note that a key went to a worker after waiting."""

    def finished(self, worked: float) -> None:
        """Note that a worker is done with a key."""


class QueueShutDown(Exception):  # noqa: N818 - as asyncio names it
    """The queue gives no more keys."""


class WorkQueue(Generic[K]):
    """Keys for workers: `key = await get()`, work, then always `done(key)`.

    Not for use across threads. Delays are kept by the running event loop; `clock` is for
    measuring and for the bucket.
    """

    def __init__(
        self,
        *,
        base_delay: float = 0.1,
        max_delay: float = 300.0,
        retry_rate: float = 10.0,
        retry_burst: int = 100,
        observer: QueueObserver | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base_delay = base_delay
        self._max_delay = max_delay
        self._bucket = TokenBucket(retry_rate, retry_burst, clock=clock)
        self._observer = observer
        self._clock = clock
        self._ready: deque[K] = deque()
        self._dirty: dict[K, float] = {}
        """What has to be worked on, ready or being worked on, and since when."""

        self._processing: dict[K, float] = {}
        """What is being worked on, and since when."""

        self._delayed: dict[K, float] = {}
        """When keys are due, in the loop's time."""

        self._due: list[tuple[float, int, K]] = []
        """The same as a heap, with one timer for the first: a timer for each is five objects. It may hold
        times that are no longer in `_delayed`."""

        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._failures: dict[K, int] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self._turn = asyncio.Lock()
        self._closed = False

    def __len__(self) -> int:
        """Return how many keys are ready to be worked on."""
        return len(self._ready)

    @property
    def processing(self) -> int:
        """How many keys are being worked on."""
        return len(self._processing)

    def longest_processing(self) -> float:
        """Return for how many seconds the slowest worker has been at its key."""
        return self._clock() - min(self._processing.values()) if self._processing else 0.0

    def add(self, key: K) -> None:
        """Have the key worked on as soon as possible. Does nothing after a shutdown."""
        if self._closed or key in self._dirty:
            return
        self._dirty[key] = self._clock()
        if self._observer:
            self._observer.added()
        if key not in self._processing:
            self._push(key)

    def add_after(self, key: K, delay: float) -> None:
        """Have the key worked on after `delay` seconds; if it is waiting already, at the earlier time."""
        if self._closed:
            return
        if delay <= 0:
            self.add(key)
            return
        due = asyncio.get_running_loop().time() + delay
        if self._delayed.get(key, math.inf) <= due:
            return
        self._delayed[key] = due
        if len(self._due) > 2 * len(self._delayed) + _DUE_AT_ONCE:
            self._due = [entry for entry in self._due if self._delayed.get(entry[2]) == entry[0]]
            heapq.heapify(self._due)
        heapq.heappush(self._due, (due, next(self._numbers), key))
        self._set_timer()

    def add_rate_limited(self, key: K) -> float:
        """Have a failed key worked on again later, and return after how many seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        own = min(self._max_delay, self._base_delay * 2.0 ** min(failures, 64))
        delay = max(own, self._bucket.reserve())
        if self._observer:
            self._observer.retried()
        self.add_after(key, delay)
        return delay

    def failures(self, key: K) -> int:
        """Return how often in a row the key was added by `add_rate_limited`."""
        return self._failures.get(key, 0)

    def forget(self, key: K) -> None:
        """End the key's row of failures: it was worked on with success, or is no more."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """Wait for a key and take it. Raises QueueShutDown once the queue is shut down."""
        # Work that finds nothing to do waits for nothing, either: thousands of keys in a row would hold up
        # everything else in this process, such as the webhooks. So each goes out in a turn of the loop of
        # its own, however many workers there are.
        async with self._turn:
            await asyncio.sleep(0)
        while not self._ready:
            if self._closed:
                raise QueueShutDown
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                elif self._ready:
                    self._wake()  # this one was woken for a key that somebody else has to take now
                raise
        key = self._ready.popleft()
        now = self._clock()
        waited = now - self._dirty.pop(key)
        self._processing[key] = now
        self._idle.clear()
        if self._observer:
            self._observer.depth(len(self._ready))
            self._observer.started(waited)
        return key

    def done(self, key: K) -> None:
        """Say that work on the key is over; if it was added meanwhile, it is ready again."""
        started = self._processing.pop(key)
        if self._observer:
            self._observer.finished(self._clock() - started)
        if key in self._dirty:
            if self._closed:
                del self._dirty[key]
            else:
                self._push(key)
        if not self._processing:
            self._idle.set()

    def shutdown(self) -> None:
        """Give no more keys. What waits is dropped: reconciling is level-based, a new start lists again."""
        self._closed = True
        self._ready.clear()
        self._dirty.clear()
        self._delayed.clear()
        self._due.clear()
        self._set_timer()
        while self._waiters:
            self._wake()
        if self._observer:
            self._observer.depth(0)

    async def drained(self) -> None:
        """Wait until no key is being worked on."""
        await self._idle.wait()

    def _set_timer(self) -> None:
        """Wake up when the first key is due."""
        first = self._due[0][0] if self._due else None
        if self._timer is not None:
            if self._timer.when() == first:
                return
            self._timer.cancel()
        self._timer = None if first is None else asyncio.get_running_loop().call_at(first, self._delays_over)

    def _delays_over(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for _ in range(_DUE_AT_ONCE):
            if not self._due or self._due[0][0] > now:
                break
            due, _number, key = heapq.heappop(self._due)
            if self._delayed.get(key) == due:
                del self._delayed[key]
                self.add(key)
        self._set_timer()

    def _push(self, key: K) -> None:
        self._ready.append(key)
        if self._observer:
            self._observer.depth(len(self._ready))
        self._wake()

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
