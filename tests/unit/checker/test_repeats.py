"""A repeat needs a fault: its outcome was not committed, or its work had been started."""

from __future__ import annotations

import pytest

from tests.checker import Fault, Outcome, Place, Sample
from tests.checker.repeats import repeated, unexplained

LANE = "m.requests.normal"
KILL = Fault("node killed", at=20.0, started=1)


def _outcome(at: int, source: int, appended: float) -> Outcome:
    place = Place(LANE, 0, source)
    return Outcome(Place("m.results", 0, at), f"id-{source}", "COMPLETED", "", place, appended)


def _commit(offset: int, after: float, at: float) -> Sample:
    return Sample({(LANE, 0): offset}, {}, after, at)


SAMPLES = (
    _commit(0, 0.0, 1.0),
    _commit(5, 14.0, 14.5),
    _commit(6, 17.0, 17.5),
    _commit(9, 21.0, 21.5),
)


def _unexplained(*appended: float, faults: tuple[Fault, ...] = (KILL,)) -> int:
    outcomes = [_outcome(at, 7, when) for at, when in enumerate(appended)]
    return len(list(unexplained(outcomes, SAMPLES, faults)))


@pytest.mark.parametrize(
    ("first", "again", "count"),
    [
        (19.9, 25.0, 0),  # newer than the last commit before the kill
        (16.5, 25.0, 0),  # on its way when that commit was made
        (15.0, 25.0, 1),  # older: told in its metadata
        (19.0, 19.9, 1),  # again before anything was killed
    ],
)
def test_what_was_committed_is_not_repeated(first: float, again: float, count: int) -> None:
    assert _unexplained(first, again) == count


def test_what_a_commit_passed_is_not_repeated_however_new() -> None:
    outcomes = [_outcome(at, 5, when) for at, when in enumerate((17.4, 25.0))]
    assert len(list(unexplained(outcomes, SAMPLES, (KILL,)))) == 1


def test_nothing_is_repeated_without_a_fault() -> None:
    assert _unexplained(19.9, 25.0, faults=()) == 1


def test_the_latest_fault_that_can_explain_it_does() -> None:
    later = Fault("node frozen", at=24.0, started=0)
    assert _unexplained(19.9, 25.0, faults=(KILL, later)) == 0
    # Of what came after the kill, the second fault finds it in a commit.
    assert _unexplained(19.5, 25.0, faults=(later,)) == 1


def test_of_what_ends_twice_after_the_fault_no_more_than_was_started() -> None:
    pairs = [_outcome(at, 7 + at // 2, 21.0 + at % 2) for at in range(4)]
    assert len(repeated(pairs)) == 2
    (told,) = unexplained(pairs, SAMPLES, (KILL,))
    assert told.startswith("2 began before node killed")
    assert list(unexplained(pairs[:2], SAMPLES, (KILL,))) == []


def test_before_the_first_commit_all_may_be_missing() -> None:
    outcomes = (_outcome(0, 7, 1.0), _outcome(1, 7, 25.0))
    assert list(unexplained(outcomes, (), (KILL,))) == []
