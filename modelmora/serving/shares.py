"""How much of a partition the requests of one model hold that were read and are not answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from math import inf

from modelmora.scheduling import ModelKey, Work

SHARE = 4
"""One model may hold so small a part of what a partition may: a quarter."""

Place = tuple[Hashable, ModelKey]


class Shares:
    """What each model holds on each partition, in requests and bytes."""

    def __init__(self, requests: float = inf, size: float = inf) -> None:
        """What a partition may hold in all."""
        self._requests = requests / SHARE
        self._size = size / SHARE
        self._count: Counter[Place] = Counter()
        self._bytes: Counter[Place] = Counter()

    def is_full(self, work: Work) -> bool:
        """Whether the work's model holds its share of the work's partition without it."""
        place = work.partition, work.model
        return self._count[place] >= self._requests or self._bytes[place] >= self._size

    def enter(self, work: Work) -> None:
        """The work is open here."""
        place = work.partition, work.model
        self._count[place] += 1
        self._bytes[place] += work.size

    def leave(self, work: Work) -> None:
        """It has its outcome, or is another node's."""
        place = work.partition, work.model
        self._count[place] -= 1
        self._bytes[place] -= work.size
