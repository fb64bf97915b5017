"""Exponential backoff with full jitter: many clients that failed together do not come back together."""

import random


class FullJitter:
    """Delays drawn evenly from 0 to a bound that doubles from `base` to `cap` seconds."""

    def __init__(self, base: float, cap: float, rng: random.Random) -> None:
        self._base = base
        self._cap = cap
        self._rng = rng
        self._failures = 0

    def next(self) -> float:
        """Return the next delay in seconds, at least a twentieth of its bound, so that nothing spins."""
        bound = min(self._cap, self._base * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return bound * self._rng.uniform(0.05, 1.0)

    def reset(self) -> None:
        """Begin again at `base`: something succeeded."""
        self._failures = 0
