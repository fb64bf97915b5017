"""How a server collects garbage: seldom, because nothing else runs meanwhile, the webhooks included.

Python looks through all objects whenever many have come since the last time. While tens of thousands of
objects are read into caches that is every few seconds, for 50 to 100 ms each time, and finds next to nothing:
what has no cycles is freed without it.
"""

import gc
from typing import Final

_YOUNG: Final = 10_000
"""New objects until the youngest are looked through: a millisecond's work. Python's own is 700."""

_MIDDLE: Final = 20
_OLD: Final = 50
"""How often the next younger ones are looked through until it is the older ones' turn. Python's own is 10."""


def collect_seldom() -> None:
    """Set it so for this process; call it once, when all modules are loaded: they are not looked at again."""
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
