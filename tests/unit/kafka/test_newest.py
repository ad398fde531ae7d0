"""Pages of the newest: none missed, none twice, and no more kept than a page needs."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora.kafka.reading.newest import SPAN_MS, Key, Newest, page

NOW = time.time_ns() // 1_000_000
AGES = st.one_of(st.integers(0, 5), st.integers(0, 2 * SPAN_MS), st.integers(0, 400 * 24 * SPAN_MS))


@given(
    st.lists(st.tuples(AGES, st.integers(0, 2)), max_size=40),
    st.sets(st.integers(0, 40)),
    st.integers(1, 5),
)
def test_all_pages_together_are_all_that_counts(
    ages: list[tuple[int, int]], gone: set[int], limit: int
) -> None:
    """However they lie, and whichever of them turn out to be purged."""
    keys = [(NOW - age, partition, offset) for offset, (age, partition) in enumerate(ages)]
    looks = 0

    def read(start: int | None, found: Newest[Key]) -> Callable[[Key], bool]:
        nonlocal looks
        looks += 1
        for key in keys:
            if start is None or key[0] >= start:
                found.take(key, key)
        return lambda key: key[2] not in gone

    told, before = list[Key](), None
    while True:
        part = page(limit, before, None, read)
        assert len(part.items) <= limit
        told += part.items
        before = part.before
        if before is None:
            break
        assert looks < 1000
    assert told == sorted((key for key in keys if key[2] not in gone), reverse=True)


@pytest.mark.parametrize("count", [1, 100_000])
def test_of_many_only_what_a_page_needs_is_kept(count: int) -> None:
    found = Newest[int](5)
    for offset in range(count):
        found.take((offset, 0, offset), offset)
        assert len(found._kept) <= 5
    told = found.page(2, lambda _: True)
    assert told.items == ((0,) if count == 1 else (99_999, 99_998))
    assert told.before == (None if count == 1 else (99_998, 0, 99_998))


def test_what_is_new_is_found_without_reading_all() -> None:
    starts = list[int | None]()

    def read(start: int | None, found: Newest[int]) -> Callable[[int], bool]:
        starts.append(start)
        for offset in range(10):
            found.take((NOW - offset, 0, offset), offset)
        return lambda _: True

    assert page(3, None, None, read).items == (0, 1, 2)
    assert starts[0] is not None
    assert len(starts) == 1
    assert page(30, None, NOW - 100, read).items == tuple(range(10))
    assert starts[1:] == [NOW - 100]
