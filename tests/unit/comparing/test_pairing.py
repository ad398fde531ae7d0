"""Which outcomes belong together, and which requests are chosen to be asked again."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from modelmora.comparing import Pairing, Sample
from tests.unit.comparing.outcomes import outcome

ROOM = 1 << 40


def test_the_outcomes_of_one_request_are_a_pair() -> None:
    pairing = Pairing()
    pairing.candidate("a", outcome("1"))
    pairing.baseline("a", outcome("2"))
    pairing.baseline("b", outcome("3"))
    pairing.candidate("c", outcome("4"))
    ((request_id, baseline, candidate),) = pairing.pairs()
    assert (request_id, baseline.parts, candidate.parts) == ("a", ("2",), ("1",))
    assert pairing.baselines == {"a", "b"}
    assert pairing.candidates == {"a", "c"}


def test_the_highest_run_counts_and_of_one_run_the_first() -> None:
    pairing = Pairing()
    for run, text in ((1, "first"), (2, "second"), (2, "again"), (1, "late")):
        pairing.baseline("a", outcome(text, run=run))
    pairing.candidate("a", outcome("x"))
    ((_, baseline, _),) = pairing.pairs()
    assert baseline.parts == ("second",)


def chosen(ids: list[str], count: int) -> set[str]:
    sample = Sample[int](count, ROOM)
    for number, each in enumerate(ids):
        sample.offer(each, 1, number)
    return set(sample.kept())


@given(st.lists(st.text(), max_size=60), st.integers(1, 20), st.randoms(use_true_random=False))
def test_the_same_are_chosen_in_whatever_order_and_however_often_they_come(
    ids: list[str], count: int, chance: random.Random
) -> None:
    first = chosen(ids, count)
    assert len(first) == min(count, len(set(ids)))
    again = [*ids, *ids]
    chance.shuffle(again)
    assert chosen(again, count) == first


def test_they_are_chosen_evenly() -> None:
    kept = chosen([f"id-{number}" for number in range(10_000)], 1000)
    halves = [sum(int(each[3:]) // 2500 == part for each in kept) for part in range(4)]
    assert all(200 < each < 300 for each in halves)


def test_more_than_there_is_room_for_are_not_kept() -> None:
    sample = Sample[str](10, 30)
    for number in range(100):
        sample.offer(f"id-{number}", 7, "what")
    assert len(sample.kept()) == 4
    assert sample.cut
    assert sample.seen == 100
    # The same as were chosen if only four were wanted.
    assert set(sample.kept()) == chosen([f"id-{number}" for number in range(100)], 4)


def test_what_fits_is_not_cut() -> None:
    sample = Sample[str](2, 20)
    for number in range(100):
        sample.offer(f"id-{number}", 1, "what")
    assert not sample.cut


def test_the_first_of_an_id_stays() -> None:
    sample = Sample[str](2, 20)
    sample.offer("a", 1, "first")
    sample.offer("a", 1, "second")
    assert sample.kept() == {"a": "first"}
    assert sample.seen == 1
