"""The broker's clock as this node knows it: no client's and no node's wall clock decides."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from math import inf

_HALF_S = 30.0


class BrokerClock:
    """The newest broker timestamps of the last minute, plus the monotonic time since.

    All topics carry LogAppendTime, so every record read and every acknowledged write tells the
    broker's time of some moment in the past; the largest difference to our monotonic clock is the
    best estimate. It is kept per partition, for brokers may disagree and one may lie: what is
    ahead of the truth harms only its own partition, for a minute at most.

    A partition that is read late knows only the past. So acknowledgements of writes, which tell
    the present, give an estimate for all: the smallest of the partitions written to, since only
    a time that none of them contradicts may end a request elsewhere. A partition's time is the
    later of the two. Before the first timestamp there is no time, and nothing expires.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._read = _Estimates()
        self._written = _Estimates()
        self._all = -inf

    def heard(self, unix_ms: int, partition: Hashable) -> None:
        """The timestamp, Unix milliseconds, of a record read from the partition."""
        self._read.add(unix_ms, partition, self._monotonic())

    def acknowledged(self, unix_ms: int, partition: Hashable) -> None:
        """The timestamp, Unix milliseconds, of a record just written to the partition."""
        if self._written.add(unix_ms, partition, self._monotonic()):
            self._all = min(self._written.best.values())

    def now_ms(self, partition: Hashable = None) -> float:
        """The broker's time, Unix milliseconds: a partition's, or the one that holds for all.

        Minus infinity before the first timestamp.
        """
        return self._ahead_ms(partition) + self._monotonic() * 1000

    def monotonic_at(self, unix_ms: float, partition: Hashable) -> float:
        """When, in monotonic seconds, the clock of the partition shows that time."""
        return (unix_ms - self._ahead_ms(partition)) / 1000

    def _ahead_ms(self, partition: Hashable) -> float:
        return max(self._read.best.get(partition, -inf), self._all)


class _Estimates:
    """How far broker timestamps are ahead of our monotonic clock, ms: the largest per key.

    `best` is that of the present half minute and the one before. Halves are turned when something
    is heard, so what was known before a long silence holds until there is something newer.
    """

    def __init__(self) -> None:
        self.best: dict[Hashable, float] = {}
        self._half: dict[Hashable, float] = {}
        self._until = -inf

    def add(self, unix_ms: int, key: Hashable, now: float) -> bool:
        """Take a timestamp; whether any estimate may have changed."""
        turned = now >= self._until
        if turned:
            recent = now < self._until + _HALF_S
            self.best, self._half = (self._half if recent else {}), {}
            self._until = (self._until if recent else now) + _HALF_S
        ahead = unix_ms - now * 1000
        if ahead <= self._half.get(key, -inf):
            return turned
        self._half[key] = ahead
        self.best[key] = max(ahead, self.best.get(key, -inf))
        return True
