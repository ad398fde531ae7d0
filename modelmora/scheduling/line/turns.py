"""Whose turn it is among principals that wait for the same: who has had least of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from typing import Any, Generic, Protocol, TypeVar


class Holds(Protocol):
    """Something with works, or without any now."""

    @property
    def count(self) -> int:
        """How many works."""


T = TypeVar("T", bound=Holds)
_STALE_ENTRIES = 1024


class Rising(Generic[T]):
    """A heap of things whose keys only rise: an entry is put right when it comes up.

    So whatever raises a key needs not know of the heap. A thing that has nothing is
    dropped when it comes up, and when such may be the larger part. Every operation is O(log n)
    amortised.
    """

    __slots__ = ("_drop", "_entries", "_key", "_limit", "_numbers")

    def __init__(self, key: Callable[[T], Any], drop: Callable[[T], None]) -> None:
        self._key = key
        self._drop = drop
        self._entries: list[tuple[Any, int, T]] = []
        self._numbers = 0  # of equal keys the first that came, as things have no order
        self._limit = _STALE_ENTRIES

    def __iter__(self) -> Iterator[T]:
        return (thing for _, _, thing in self._entries)

    def push(self, thing: T) -> None:
        """Add a thing that is not there, and has something."""
        if len(self._entries) >= self._limit:
            self.sweep()
            self._limit = 2 * len(self._entries) + _STALE_ENTRIES
        self._numbers += 1
        heappush(self._entries, (self._key(thing), self._numbers, thing))

    def first(self) -> T | None:
        """The thing with the lowest key; None where there is none."""
        entries = self._entries
        while entries:
            was, number, thing = entries[0]
            key = self._key(thing)
            if key != was:
                heapreplace(entries, (key, number, thing))
            elif thing.count:
                return thing
            else:
                heappop(entries)
                self._drop(thing)
        return None

    def sweep(self) -> None:
        """Drop all that have nothing."""
        before = self._entries
        self._entries = [entry for entry in before if entry[2].count]
        heapify(self._entries)
        for _, _, thing in before:
            if not thing.count:
                self._drop(thing)


class Clock:
    """Virtual time (ms), at which accounts begin, so that who comes has no claims from before.

    Start-time fair queueing (Goyal, Vin and Cheng 1996): the account with the lowest tag is served,
    and its tag rises by the cost. There the time is the lowest tag that waits, and newcomers
    without end would hold it still, and all others up; so here it also runs: by the cost divided
    among all that wait, as far as the tag that the one served has then.
    """

    __slots__ = ("most", "now", "waiting")

    def __init__(self) -> None:
        self.now = 0.0
        self.most = 0.0
        """The most that was served at once."""
        self.waiting = 0
        """How many accounts wait."""

    def reach(self, tag: float) -> None:
        """No tag that waits is lower."""
        self.now = max(self.now, tag)

    def served(self, tag: float, cost: float, waiting: int) -> None:
        """The account with this lowest tag was served, and took this much, while so many waited."""
        self.now = max(self.now, min(self.now + cost / waiting, tag + cost))
        self.most = max(self.most, cost)


class Account:
    """What one principal has had of something shared: its tag in virtual time (ms)."""

    __slots__ = ("clock", "count", "credit", "principal", "tag")

    def __init__(self, principal: str, clock: Clock) -> None:
        self.principal = principal
        self.clock = clock
        self.tag = 0.0
        self.credit = 0.0
        self.count = 0
        """How many of its works wait."""

    def begin(self) -> None:
        """One of its works waits, as none did before: nothing that it did not use is due to it."""
        clock = self.clock
        self.tag = max(self.tag, clock.now)
        if not clock.waiting:
            clock.reach(self.tag)
        clock.waiting += 1
        self.count = 1

    def less(self, count: int = 1) -> None:
        """So many wait no more."""
        self.count -= count
        if not self.count:
            self.clock.waiting -= 1

    def charge(self, cost: float) -> None:
        """It has had this much more; less than nothing is credit, for the tag never falls."""
        cost -= self.credit
        self.credit = max(0.0, -cost)
        self.tag += max(0.0, cost)


class Given:
    """What principals were given of something that is given out seldom, such as room.

    Tags as of an `Account`, but all that wait are looked through each time.
    """

    __slots__ = ("_clock", "_tags")

    def __init__(self) -> None:
        self._clock = Clock()
        self._tags: dict[str, float] = {}

    def ahead(self, principal: str) -> int:
        """How far it is beyond its share, in steps of the two costliest; of less no matter is made.

        For whose turn it is exactly is worth less than what serves most.
        """
        most = self._clock.most
        return int((self._tag(principal) - self._clock.now) / (2 * most)) if most else 0

    def give(self, principal: str, cost: float, waiting: Collection[str]) -> None:
        """It is given this much, while these wait, itself too; who is not ahead is forgotten."""
        self._clock.reach(min(map(self._tag, waiting)))
        start = self._tag(principal)
        self._clock.served(start, cost, len(waiting))
        self._tags[principal] = start + cost
        self._tags = {name: tag for name, tag in self._tags.items() if tag > self._clock.now}

    def _tag(self, principal: str) -> float:
        return max(self._tags.get(principal, 0.0), self._clock.now)
