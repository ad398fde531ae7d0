"""The breaker lets calls through, rests, and lets one probe."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

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


class Machine(RuleBasedStateMachine):
    """A breaker beside what is to be true of it: calls under way, failures in a row, times."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker()
        self.now = 0.0
        self.row = 0
        self.probing = False

    @rule(passed=st.floats(0, 3))
    def time_passes(self, passed: float) -> None:
        self.now += passed

    @rule()
    def a_call_comes(self) -> None:
        asked = self.breaker.asked(self.now)
        if self.breaker.state is State.CLOSED:
            assert asked == self.breaker
        elif self.probing:
            assert asked is None, "one probe at a time"
        elif self.now - self.breaker.opened_s >= self.breaker.rest_s:
            assert asked
            self.probing = True
        else:
            assert asked is None, "it rests"
        self.breaker = asked or self.breaker

    @rule()
    def a_call_is_answered(self) -> None:
        self.breaker, self.row, self.probing = self.breaker.succeeded(), 0, False
        assert self.breaker.state is State.CLOSED

    @rule()
    def a_call_fails(self) -> None:
        self.row += 1
        before, self.breaker = self.breaker, self.breaker.failed(self.now)
        if before.state is State.OPEN:
            assert self.breaker == before, "what was under way as it opened adds nothing"
        self.probing = False

    @precondition(lambda self: self.probing)
    @rule()
    def who_probes_leaves(self) -> None:
        self.breaker, self.probing = self.breaker.abandoned(), False
        assert self.breaker.asked(self.now)

    @invariant()
    def state_and_history_agree(self) -> None:
        closed = self.breaker.state is State.CLOSED
        assert closed == (self.row < self.breaker.limit)
        assert self.probing == (self.breaker.state is State.HALF_OPEN)

    @invariant()
    def a_call_goes_through_again_some_day(self) -> None:
        settled = self.breaker.failed(self.now) if self.probing else self.breaker
        assert settled.asked(self.now + 2 * settled.rest_s)


TestBreaker = Machine.TestCase
TestBreaker.settings = settings(max_examples=50, stateful_step_count=30)
