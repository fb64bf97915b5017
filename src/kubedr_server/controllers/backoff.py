"""How long to wait after failures in a row: for attempts that cost a pod, not for API requests."""

from dataclasses import dataclass


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
