"""The real scheduler under a simulated clock: small traces by hand, and what always holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelmora.errors import Code
from modelmora.messages import Lane
from modelmora.scheduling import Policy
from modelmora.simulate import Asked, Cost, Played, Simulation, Trace
from modelmora.simulate.children import EXIT_S
from modelmora.simulate.invent import Invention, invent
from modelmora.simulate.report import outlook

ONE = Cost(load_s=2, bytes=100, unit_s=0.5)


def play(
    models: dict[str, Cost], *requests: Asked, most_open: int | None = None, cores: int = 1
) -> Played:
    policy = Policy(budget_bytes=100, cores=cores)
    return Simulation(Trace(models, requests), policy, most_open=most_open).play()


def waits(played: Played) -> list[float | None]:
    return [None if wait is None else round(wait, 6) for wait in played.waits]


def test_one_after_the_other_behind_the_load() -> None:
    played = play({"a": ONE}, *[Asked(at, "a") for at in (0, 0, 1, 9)])
    assert waits(played) == [2, 2.5, 2, 0]
    assert played.loads == [(0, "a")]
    assert played.end == 9.5
    assert played.memory == [(0, 0), (0, 100)]


def test_the_more_urgent_first() -> None:
    lanes = {10.0: Lane.NORMAL, 10.1: Lane.LOW, 10.2: Lane.CRITICAL}
    asked = [Asked(at, "a", lane) for at, lane in lanes.items()]
    assert waits(play({"a": ONE}, Asked(0, "a"), *asked)) == [2, 0, 0.9, 0.3]


def test_principals_share_a_lane() -> None:
    """Who asks once does not wait for all of who has asked for hundreds of groups."""
    policy = Policy(budget_bytes=100, group_requests=1)
    many = [Asked(10, "a", principal="ann") for _ in range(20)]
    trace = Trace({"a": ONE}, [Asked(0, "a"), *many, Asked(10.1, "a", principal="bob")])
    assert (Simulation(trace, policy).play().waits[-1] or 0) < 2


def test_in_batches() -> None:
    cost = Cost(load_s=1, bytes=1, base_s=1, unit_s=0.1, batch=3)
    asked = [Asked(0, "a", units=units) for units in (1, 2, 3, 4)]
    played = play({"a": cost}, *asked)
    assert waits(played) == [1, 1, 1, 2.6]
    assert played.end == pytest.approx(4)


def test_a_swap_waits_for_the_memory() -> None:
    played = play({"a": ONE, "b": ONE}, Asked(0, "a"), Asked(10, "b"), Asked(20, "a"))
    assert waits(played) == [2, 2 + EXIT_S, 2 + EXIT_S]
    assert [name for _, name in played.loads] == ["a", "b", "a"]
    assert [held for _, held in played.memory] == [0, 100, 0, 100, 0, 100]


def test_slots_are_worked_on_side_by_side() -> None:
    cost = Cost(load_s=1, bytes=1, unit_s=1, slots=2)
    played = play({"a": cost}, *[Asked(0, "a", units=units) for units in (3, 1, 1)])
    assert waits(played) == [1, 1, 2]
    assert played.end == 4


def test_cores_are_shared() -> None:
    """Two compute beside each other at half the speed, the rest of the longer one at full speed."""
    cost = Cost(load_s=1, bytes=1, unit_s=1, cores=True)
    played = play({"a": cost, "b": cost}, Asked(0, "a", units=4), Asked(0, "b"), cores=2)
    assert played.end == pytest.approx(1 + 2 + 3)
    played = play(
        {"a": cost, "b": replace(cost, cores=False)}, Asked(0, "a", units=4), Asked(0, "b")
    )
    assert played.end == pytest.approx(5)


def test_who_is_late_is_told_and_not_computed() -> None:
    asked = [Asked(0, "a"), Asked(0, "a", timeout_ms=1000), Asked(0, "a", timeout_ms=2200)]
    played = play({"a": ONE}, *asked)
    assert waits(played) == [2, None, None]
    assert played.codes == {1: Code.EXPIRED, 2: Code.EXPIRED}
    assert played.end == 2.5


def test_what_has_no_room_is_refused() -> None:
    played = play({"a": replace(ONE, bytes=101)}, Asked(0, "a"))
    assert played.codes == {0: Code.CANNOT_BE_SERVED}


def test_what_is_not_read_waits_too() -> None:
    played = play({"a": ONE}, *[Asked(0, "a")] * 3, most_open=1)
    assert (waits(played), played.most_open) == ([2, 2.5, 3], 1)


REQUESTS = st.lists(
    st.builds(
        Asked,
        st.integers(0, 300).map(lambda tenths: tenths / 10),
        st.sampled_from("abcd"),
        st.sampled_from(Lane),
        st.integers(0, 2000),
        st.integers(0, 40).map(lambda tenths: tenths / 10),
        timeout_ms=st.none() | st.integers(100, 20_000),
        kind=st.sampled_from(["", "x"]),
    ),
    min_size=1,
    max_size=40,
).map(lambda asked: sorted(asked, key=lambda each: each.time))
MODELS = {
    "a": Cost(load_s=1, bytes=40, unit_s=0.2),
    "b": Cost(load_s=3, bytes=60, base_s=0.5, unit_s=0.05, batch=4),
    "c": Cost(load_s=2, bytes=30, unit_s=0.5, slots=3),
    "d": Cost(load_s=0.5, bytes=100, unit_s=0.1, cores=True),
}


@pytest.mark.no_cover
@settings(max_examples=60, deadline=None)
@given(REQUESTS, st.sampled_from([100, 130, 230]))
def test_nothing_is_lost_and_memory_is_kept(asked: list[Asked], budget: int) -> None:
    trace = Trace(MODELS, asked)
    policy = Policy(cores=2, budget_bytes=budget, ageing_s=10)
    played = Simulation(trace, policy).play()
    for number, (each, wait) in enumerate(zip(asked, played.waits, strict=True)):
        assert (wait is None) == (number in played.codes)
        assert wait is None or 0 <= wait <= (each.timeout_ms or 600_000) / 1000
    assert set(played.codes.values()) <= {Code.EXPIRED}
    assert played.most_held <= budget
    assert len(played.loads) >= len({each.model for each in asked} - _unmet(asked, played))
    again = Simulation(trace, policy).play()
    assert again == played


def _unmet(asked: list[Asked], played: Played) -> set[str]:
    """Models of which no request was answered."""
    answered = {asked[n].model for n, wait in enumerate(played.waits) if wait is not None}
    return {each.model for each in asked} - answered


@settings(max_examples=60, deadline=None)
@given(REQUESTS)
def test_a_child_does_not_rest_while_its_work_waits(asked: list[Asked]) -> None:
    """One model, one at a time: each begins when it comes, or when one before it ends."""
    mine = [replace(each, model="a", timeout_ms=None, kind="") for each in asked]
    cost = MODELS["a"]
    played = Simulation(Trace({"a": cost}, mine), Policy(budget_bytes=100)).play()
    begins = sorted(
        (each.time + (wait or 0), cost.seconds(each.units))
        for each, wait in zip(mine, played.waits, strict=True)
    )
    free = mine[0].time + (cost.load_s or 0)
    for came, (begin, seconds) in zip(sorted(each.time for each in mine), begins, strict=True):
        assert begin == pytest.approx(max(free, came))
        free = begin + seconds


def test_more_memory_means_fewer_loads_and_the_outlook_says_so() -> None:
    trace = invent(Invention(models=6, rate=2, seconds=300))
    small, large = (outlook(trace, Policy(cores=2), gib << 30) for gib in (5, 32))
    assert large.loads == len({asked.model for asked in trace.requests})
    assert large.loads == large.fifo_loads == large.belady_loads < small.loads
    assert small.belady_loads <= small.fifo_loads
    assert (large.waits.mean or 0) < (small.waits.mean or 0)
    assert small.waits.requests == sum(each.requests for each in small.by_model.values())
    assert small.mean_held <= small.most_held <= 5 << 30
