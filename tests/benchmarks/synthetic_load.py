"""A larger database of plain text and random bytes: no two values are alike, so neighbours do not compress.

Its keys are named as a cluster's, and its churn is of the same kind: leases renewed each ten seconds, nodes'
reports every five minutes, three of a hundred pods replaced by others one by one, events that go with their
lease after an hour, and a compaction every five minutes.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from benchmarks.etcd_load import Compact, Delete, Grant, Operation, Put, Revoke
from benchmarks.kubernetes_parts import hexadecimal, prose, secret_text, words

_TICKS: Final = 60
_COMPACTIONS: Final = (15, 45)
_REPLACED: Final = 0.03
_LEASES: Final = 60
_SHORT_LIVED: Final = 150
_TEXTS: Final = 400


@dataclass(frozen=True)
class Size:
    """How large a database is: pods, which are replaced; what stays; and nodes that report."""

    pods: int
    others: int
    nodes: int

    @classmethod
    def full(cls) -> "Size":
        """Return one of about 330 MB."""
        return cls(pods=25_000, others=45_000, nodes=300)

    @classmethod
    def gigabyte(cls) -> "Size":
        """Return one of about 1 GB, to see how much memory a backup needs."""
        return cls(pods=75_000, others=135_000, nodes=300)


class SyntheticLoad:
    """Makes the operations; the same seed makes the same operations."""

    def __init__(self, seed: int, size: Size) -> None:
        self._random = Random(seed)
        self._size = size
        self._namespaces = [words(self._random, 2) for _ in range(100)]
        self._texts = [prose(self._random, 3000) for _ in range(_TEXTS)]
        self._pods: list[bytes] = []
        self._renewals = [self._value(200) for _ in range(size.nodes)]
        self._reports = [self._value(12_000) for _ in range(size.nodes)]
        self._number = 0
        self._lease = 0
        self._living: deque[int] = deque()

    def initial(self) -> Iterator[Operation]:
        """Fill an empty etcd."""
        kinds = ["pods"] * self._size.pods + ["configmaps", "secrets"] * (self._size.others // 2)
        self._random.shuffle(kinds)
        for kind in kinds:
            key = self._key(kind)
            if kind == "pods":
                self._pods.append(key)
            yield Put(key, self._value(self._length()))
        for _ in range(_LEASES):
            yield from self._minute()

    def ten_minutes(self) -> Iterator[Operation]:
        """Go on for ten minutes."""
        random = self._random
        replaced = random.sample(range(len(self._pods)), int(_REPLACED * len(self._pods)))
        each = -(-len(replaced) // _TICKS)
        for tick in range(_TICKS):
            if tick in _COMPACTIONS:
                yield Compact()
            if tick % (_TICKS // 10) == 0:
                yield from self._minute()
            stamp = hexadecimal(random, 16).encode()
            for number, renewal in enumerate(self._renewals):
                yield Put(b"/registry/leases/kube-node-lease/%d" % number, stamp + renewal)
            for number in range(tick % (_TICKS // 2), len(self._reports), _TICKS // 2):
                yield Put(b"/registry/minions/%d" % number, stamp + self._reports[number])
            for position in replaced[tick * each : (tick + 1) * each]:
                yield Delete(self._pods[position])
                self._pods[position] = self._key("pods")
                yield Put(self._pods[position], self._value(self._length()))

    def _minute(self) -> Iterator[Operation]:
        if len(self._living) == _LEASES:
            yield Revoke(self._living.popleft())
        self._lease += 1
        self._living.append(self._lease)
        yield Grant(self._lease)
        for _ in range(_SHORT_LIVED):
            yield Put(self._key("events"), self._value(700), self._lease)

    def _key(self, kind: str) -> bytes:
        self._number += 1
        return f"/registry/{kind}/{self._random.choice(self._namespaces)}/{self._number}".encode()

    def _length(self) -> int:
        """Return a length between 0.5 and 60 kB, 4.7 kB on average: most values are small."""
        return min(
            60_000, int(500 + self._random.expovariate(1 / 1400) + self._random.paretovariate(1.1) * 400)
        )

    def _value(self, length: int) -> bytes:
        """Return one half text and one half what does not compress."""
        half = length // 2
        start = self._random.randrange(2000)
        text = "".join(self._random.choices(self._texts, k=half // 1000 + 1))[start : start + half]
        return (text + secret_text(self._random, length - len(text))).encode()
