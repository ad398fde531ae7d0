"""The newest of what lies on a topic, a page at a time; no more of it is kept than a page needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappush, heapreplace
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar

from confluent_kafka import OFFSET_END

from modelmora.kafka.reading.reader import Place, Record

T = TypeVar("T")
Key = tuple[int, int, int]
"""Time (Unix ms), partition and offset of a record: later ones are greater."""
SPAN_MS, WIDER = 60_000, 8
"""How far back is looked first, and how many times as far where that was not enough."""


def key_of(record: Record) -> Key:
    """By what a record is newer than another."""
    return record.timestamp, record.partition, record.offset


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """The newest first; the next page begins `before` that key, where it is not None."""

    items: tuple[T, ...]
    before: Key | None = None


class Looking(Protocol):
    """What reads topics; see `Reader`."""

    def since(self, places: Iterable[Place], milliseconds: int | None) -> dict[Place, int]:
        """Where to start so as to meet all records from a Unix time on (None: from the first)."""

    def read(
        self, starts: Mapping[Place, int], until: Mapping[Place, int] = MappingProxyType({})
    ) -> Iterator[Record]:
        """All records from `starts` on that are there now and lie before `until`."""


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
    reader: Looking,
    places: Sequence[Place],
    limit: int,
    take: Callable[[Record, Newest[T]], None],
    counts: Callable[[T], bool] = lambda _: True,
    *,
    since: int | None = None,
    before: Key | None = None,
) -> Page[T]:
    """A page of what was written `since` (Unix ms; None: at any time), from `before` on back.

    It looks further and further back until the page is full, and reads nothing twice. `take` is
    shown each record; what it keeps is told where it `counts`, which is asked between looks.

    What was found of an earlier time than a look goes back to may not be all of that time: so
    the page must not reach there yet.
    """
    newest, span = before[0] if before else time.time_ns() // 1_000_000, SPAN_MS
    found, read = Newest[T](2 * limit + 1, before), dict[Place, int]()
    while True:
        start = newest - span
        whole = start <= (since or 0)
        starts = reader.since(places, since if whole else start)
        for record in reader.read(starts, read):
            take(record, found)
        told = found.page(limit, counts)
        if whole or (told.before and told.before[0] >= start):
            return told
        read |= {place: at for place, at in starts.items() if at != OFFSET_END}
        span *= WIDER
