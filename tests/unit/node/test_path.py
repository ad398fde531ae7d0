"""The watchdog: what counts as stuck."""

from __future__ import annotations

import pytest
from modelmora.node.watchdog import Watchdog

from modelmora.agents.ledger import Partition

P, Q = ("lane", 0), ("lane", 1)


@pytest.fixture
def watchdog() -> Watchdog:
    return Watchdog(30)


def look(
    watchdog: Watchdog,
    now: float,
    at: int,
    *,
    first: int = 0,
    end: int = 10,
    gated: set[Partition] | None = None,
) -> Partition | None:
    return watchdog.stuck({P: (first, end), Q: (0, 0)}, {P: at, Q: 0}, gated or set(), now)


def test_records_that_nobody_reads(watchdog: Watchdog) -> None:
    assert look(watchdog, 0, 5) is None
    assert look(watchdog, 29, 5) is None
    assert look(watchdog, 30, 5) == P


def test_a_position_that_moves(watchdog: Watchdog) -> None:
    assert [look(watchdog, 29.0 * i, i) for i in range(9)] == [None] * 9


def test_nothing_to_read(watchdog: Watchdog) -> None:
    assert [look(watchdog, 31.0 * i, 10) for i in range(3)] == [None] * 3


def test_deleted_by_retention(watchdog: Watchdog) -> None:
    assert [look(watchdog, 31.0 * i, 3, first=10) for i in range(3)] == [None] * 3


def test_a_gated_partition(watchdog: Watchdog) -> None:
    assert [look(watchdog, 31.0 * i, 5, gated={P}) for i in range(3)] == [None] * 3
    assert look(watchdog, 100, 5) is None, "the gate has just opened"
    assert look(watchdog, 130, 5) == P
