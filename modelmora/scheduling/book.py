"""The works that still owe an outcome, by id and by deadline."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import count

from modelmora.scheduling.line.work import Work

_STALE_ENTRIES = 1024


class Book:
    """Every open work, once; all operations are O(log n) amortised.

    Deadlines are a heap of (deadline, order). Entries of works that have ended stay until they
    come up, or until they are the larger part; they hold no works, so no request lives on in them.
    """

    __slots__ = ("_by_id", "_by_order", "_deadlines", "_orders")

    def __init__(self) -> None:
        self._orders = count(1)
        self._by_order: dict[int, Work] = {}
        self._by_id: dict[str, list[Work]] = {}
        self._deadlines: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._by_order)

    def __iter__(self) -> Iterator[Work]:
        return iter(self._by_order.values())

    def __contains__(self, work: Work) -> bool:
        return self._by_order.get(work.order) is work

    def open(self, work: Work) -> None:
        """Enter the work and give it its place in the order of arrival."""
        work.order = next(self._orders)
        self._by_order[work.order] = work
        twins = self._by_id.get(work.request_id)
        if twins is None:
            self._by_id[work.request_id] = [work]
        else:
            twins.append(work)
        if work.deadline is not None:
            heappush(self._deadlines, (work.deadline, work.order))

    def close(self, work: Work) -> None:
        """Strike the work out; it is open."""
        del self._by_order[work.order]
        twins = self._by_id[work.request_id]
        if len(twins) == 1:
            del self._by_id[work.request_id]
        else:
            twins.remove(work)
        if len(self._deadlines) > 2 * len(self._by_order) + _STALE_ENTRIES:
            self._deadlines = [entry for entry in self._deadlines if entry[1] in self._by_order]
            heapify(self._deadlines)

    def find(self, request_id: str) -> tuple[Work, ...]:
        """All open works of that id: the same id may have been sent more than once."""
        return tuple(self._by_id.get(request_id, ()))

    def next_deadline(self) -> float:
        """The earliest deadline of an open work (monotonic s); infinity if there is none."""
        while self._deadlines and self._deadlines[0][1] not in self._by_order:
            heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else float("inf")

    def expired(self, now: float) -> list[Work]:
        """The open works whose deadline has come, earliest first; the caller closes them."""
        found: list[Work] = []
        while self.next_deadline() <= now:
            found.append(self._by_order[heappop(self._deadlines)[1]])
        return found
