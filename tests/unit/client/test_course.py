"""When a call is made again, how long it waits for that, and when no more."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora.client.course import LONGEST_S, Budget, Course
from modelmora.client.errors import CallError, DeadlineExceeded, GatewayUnreachable
from modelmora.client.options import Options
from modelmora.errors import Invalid
from modelmora.gateway.outcomes import answer_of
from modelmora.web.problems import DoorCode

GONE = GatewayUnreachable("unreachable", "gone")
BUSY = CallError("busy", "full", retry_after_ms=1000)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def course(
    clock: Clock, budget: Budget | None = None, chance: float = 1.0, **options: float
) -> Course:
    given: Options = Options(**options)  # type: ignore[arg-type]
    return Course(given, None, budget or Budget(), clock=clock, chance=lambda: chance)


def test_waits_grow_and_are_drawn() -> None:
    one = course(Clock())
    assert [one.pause_s(GONE) for _ in range(7)] == [0.1, 0.2, 0.4, 0.8, 1.6, LONGEST_S, LONGEST_S]
    assert one.pause_s(GONE) is None
    assert course(Clock(), chance=0).pause_s(GONE) == 0


def test_a_gateway_that_names_a_time_is_not_asked_before() -> None:
    assert course(Clock(), chance=0).pause_s(BUSY) == 1
    assert course(Clock(), chance=1).pause_s(BUSY) == 1.25
    assert course(Clock(), timeout_s=0.9).pause_s(BUSY) is None


def test_what_is_heard_begins_the_count_anew() -> None:
    one = course(Clock(), attempts=2)
    for _ in range(5):
        assert one.pause_s(GONE) is not None
        one.heard()
    assert one.pause_s(GONE) is not None
    assert one.pause_s(GONE) is None


def test_what_cannot_help_is_not_repeated() -> None:
    assert course(Clock()).pause_s(CallError("out_of_memory", "")) is None
    assert course(Clock()).pause_s(DeadlineExceeded("expired", "")) is None


@pytest.mark.parametrize("code", DoorCode)
def test_where_a_door_names_a_time_of_its_own_the_call_is_repeated(code: DoorCode) -> None:
    names_one = answer_of(code).retry_after_ms is not None
    assert CallError(code, "").again is names_one


def test_refusals_are_repeated_as_the_budget_has_it() -> None:
    budget = Budget()
    repeated = [course(Clock(), budget).pause_s(BUSY) is not None for _ in range(1000)]
    assert all(repeated[:100])
    assert 295 <= sum(repeated) <= 305
    assert course(Clock(), budget).pause_s(GONE) is not None, "another gateway costs nothing"


def test_the_time_is_over_for_all_attempts_together() -> None:
    clock = Clock()
    one = course(clock, timeout_s=10, patience_s=2)
    assert (one.left_s(), one.patience_s) == (10, 2)
    clock.now = 10
    with pytest.raises(DeadlineExceeded, match="within 10 s"):
        one.left_s()
    patience = {60: 2, 4: 1, 0.1: 0.5}
    assert {each: course(clock, timeout_s=each).patience_s for each in patience} == patience
    for timeout_s in (0, -1, math.nan):
        with pytest.raises(Invalid):
            course(clock, timeout_s=timeout_s)
    assert Course(Options(), math.inf, Budget(), clock=clock).left_s() == math.inf


@given(st.lists(st.sampled_from([GONE, BUSY]), max_size=30), st.floats(0, 1))
def test_no_call_is_made_more_often_than_the_attempts_say(
    errors: list[CallError], chance: float
) -> None:
    one, made = course(Clock(), chance=chance), 1
    for error in errors:
        if (pause := one.pause_s(error)) is None:
            break
        assert 0 <= pause <= max(LONGEST_S, 1.25)
        made += 1
    assert made <= 8
