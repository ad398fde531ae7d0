"""A request that would rather be refused than expire is told `busy`, as far as anybody knows."""

from __future__ import annotations

import pytest

from modelmora.errors import Code
from modelmora.scheduling import Position
from modelmora.serving.line import SOONEST_MS, busy
from modelmora.testing.fakes import incoming
from tests.unit.serving.rig import Hall

RUN_MS = 1000.0


def ask(hall: Hall, name: str, timeout_ms: int, *, or_busy: bool = True) -> list[str]:
    """What it was told at once."""
    request = incoming(name, "sleep", parameters={"ms": 7.0}, timeout_ms=timeout_ms)
    request.or_busy = or_busy
    hall.service.accept(request)
    return [code for _, told, code in hall.told if told == name]


def line_up(hall: Hall, count: int) -> None:
    """One was seen to take a second; one runs, the others wait behind it."""
    hall.service.accept(incoming("first", "sleep", parameters={"ms": 5.0}))
    hall.workers.loaded()
    hall.workers.answer(run_ms=RUN_MS)
    for number in range(count):
        hall.service.accept(incoming(f"r{number}", "sleep", parameters={"ms": 10.0 + number}))


async def test_what_would_not_start_in_time_is_refused_at_once(hall: Hall) -> None:
    line_up(hall, 10)
    assert ask(hall, "late", 4000) == [Code.BUSY]
    assert ask(hall, "in time", 60_000) == []


async def test_who_did_not_ask_for_it_waits(hall: Hall) -> None:
    line_up(hall, 10)
    assert ask(hall, "patient", 4000, or_busy=False) == []


async def test_nobody_is_refused_by_a_wait_that_nobody_knows(hall: Hall) -> None:
    for number in range(10):
        hall.service.accept(incoming(f"r{number}", "sleep", parameters={"ms": 10.0 + number}))
    assert ask(hall, "unknown", 1) == []


async def test_asked_again_it_is_in_line_once_that_is_short_enough(hall: Hall) -> None:
    line_up(hall, 3)
    assert ask(hall, "late", 1500) == [Code.BUSY]
    for number in range(1, 4):
        hall.workers.answer(number, run_ms=RUN_MS)
    hall.told.clear()
    assert ask(hall, "late", 1500) == []


@pytest.mark.parametrize(
    ("wait_s", "left_s", "retry_ms"),
    [
        (None, 1, None),
        (1, 1, None),
        (0.5, 1, None),
        (9, 4, 5000),
        (1.001, 1, SOONEST_MS),
        (None, -3600, None),
        (9, -3600, None),
    ],
)
def test_the_time_to_ask_again_is_by_how_much_it_is_late(
    wait_s: float | None, left_s: float, retry_ms: int | None
) -> None:
    told = busy(Position(3, wait_s), left_s)
    assert (told and told.retry_after_ms) == retry_ms
    assert told is None or told.code is Code.BUSY
