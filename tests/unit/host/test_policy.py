"""What follows the end of a part."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora.host.policy import (
    DEATHS_TO_GIVE_UP,
    LONGEST_PAUSE_S,
    Decision,
    Exit,
    GiveUp,
    History,
    PassOn,
    Restart,
    after_exit,
)

CRASH = Exit(code=-9, ready=False, lived_s=1.0)
STEADY = Exit(code=-9, ready=True, lived_s=60.0)
SHORT = Exit(code=-9, ready=True, lived_s=0.5)


def follow(exits: list[Exit]) -> list[Decision]:
    history = History()
    decisions: list[Decision] = []
    for exit_ in exits:
        history, decision = after_exit(history, exit_, own_broker=True)
        decisions.append(decision)
    return decisions


def test_pauses_double_up_to_the_longest() -> None:
    decisions = follow([SHORT] * 8)
    pauses = [each.after_s for each in decisions if isinstance(each, Restart)]
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])


def test_a_steady_run_ends_the_row() -> None:
    assert follow([SHORT, SHORT, STEADY, SHORT])[2:] == [Restart(0.1), Restart(0.2)]


def test_gives_up_after_deaths_without_having_been_ready() -> None:
    decisions = follow([STEADY] + [CRASH] * DEATHS_TO_GIVE_UP)
    assert all(isinstance(each, Restart) for each in decisions[:-1])
    assert decisions[-1] == GiveUp(DEATHS_TO_GIVE_UP)


def test_having_been_ready_starts_the_count_anew() -> None:
    row: list[Exit] = [CRASH] * (DEATHS_TO_GIVE_UP - 1)
    assert not any(isinstance(each, GiveUp) for each in follow([*row, SHORT, *row]))


@pytest.mark.parametrize(
    ("code", "own_broker", "passed_on"),
    [(2, True, True), (2, False, True), (4, False, True), (4, True, False), (1, False, False)],
)
def test_a_first_start_that_says_why_is_passed_on(
    code: int, own_broker: bool, passed_on: bool
) -> None:
    _, decision = after_exit(History(), Exit(code, False, 1.0), own_broker=own_broker)
    assert (decision == PassOn(code)) is passed_on


def test_the_same_code_later_is_a_death_like_any_other() -> None:
    history, _ = after_exit(History(), STEADY, own_broker=False)
    _, decision = after_exit(history, Exit(4, False, 1.0), own_broker=False)
    assert isinstance(decision, Restart)


exits = st.builds(Exit, st.integers(-64, 255), st.booleans(), st.floats(0, 1e6))


@given(st.lists(exits, max_size=40), st.booleans())
def test_pauses_are_bounded_and_ten_in_a_row_are_the_end(row: list[Exit], own_broker: bool) -> None:
    history, unready = History(), 0
    for exit_ in row:
        history, decision = after_exit(history, exit_, own_broker=own_broker)
        unready = 0 if exit_.ready else unready + 1
        match decision:
            case Restart(pause):
                assert 0 < pause <= LONGEST_PAUSE_S
                assert unready < DEATHS_TO_GIVE_UP
            case GiveUp(deaths):
                assert deaths == unready >= DEATHS_TO_GIVE_UP
            case PassOn(code):
                assert code in (2, 4)
                assert not history.ever_ready
