"""A trace from requests and outcomes: what was computed at once, what it took, and no content."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from modelmora.messages import Lane, RequestHead, Status, Timings
from modelmora.scheduling import Policy
from modelmora.simulate import Cost, Simulation, Trace, lines_of
from modelmora.simulate.invent import Invention, invent
from modelmora.simulate.record import Outcome, Recording, Request, record

KNOWN = {"m@1": Cost(load_s=2.0, bytes=7)}


def asked(number: int, at_s: float, model: str = "m", **parameters: float) -> Request:
    head = RequestHead(f"r{number}", model, None, parameters, 9000, False, 1)
    return Request(("t", 0, number), round(at_s * 1000), Lane.HIGH, 40 + number, "ann", head)


def answered(number: int, spent: Timings, status: Status = Status.COMPLETED) -> Outcome:
    return Outcome(("t", 0, number), "m@1", status, spent)


def one(*ends: tuple[float, float, float], loaded: Sequence[int] = ()) -> Recording:
    """Requests by (asked at, answered at, computed for), seconds."""
    requests = [asked(number, at) for number, (at, _, _) in enumerate(ends)]
    outcomes = [
        answered(
            number,
            Timings(
                1000 * (end - at - seconds),
                1000.0 if number in loaded else 0.0,
                1000 * seconds,
                1000 * (end - at),
            ),
        )
        for number, (at, end, seconds) in enumerate(ends)
    ]
    return record(requests, outcomes, KNOWN)


def test_what_lies_on_the_topics_without_content() -> None:
    made = record(
        [asked(0, 100, prompt=1), asked(1, 100.5, "m@1"), asked(2, 101, prompt=1)],
        [answered(0, Timings(1, 2, 30, 33)), answered(2, Timings(0, 0, 0, 5), Status.EXPIRED)],
        KNOWN,
    )
    head, *lines = lines_of(made.trace)
    assert head.startswith('{"models":{"m@1":{"load_s":2.0,"bytes":7,')
    told = '"model":"m@1","lane":"high","size":{},"units":0.03,"principal":"ann","timeout_ms":9000'
    assert lines == [
        f'{{"time":0.0,{told.format(40)}}}',
        f'{{"time":0.5,{told.format(41)},"kind":"1"}}',
        f'{{"time":1.0,{told.format(42)}}}',
    ]


def test_what_was_refused_or_has_no_model_is_left_out() -> None:
    made = record(
        [asked(0, 1), asked(1, 2), asked(2, 3, "stranger")],
        [answered(0, Timings(), Status.REFUSED), answered(1, Timings(0, 0, 5, 5))],
        {},
    )
    assert (len(made.trace.requests), made.unknown) == (1, 1)
    assert made.trace.models["m@1"].bytes is None
    assert record([], [], {}) == Recording(Trace({}, []), 0)


def test_equal_times_were_computed_at_once() -> None:
    """A batch of one in 0.3 s, one of three in 0.5 s: 0.2 s and 0.1 s each."""
    made = one((0, 0.3, 0.3), (1, 1.5, 0.5), (1, 1.5, 0.5), (1, 1.5, 0.5))
    cost = made.trace.models["m@1"]
    assert (cost.batch, cost.slots, cost.unit_s) == (3, None, 1.0)
    assert cost.base_s == pytest.approx(0.2)
    assert [each.units for each in made.trace.requests] == pytest.approx([0.1] * 4)


def test_what_passes_between_two_counts_but_no_load_and_no_rest() -> None:
    ends = [(0.0, 1.0, 1.0), (0.1, 2.1, 1.0001), (0.2, 3.2, 1.0002), (9, 10, 1.0003)]
    assert one(*ends).trace.models["m@1"].base_s == pytest.approx(0.1, abs=0.001)
    ends.append((9.5, 15, 1.0004))
    assert one(*ends, loaded=[4]).trace.models["m@1"].base_s == pytest.approx(0.1, abs=0.001)


def test_side_by_side_are_slots() -> None:
    made = one(*((0, 3 + step / 100, 3 + step / 100) for step in range(4)))
    assert made.trace.models["m@1"].slots == 4
    assert made.trace.requests[3].units == pytest.approx(3.03)


def test_a_recording_of_a_simulation_simulates_alike() -> None:
    """What a simulated node tells of a trace, recorded, comes to the same waits and loads."""
    trace = invent(Invention(models=3, rate=6, seconds=200, seed=5))
    policy = Policy(cores=2, budget_bytes=2_500_000_000)
    played = Simulation(trace, policy).play()
    requests, outcomes = [], []
    for number, (each, wait) in enumerate(zip(trace.requests, played.waits, strict=True)):
        assert wait is not None
        seconds = trace.models[each.model].seconds(each.units) * (1 + number * 1e-9)
        spent = Timings(1000 * wait, 0, 1000 * seconds, 1000 * (wait + seconds))
        place = ("t", 0, number)
        head = RequestHead("r", each.model)
        at_ms = round(each.time * 1000)
        requests.append(Request(place, at_ms, each.lane, each.size, each.principal, head))
        outcomes.append(Outcome(place, each.model, Status.COMPLETED, spent))
    again = Simulation(record(requests, outcomes, trace.models).trace, policy).play()
    assert [name for _, name in again.loads] == [name for _, name in played.loads]
    assert again.waits == pytest.approx(played.waits, abs=0.05)


def test_equal_times_by_chance_are_two_batches() -> None:
    made = one((0, 0.3, 0.3), (1, 1.3, 0.3), (2, 2.4, 0.4), (2, 2.4, 0.4))
    cost = made.trace.models["m@1"]
    assert cost.batch == 2
    assert cost.base_s == pytest.approx(0.2)
