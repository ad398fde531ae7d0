"""The brokers' clocks as this node knows them: no client's and no node's wall clock decides."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from math import inf

_HALF_S = 30.0


class BrokerClock:
    """The newest broker timestamps of the last minute, plus the monotonic time since.

    All topics carry LogAppendTime, so every record read and every acknowledged write tells the
    time of some broker at some moment in the past; the largest difference to our monotonic clock is
    the best estimate. Brokers may disagree and one may be wrong, so a deadline is judged by the
    clock of the broker that stamped the request, as its partition and its leader tell it:

    A partition's records tell it. A later record with an earlier time shows that what was known was
    ahead, or that the clock was put right: it is forgotten.
    One that is read late tells the past only. Acknowledgements tell the present, of the broker that
    leads the partition written to, so of all that it leads; a partition's time is the later of the
    two. Where partitions of one leader differ, the earliest counts. Of a broker that acknowledged
    nothing the earliest of the others does, where two at least have: one alone never ends requests
    of another. `leads` says who leads a partition now;
    while nobody knows that, all are taken for one. Before the first timestamp there is no time, and
    nothing expires.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        leads: Callable[[Hashable], Hashable] = lambda _: None,
    ) -> None:
        self._monotonic = monotonic
        self._leads = leads
        self._read = _Estimates()
        self._written = _Estimates()
        self._told: dict[Hashable, float] = {}

    def heard(self, unix_ms: int, partition: Hashable, offset: int | None = None) -> None:
        """The timestamp, Unix milliseconds, of the record at this offset of the partition."""
        self._read.add(unix_ms, partition, self._monotonic(), offset)

    def acknowledged(self, unix_ms: int, partition: Hashable, offset: int | None = None) -> None:
        """The timestamp, Unix milliseconds, of a record just written to the partition."""
        if self._written.add(unix_ms, partition, self._monotonic(), offset):
            told: dict[Hashable, float] = {}
            for each, ahead in self._written.best.items():
                leader = self._leads(each)
                told[leader] = min(ahead, told.get(leader, inf))
            self._told = told

    def now_ms(self, partition: Hashable = None) -> float:
        """The broker's time, Unix milliseconds: a partition's, or what none contradicts.

        Minus infinity before the first timestamp.
        """
        return self._ahead_ms(partition) + self._monotonic() * 1000

    def monotonic_at(self, unix_ms: float, partition: Hashable) -> float:
        """When, in monotonic seconds, the clock of the partition shows that time."""
        return (unix_ms - self._ahead_ms(partition)) / 1000

    def _ahead_ms(self, partition: Hashable) -> float:
        least = min(self._told.values(), default=-inf)
        if partition is None:
            return least
        alone = -inf if len(self._told) == 1 else least
        told = self._told.get(self._leads(partition), alone)
        return max(self._read.best.get(partition, -inf), told)


class _Estimates:
    """How far broker timestamps are ahead of our monotonic clock, ms: the largest per key.

    `best` is that of the present half minute and the one before. Halves are turned when something
    is heard, so what was known before a long silence holds until there is something newer.
    """

    def __init__(self) -> None:
        self.best: dict[Hashable, float] = {}
        self._half: dict[Hashable, float] = {}
        self._last: dict[Hashable, tuple[int, int]] = {}
        self._until = -inf

    def add(self, unix_ms: int, key: Hashable, now: float, offset: int | None) -> bool:
        """Take a timestamp of the record at that offset; whether any estimate may have changed."""
        if unix_ms <= 0:  # what a topic says that does not carry it
            return False
        turned = now >= self._until
        if turned:
            recent = now < self._until + _HALF_S
            self.best, self._half = (self._half if recent else {}), {}
            self._until = (self._until if recent else now) + _HALF_S
        if offset is not None and self._is_back(unix_ms, key, offset):
            self.best.pop(key, None)
            self._half.pop(key, None)
        ahead = unix_ms - now * 1000
        if ahead <= self._half.get(key, -inf):
            return turned
        self._half[key] = ahead
        self.best[key] = max(ahead, self.best.get(key, -inf))
        return True

    def _is_back(self, unix_ms: int, key: Hashable, offset: int) -> bool:
        """Whether the record has an earlier time than one before it."""
        before, at_ms = self._last.get(key, (-1, 0))
        if offset <= before:  # read again
            return False
        self._last[key] = offset, unix_ms
        return unix_ms < at_ms
