"""What may be begun of partitions whose owners died, and when."""

from __future__ import annotations

import pytest

from modelmora.agents.partitions.care import QUIET_S, Care
from modelmora.agents.partitions.suspects import WIDTH, Suspects
from modelmora.testing.fakes import FakeTime
from tests.unit.agents.intakes import A, B, intake, record

ME, OTHER = b"\0\0\0\0", b"that"
TWO = Suspects(1, 0, owner=OTHER)
"""Of an owner that died as the second: the next is careful."""
FEW = Suspects(2, 500, 20, begun=True, owner=OTHER)
ONCE = Suspects(3, 500, 1, begun=True, owner=OTHER)
TWICE = ONCE._replace(tries=1)


class Ward:
    """A node with two partitions, whose commits are taken when the test says so."""

    def __init__(self) -> None:
        self.time = FakeTime()
        self.intake = intake()
        self.care = Care(self.intake, ME, self.time)
        self.asked = 0
        self.care.commit = self.on_commit

    def on_commit(self) -> None:
        self.asked += 1

    def take(self) -> None:
        """The group takes what is to be committed."""
        commits = self.intake.to_commit(5)
        self.intake.on_committed(commits)
        self.care.confirmed(commits)

    def begins(self, offset: int, partition: tuple[str, int] = A) -> bool:
        """Whether the record there is begun, as reading does it that goes back where it has to."""
        self.intake.follows(partition, 1, self.intake.next_offset(partition) or 0)
        if not self.care.lets(partition, offset):
            return False
        return self.intake.begin(record(offset, partition=partition[1]))

    def ends(self, offset: int, partition: tuple[str, int] = A) -> None:
        self.intake.done(record(offset, partition=partition[1]))

    def told(self, offset: int, partition: tuple[str, int] = A) -> bool:
        """Whether it is begun once it was told."""
        assert not self.begins(offset, partition)
        self.care.look()
        self.take()
        return partition not in self.intake.gated and self.begins(offset, partition)


@pytest.fixture
def ward() -> Ward:
    return Ward()


def test_who_follows_the_first_that_died_goes_on_as_ever_but_tells(ward: Ward) -> None:
    ward.care.take_over(A, None, 100)
    assert not ward.care.active
    ledger = ward.intake.ledger(A)
    assert ledger
    assert ledger.suspects == Suspects(1, 100, owner=ME)


def test_a_few_are_begun_at_a_time_and_told_before(ward: Ward) -> None:
    ward.care.take_over(A, TWO._replace(until=100), 1_000)
    assert ward.care.active
    assert not ward.begins(0)
    assert A in ward.intake.gated
    ward.care.look()
    assert not ward.begins(0), "it is not told yet"
    ward.take()
    assert A not in ward.intake.gated
    assert all(ward.begins(offset) for offset in range(WIDTH))
    assert not ward.begins(WIDTH)
    ward.care.look()
    ward.take()
    assert not ward.begins(WIDTH), "none of the others is done"
    for offset in range(10):
        ward.ends(offset)
    ward.care.look()
    ward.take()
    assert all(ward.begins(WIDTH + n) for n in range(10))
    assert not ward.begins(WIDTH + 10)


def test_it_says_why_little_is_begun(ward: Ward) -> None:
    assert ward.care.why is None
    ward.care.take_over(A, TWO._replace(until=100), 1_000)
    assert ward.care.why == (
        "owners of 1 of its partitions died in a row: it begins 128 requests of each"
    )
    ward.care.take_over(B, ONCE, 1_000)
    assert ward.care.why
    assert "of 2 of its partitions" in ward.care.why
    assert ward.care.why.endswith("one request at a time on the whole node")
    ward.care.drop([A, B])
    assert ward.care.why is None


def test_the_other_partitions_go_on_beside_a_few(ward: Ward) -> None:
    ward.care.take_over(A, TWO._replace(until=100), 1_000)
    assert ward.told(0)
    assert ward.begins(0, B)


def test_behind_what_was_suspected_all_goes_on_as_ever(ward: Ward) -> None:
    ward.care.take_over(A, FEW, 20)
    for offset in range(20):
        assert ward.told(offset)
        ward.ends(offset)
    ward.care.look()
    assert not ward.care.active
    assert ward.begins(20)
    assert ward.begins(21)


def test_what_is_begun_alone_waits_for_all_that_is_open(ward: Ward) -> None:
    assert ward.begins(0, B)
    ward.care.take_over(A, ONCE._replace(deaths=2, mark=20), 100)
    assert not ward.told(0)
    assert not ward.begins(1, B), "nothing else is begun"
    ward.ends(0, B)
    ward.care.look()
    ward.take()
    assert ward.begins(0)
    assert not ward.begins(1)
    assert not ward.begins(1, B)
    ward.care.look()
    assert not ward.begins(1, B)
    ward.ends(0)
    assert ward.told(1)


def test_two_partitions_take_turns(ward: Ward) -> None:
    for partition in (A, B):
        ward.care.take_over(partition, ONCE._replace(deaths=2, mark=20), 100)
    assert not ward.begins(0)
    assert not ward.begins(0, B)
    ward.care.look()
    ward.take()
    assert (ward.begins(0), ward.begins(0, B)) == (True, False)
    ward.ends(0)
    ward.care.look()
    ward.care.look()
    ward.take()
    assert (ward.begins(1), ward.begins(0, B)) == (False, True)


def test_before_it_is_tried_again_the_node_stands_still_for_a_moment(ward: Ward) -> None:
    ward.care.take_over(A, ONCE, 100)
    assert not ward.told(0)
    assert not ward.begins(0, B)
    ward.time.now += QUIET_S * 2
    ward.care.look()
    ward.take()
    assert ward.begins(0)
    assert not ward.care.tries(A, 0)


def test_what_has_ended_two_is_set_aside_under_its_own_mark(ward: Ward) -> None:
    ward.care.take_over(A, TWICE, 100)
    assert ward.told(0)
    assert ward.care.tries(A, 0) == 2
    assert ward.care.tries(A, 1) == 0


def test_a_record_that_is_not_there_any_more_holds_up_nobody(ward: Ward) -> None:
    ward.care.take_over(A, ONCE._replace(deaths=2, mark=200), 300)
    assert not ward.begins(0)
    ward.care.look()
    ward.take()
    assert not ward.begins(7), "retention has passed 0 to 6"
    ward.care.look()
    ward.take()
    assert ward.begins(7)
    ward.ends(7)
    assert ward.begins(300), "nothing is left of what was suspected"


def test_what_left_memory_is_begun_again(ward: Ward) -> None:
    ward.care.take_over(A, TWO._replace(until=100), 1_000)
    assert ward.told(0)
    assert all(ward.begins(offset) for offset in range(1, WIDTH))
    assert not ward.begins(WIDTH)
    ward.intake.shed([record(0)])
    ward.care.look()
    assert A not in ward.intake.gated
    assert ward.intake.rewind(A) == 0
    assert ward.begins(0)


def test_what_is_given_back_holds_up_nobody(ward: Ward) -> None:
    ward.care.take_over(A, ONCE, 100)
    assert not ward.begins(0)
    ward.care.look()
    assert not ward.begins(0, B)
    ward.care.drop([A])
    ward.intake.revoke([A])
    ward.care.look()
    assert B not in ward.intake.gated
    assert ward.begins(0, B)
