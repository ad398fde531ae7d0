"""Pages of the newest: none missed, none twice, and no more read or kept than a page needs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END
from hypothesis import given
from hypothesis import strategies as st

from modelmora.kafka.reading.newest import SPAN_MS, Key, Newest, key_of, page
from modelmora.kafka.reading.reader import Place, Record

NOW = time.time_ns() // 1_000_000
AGES = st.one_of(
    st.integers(-SPAN_MS, 5), st.integers(0, 2 * SPAN_MS), st.integers(0, 400 * 24 * SPAN_MS)
)


class Log:
    """Partitions in memory, whose records have the times that their writers gave them."""

    def __init__(self, *partitions: list[int]) -> None:
        self.partitions = partitions
        self.read_places = list[Key]()

    @property
    def places(self) -> list[Place]:
        return [("t", number) for number in range(len(self.partitions))]

    def written(self) -> list[Key]:
        return [
            (at, number, offset)
            for number, times in enumerate(self.partitions)
            for offset, at in enumerate(times)
        ]

    def since(self, places: Iterable[Place], milliseconds: int | None) -> dict[Place, int]:
        if milliseconds is None:
            return dict.fromkeys(places, OFFSET_BEGINNING)
        return {
            place: next(
                (n for n, at in enumerate(self.partitions[place[1]]) if at >= milliseconds),
                OFFSET_END,
            )
            for place in places
        }

    def read(
        self, starts: Mapping[Place, int], until: Mapping[Place, int] | None = None
    ) -> Iterator[Record]:
        for place, start in starts.items():
            times = self.partitions[place[1]]
            end = (until or {}).get(place, len(times))
            for offset in range(max(start, 0), end) if start != OFFSET_END else ():
                record = Record("t", place[1], offset, times[offset], None, None, ())
                self.read_places.append(key_of(record))
                yield record


def take(record: Record, found: Newest[Key]) -> None:
    found.take(key_of(record), key_of(record))


@given(
    st.lists(st.lists(AGES, max_size=12), min_size=1, max_size=3),
    st.sets(st.integers(0, 11)),
    st.integers(1, 5),
)
def test_all_pages_together_are_all_that_counts(
    ages: list[list[int]], gone: set[int], limit: int
) -> None:
    """In whatever order their times lie, and whichever of them turn out to be purged."""
    log = Log(*([NOW - age for age in partition] for partition in ages))
    told, before = list[Key](), None
    for _ in range(100):
        log.read_places.clear()
        part = page(log, log.places, limit, take, lambda key: key[2] not in gone, before=before)
        assert len(log.read_places) == len(set(log.read_places))
        assert len(part.items) <= limit
        told += part.items
        before = part.before
        if before is None:
            break
    assert before is None
    assert told == sorted((key for key in log.written() if key[2] not in gone), reverse=True)


@pytest.mark.parametrize("count", [1, 100_000])
def test_of_many_only_what_a_page_needs_is_kept(count: int) -> None:
    found = Newest[int](5)
    for offset in range(count):
        found.take((offset, 0, offset), offset)
        assert len(found._kept) <= 5
    told = found.page(2, lambda _: True)
    assert told.items == ((0,) if count == 1 else (99_999, 99_998))
    assert told.before == (None if count == 1 else (99_998, 0, 99_998))


def test_of_a_long_log_only_the_end_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: NOW * 1_000_000)
    log = Log([NOW - (1000 - n) * SPAN_MS // 10 for n in range(1000)])
    assert len(page(log, log.places, 3, take).items) == 3
    assert len(log.read_places) < 15
    log.read_places.clear()
    found = page(log, log.places, 500, take, since=NOW - SPAN_MS)
    assert len(found.items) == len(log.read_places) == 10
