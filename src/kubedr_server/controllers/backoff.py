"""How long to wait after failures in a row: for attempts that cost a pod, not for API requests."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Backoff:
    """Exponential, bounded, and spread, so that many objects that fail together do not retry together."""

    first_seconds: float = 10.0
    longest_seconds: float = 1800.0
    factor: float = 2.0
    spread: float = 0.2

    def after(self, failures: int, luck: float) -> float:
        """Return the seconds to wait after this many failures. `luck` is random, from 0 to 1."""
        # 64 doublings are beyond any bound; more would overflow.
        plain = min(self.longest_seconds, self.first_seconds * self.factor ** min(max(failures - 1, 0), 64))
        return plain * (1 - self.spread * luck)

    def left(self, due: datetime | None, now: datetime) -> float:
        """Return how many seconds there are to wait until the next attempt; 0 if it is due.

        One that is further ahead than any wait was noted by a clock that has been set back since.
        """
        seconds = 0.0 if due is None else (due - now).total_seconds()
        return seconds if 0 < seconds <= self.longest_seconds else 0.0
