"""A token bucket: how fast this process may ask the API server, or retry, whatever happens."""

import asyncio
import time
from collections.abc import Awaitable, Callable


class TokenBucket:
    """Lets `burst` through at once, and `rate` a second from then on. A rate of 0 is no limit.

    Waiters are served in the order in which they came, because each reserves its token when it
    arrives: the bucket then goes into debt.
    """

    def __init__(
        self,
        rate: float,
        burst: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._sleep = sleep
        self._tokens = float(burst)
        self._updated = clock()

    def reserve(self) -> float:
        """Take one token and return after how many seconds it may be used."""
        if self._rate <= 0:
            return 0.0
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._updated) * self._rate)
        self._updated = now
        self._tokens -= 1
        return max(0.0, -self._tokens / self._rate)

    async def wait(self) -> float:
        """Take one token, sleep until it may be used, and return the seconds slept."""
        delay = self.reserve()
        if delay > 0:
            await self._sleep(delay)
        return delay
