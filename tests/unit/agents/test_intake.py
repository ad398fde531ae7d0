"""The intake: what it takes, when a partition is full, and what a rebalance leaves of it."""

from __future__ import annotations

from modelmora.agents.intake import Intake
from modelmora.settings import Limits
from modelmora.testing.fakes import FakeRecord

A, B = ("lane", 0), ("lane", 1)


def record(offset: int, size: int = 10, partition: int = 0) -> FakeRecord:
    return FakeRecord("lane", partition, offset, value=b"x" * size)


def intake(**limits: int) -> Intake:
    made = Intake(Limits.model_validate(limits))
    made.assign({A: (0, ""), B: (0, "")})
    return made


def test_nothing_is_taken_before_the_first_assignment() -> None:
    fresh = Intake(Limits())
    assert not fresh.reading
    assert not fresh.begin(record(0))
    fresh.assign({A: (0, "")})
    assert fresh.begin(record(0))
    assert not fresh.begin(record(0, partition=1)), "not ours"
    assert fresh.partitions() == {A}


def test_a_record_between_two_assignments_is_left_for_the_next_reading() -> None:
    taken = intake()
    taken.begin(record(0))
    epoch = taken.epoch
    taken.close()
    assert not taken.begin(record(1))
    assert taken.next_offset(A) == 1
    taken.done(record(0))
    assert taken.to_commit({A}) == {A: (1, "")}
    taken.assign({A: (1, "")})
    assert taken.epoch != epoch
    assert taken.begin(record(1))


def test_nothing_is_committed_once_the_partitions_are_given_away() -> None:
    taken = intake()
    taken.begin(record(0))
    taken.done(record(0))
    taken.close()
    taken.settle()
    assert taken.to_commit({A, B}) == {}
    taken.assign({A: (0, "")})
    assert not taken.begin(record(0)), "it has its outcome, though that was not committed"
    assert taken.to_commit({A}) == {A: (1, "")}


def test_a_gate_closes_at_the_limit_and_opens_at_half() -> None:
    taken = intake(partition_requests=4)
    for offset in range(4):
        assert taken.gated == set()
        taken.begin(record(offset))
    assert taken.gated == {A}
    taken.done(record(0))
    assert taken.gated == {A}
    taken.done(record(3))
    assert taken.gated == set()
    assert taken.open_requests == 2


def test_a_gate_closes_by_bytes() -> None:
    taken = intake(partition_bytes=100)
    taken.begin(record(0, 99))
    assert taken.gated == set()
    taken.begin(record(1, 1))
    assert taken.gated == {A}
    taken.done(record(1, 1))
    assert taken.gated == {A}
    taken.done(record(0, 99))
    assert taken.gated == set()


def test_the_node_as_a_whole_has_a_limit() -> None:
    taken = intake(node_bytes=100)
    taken.begin(record(0, 60))
    taken.begin(record(0, 50, partition=1))
    assert taken.gated == {B}
    assert taken.open_bytes == 110
    taken.done(record(0, 60))
    assert taken.gated == set()
    assert taken.open_bytes == 50


def test_a_gate_opens_although_its_own_partition_has_nothing_open() -> None:
    taken = intake(node_bytes=100, partition_requests=1)
    taken.begin(record(0, 100, partition=1))
    taken.begin(record(0, 10))
    taken.done(record(0, 10))
    assert taken.gated == {A, B}
    taken.done(record(0, 100, partition=1))
    assert taken.gated == set()


def test_an_assignment_opens_the_gates_and_counts_anew() -> None:
    taken = intake(partition_requests=2)
    for offset in range(2):
        taken.begin(record(offset))
    taken.close()
    taken.drop([record(0)])
    taken.assign({A: (0, "")})
    assert taken.gated == set()
    assert taken.open_bytes == 0
    assert taken.begin(record(0)), "dropped, so it runs again"
    assert not taken.begin(record(1)), "it still runs"
    assert taken.owes(record(1))
    assert taken.gated == {A}
    assert taken.open_bytes == 20


def test_what_went_to_another_node_is_not_owed() -> None:
    taken = intake()
    taken.begin(record(0, partition=1))
    taken.assign({A: (0, "")})
    assert not taken.owes(record(0, partition=1))
    taken.done(record(0, partition=1))
    taken.drop([record(0, partition=1)])
    assert taken.next_offset(B) is None
    assert taken.to_commit({A, B}) == {}


def test_only_a_change_is_committed() -> None:
    taken = intake()
    taken.begin(record(0))
    assert taken.to_commit({A}) == {}
    taken.done(record(0))
    commits = taken.to_commit({A, B})
    taken.on_committed(commits)
    assert taken.to_commit({A, B}) == {}
    taken.on_committed({("gone", 3): commits[A]})
