"""Free ports on the loopback address."""

import contextlib
import os
import random
import socket

# Below the range that the kernel gives to outgoing connections (from 32768 on), also with the
# companion added: a port that is free now cannot be taken by some client's connection meanwhile.
FIRST, LAST = 11_000, 22_000


def free_ports(count: int, *, companion: int = 0, chooser: random.Random | None = None) -> list[int]:
    """Return `count` different free ports of 127.0.0.1; with `companion`, port+companion is free, too.

    Nothing holds them until the caller's program does; OSError if there are none.
    """
    chooser = chooser or random.Random(os.urandom(8))  # noqa: S311 - nothing secret depends on it
    found: list[int] = []
    for port in chooser.sample(range(FIRST, LAST), 2_000):
        if _is_free(port) and (not companion or _is_free(port + companion)):
            found.append(port)
            if len(found) == count:
                return found
    raise OSError(f"no {count} free ports on 127.0.0.1 between {FIRST} and {LAST}")


def _is_free(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
