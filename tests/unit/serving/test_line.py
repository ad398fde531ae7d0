"""Those who wait are told where they stand, again as the line moves, and not too often."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from modelmora.scheduling import Position
from modelmora.serving.line import MOST_TOLD
from modelmora.testing.fakes import incoming
from tests.unit.serving.rig import Hall

RUN_MS = 1000.0


def told(hall: Hall) -> list[str]:
    """Who was told where it stands, in order, since this was asked last."""
    hall.service.line.tell()
    found = [request_id for what, request_id, _ in hall.told if what == "accepted"]
    hall.told.clear()
    return found


def line_up(hall: Hall, count: int) -> None:
    """The first runs, the others wait behind it, each with settings of its own."""
    hall.service.accept(incoming("first", "sleep", parameters={"ms": 5.0}))
    hall.workers.loaded()
    hall.workers.answer(run_ms=RUN_MS)
    hall.service.accept(incoming("busy", "sleep"))
    for number in range(count):
        request = incoming(f"r{number}", "sleep", parameters={"ms": 1.0 + number}, tell=True)
        hall.service.accept(request)
    hall.service.line.tell()


async def test_it_is_told_that_its_model_is_being_loaded_until_it_is(hall: Hall) -> None:
    hall.service.accept(incoming("r1", "sleep", tell=True))
    hall.service.line.tell()
    assert hall.outcomes.positions["r1"] == Position(0, None, loading=True)
    for number in (2, 3):
        request = incoming(f"r{number}", "sleep", tell=True, parameters={"ms": float(number)})
        hall.service.accept(request)
        hall.service.line.tell()
        assert hall.outcomes.positions[f"r{number}"] == Position(number - 1, None, loading=True)
    hall.workers.loaded()
    hall.service.line.look()
    assert hall.outcomes.positions["r3"] == Position(2, None)


async def test_it_is_told_again_when_the_line_has_moved(hall: Hall) -> None:
    line_up(hall, 3)
    assert hall.outcomes.positions["r2"].ahead == 3
    told(hall)
    hall.service.line.look()
    assert told(hall) == [], "nothing has moved"
    hall.workers.answer(1, run_ms=RUN_MS)
    hall.service.line.look()
    assert told(hall) == ["r1", "r2"]
    assert hall.outcomes.positions["r2"].ahead == 2


async def test_nobody_is_told_who_did_not_ask(hall: Hall) -> None:
    line_up(hall, 0)
    for number in range(3):
        hall.service.accept(incoming(f"q{number}", "sleep", parameters={"ms": 9.0 + number}))
    told(hall)
    hall.workers.answer(1, run_ms=RUN_MS)
    hall.service.line.look()
    assert told(hall) == []


async def test_so_many_are_told_at_one_look_the_first_first(hall: Hall) -> None:
    line_up(hall, MOST_TOLD + 20)
    told(hall)
    for number in range(1, 61):
        hall.workers.answer(number, run_ms=RUN_MS)
    hall.service.line.look()
    assert told(hall) == [f"r{number}" for number in range(60, MOST_TOLD + 20)]


async def test_a_line_of_thousands_is_told_some_forty_times(hall: Hall) -> None:
    line_up(hall, 200)
    for number in range(1, 201):
        hall.workers.answer(number, run_ms=RUN_MS)
        hall.service.line.look()
    counts = [request_id for what, request_id, _ in hall.told if what == "accepted"]
    assert counts.count("r199") < 45


async def test_a_frozen_child_is_seen_in_the_estimate(hall: Hall) -> None:
    line_up(hall, 1)
    group = hall.workers.groups[-1]
    hall.service.listener.on_started(group.replica, group.id)
    before = hall.outcomes.positions["r0"].wait_s
    hall.time.now += 60
    hall.service.line.look()
    after = hall.outcomes.positions["r0"].wait_s
    assert before is not None
    assert after == pytest.approx(59)


async def test_looking_ends_with_the_line_and_with_the_service(hall: Hall) -> None:
    line_up(hall, 1)
    assert hall.service.line.looks
    hall.workers.answer(1, run_ms=RUN_MS)
    hall.service.line.look()
    assert not hall.service.line.looks
    hall.service.accept(incoming("r1", "sleep", parameters={"ms": 7.0}, tell=True))
    assert hall.service.line.looks
    hall.service.close()
    assert not hall.service.line.looks


async def test_what_came_with_it_and_passes_it_is_in_the_first_that_is_told(hall: Hall) -> None:
    """Those that join a group ahead start with it, though they came later."""
    line_up(hall, 0)
    for request_id, ms in (("a1", 1.0), ("b", 2.0), ("a2", 1.0), ("a3", 1.0)):
        request = incoming(request_id, "sleep", parameters={"ms": ms}, tell=True)
        hall.service.accept(request)
    assert told(hall) == ["a1", "b", "a2", "a3"]
    run_s = RUN_MS / 1000
    waits_s = {each: hall.outcomes.positions[each].wait_s for each in ("a1", "a3", "b")}
    assert waits_s == pytest.approx({"a1": run_s, "a3": run_s, "b": 4 * run_s})


async def test_it_is_told_after_a_moment_by_itself(hall: Hall) -> None:
    line_up(hall, 0)
    hall.service.accept(incoming("r1", "sleep", parameters={"ms": 7.0}, tell=True))
    async with asyncio.timeout(60):
        while "r1" not in hall.outcomes.positions:  # noqa: ASYNC110 - a timer tells it
            await asyncio.sleep(0.001)


async def test_who_has_begun_is_told_that_it_waited_first(hall: Hall) -> None:
    line_up(hall, 0)
    request = incoming("r1", "sleep", parameters={"ms": 7.0}, tell=True)
    request.head = replace(request.head, progress=True)
    hall.service.accept(request)
    hall.workers.answer(1, run_ms=RUN_MS)
    group = hall.workers.groups[-1]
    hall.service.listener.on_started(group.replica, group.id)
    assert [what for what, request_id, _ in hall.told if request_id == "r1"] == [
        "accepted",
        "started",
    ]
    assert told(hall) == ["r1"], "once"


async def test_who_has_its_outcome_is_not_told_that_it_waits(hall: Hall) -> None:
    line_up(hall, 0)
    request = incoming("r1", "sleep", parameters={"ms": 7.0}, tell=True)
    hall.service.accept(request)
    request.ended = True
    assert told(hall) == []
