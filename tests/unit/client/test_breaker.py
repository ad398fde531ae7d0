"""The breaker lets calls through, rests, and lets one probe."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelmora.client.breaker import Breaker, State


def test_opens_after_failures_in_a_row_and_lets_one_probe() -> None:
    breaker = Breaker(limit=2, rest_s=1.0).failed(0.0)
    assert breaker.state is State.CLOSED
    breaker = breaker.failed(5.0)
    assert breaker.asked(5.9) is None
    probing = breaker.asked(6.0)
    assert probing is not None
    assert probing.state is State.HALF_OPEN
    assert probing.asked(9.0) is None
    assert probing.failed(7.0).asked(7.9) is None
    assert probing.abandoned().asked(7.0) == probing
    assert probing.succeeded() == Breaker(limit=2, rest_s=1.0)


@given(st.lists(st.tuples(st.sampled_from("asfx"), st.floats(0, 3))))
def test_always_lets_a_call_through_again(steps: list[tuple[str, float]]) -> None:
    breaker, now, probes = Breaker(), 0.0, 0
    for kind, passed in steps:
        now += passed
        if kind == "a":
            asked = breaker.asked(now)
            if asked is not None and asked.state is State.HALF_OPEN:
                assert probes == 0
                probes = 1
            breaker = asked or breaker
            continue
        probes = 0
        ends = {"s": breaker.succeeded(), "f": breaker.failed(now), "x": breaker.abandoned()}
        breaker = ends[kind]
    if breaker.state is State.HALF_OPEN:
        breaker = breaker.failed(now)
    assert breaker.asked(now + 2 * breaker.rest_s) is not None
