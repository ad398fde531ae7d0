"""How old the oldest open request is: by when it was appended, whatever ends in which order."""

from __future__ import annotations

from modelmora.agents.partitions.ages import SLACK, Ages
from modelmora.agents.partitions.intake import Intake
from modelmora.testing.fakes import FakeRecord
from tests.unit.agents.intakes import A, B, intake


def begin(taken: Intake, ages: Ages, at: tuple[str, int], offset: int, time_ms: int) -> FakeRecord:
    record = FakeRecord(*at, offset, timestamp=time_ms, epoch=1)
    assert taken.begin(record)
    ages.began(record)
    return record


def test_the_oldest_of_all_partitions_is_told_until_it_is_answered() -> None:
    taken = intake()
    ages = Ages(taken)
    assert ages.oldest_ms("normal") is None
    first = begin(taken, ages, A, 0, 1000)
    second = begin(taken, ages, A, 1, 2000)
    other = begin(taken, ages, B, 0, 1500)
    assert (ages.oldest_ms("normal"), ages.oldest_ms("high")) == (1000, None)
    taken.done(second)
    assert ages.oldest_ms("normal") == 1000
    taken.done(first)
    assert ages.oldest_ms("normal") == 1500
    taken.done(other)
    assert ages.oldest_ms("normal") is None


def test_what_goes_to_another_node_is_forgotten() -> None:
    taken = intake()
    ages = Ages(taken)
    begin(taken, ages, A, 0, 1000)
    begin(taken, ages, B, 0, 1500)
    taken.revoke([A])
    assert ages.oldest_ms("normal") == 1500


def test_nothing_is_kept_of_what_is_answered_though_nobody_asks() -> None:
    taken = intake()
    ages = Ages(taken)
    for offset in range(1000):
        taken.done(begin(taken, ages, A, offset, offset))
    assert len(ages._begun[A]) <= 1


def test_nothing_is_kept_behind_one_that_takes_long() -> None:
    taken = intake()
    ages = Ages(taken)
    begin(taken, ages, A, 0, 7)
    for offset in range(1, 1000):
        taken.done(begin(taken, ages, A, offset, 1000 + offset))
    assert len(ages._begun[A]) <= 2 * 2 + SLACK
    assert ages.oldest_ms("normal") == 7
