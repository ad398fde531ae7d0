"""The newest of what lies on a topic, a page at a time; no more of it is kept than a page needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappush, heapreplace
from typing import Generic, TypeVar

from modelmora.kafka.reading.reader import Record

T = TypeVar("T")
Key = tuple[int, int, int]
"""Time (Unix ms), partition and offset of a record: later ones are greater."""
SPAN_MS, WIDER = 3_600_000, 8
"""How far back is looked first, and how many times as far where that was not enough."""


def key_of(record: Record) -> Key:
    """By what a record is newer than another."""
    return record.timestamp, record.partition, record.offset


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """The newest first; the next page begins `before` that key, where it is not None."""

    items: tuple[T, ...]
    before: Key | None = None


class Newest(Generic[T]):
    """Keeps the newest of what it is given and is older than `before`: `most` of them."""

    def __init__(self, most: int, before: Key | None = None) -> None:
        self._most = most
        self._before = before
        self._kept: list[tuple[Key, T]] = []
        self._more = False

    def take(self, key: Key, item: T) -> None:
        """Keep it, or the others; no key may be given twice."""
        if self._before is not None and key >= self._before:
            return
        if len(self._kept) < self._most:
            heappush(self._kept, (key, item))
            return
        self._more = True
        if key > self._kept[0][0]:
            heapreplace(self._kept, (key, item))

    def page(self, limit: int, counts: Callable[[T], bool]) -> Page[T]:
        """The newest `limit` of those that count."""
        kept = sorted(self._kept, key=lambda each: each[0], reverse=True)
        found = [each for each in kept if counts(each[1])]
        items = tuple(item for _, item in found[:limit])
        if len(found) > limit:
            return Page(items, found[limit - 1][0])
        return Page(items, kept[-1][0] if self._more else None)


def page(
    limit: int,
    before: Key | None,
    since: int | None,
    read: Callable[[int | None, Newest[T]], Callable[[T], bool]],
) -> Page[T]:
    """A page of what was written `since` (Unix ms; None: at any time), in as many looks as needed.

    `read` looks from a time on (None: from the first record), gives all that it finds to what it
    is handed, and says which of it counts once all is read.
    """
    newest = before[0] if before else time.time_ns() // 1_000_000
    span = SPAN_MS
    while True:
        whole = newest - span <= (since or 0)
        found = Newest[T](2 * limit + 1, before)
        told = found.page(limit, read(since if whole else newest - span, found))
        if told.before or whole:
            return told
        span *= WIDER
