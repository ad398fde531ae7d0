"""The intake: what it takes, whose it is, and when a partition of its own is full."""

from __future__ import annotations

from modelmora.agents.partitions.intake import Intake
from modelmora.agents.partitions.ledger import WINDOW, Commit
from modelmora.settings import Limits
from modelmora.testing.fakes import FakeRecord
from tests.unit.agents.intakes import LANES, A, B, intake, record

# Ownership ----------------------------------------------------------------------------------------


def test_only_what_is_ours_is_taken() -> None:
    fresh = Intake(Limits(), LANES)
    assert not fresh.begin(record(0))
    fresh.assign(A, 1, 0)
    assert fresh.begin(record(0))
    assert not fresh.begin(record(0, partition=1))
    assert (fresh.partitions(), fresh.epoch(A), fresh.epoch(B)) == ({A}, 1, None)


def test_what_went_to_another_node_is_not_owed() -> None:
    taken = intake()
    taken.begin(record(0, partition=1))
    taken.done(record(0, partition=1))
    taken.begin(record(1, partition=1))
    taken.revoke([B])
    assert not taken.owes(record(1, partition=1))
    taken.done(record(1, partition=1))
    taken.shed([record(1, partition=1)])
    assert (taken.next_offset(B), taken.rewind(B), taken.commit_of(B, 0)) == (None, None, None)
    assert taken.to_commit(0) == {}
    assert (taken.open_bytes, taken.open_requests) == (0, 0)


def test_an_outcome_of_an_earlier_epoch_is_not_taken_for_the_present_one() -> None:
    taken = intake()
    taken.begin(record(0))
    taken.revoke([A])
    taken.assign(A, 2, 0)
    assert not taken.begin(record(0)), "fetched before"
    assert taken.begin(record(0, epoch=2))
    assert not taken.owes(record(0))
    taken.done(record(0))
    taken.shed([record(0)])
    assert taken.owes(record(0, epoch=2))
    assert taken.to_commit(0) == {}
    assert not taken.follows(A, 1, 0)
    assert taken.follows(A, 2, 1)


def test_what_comes_while_its_partition_leaves_is_the_next_owners() -> None:
    """Taken, it would have no outcome here, and its id would wait for that for ever."""
    taken = intake()
    taken.leave([A])
    assert not taken.follows(A, 1, 0)
    assert taken.follows(B, 1, 0)


def test_the_others_notice_nothing() -> None:
    taken = intake()
    taken.begin(record(0))
    taken.revoke([B])
    taken.assign(("normal", 2), 2, 0)
    assert taken.owes(record(0))
    assert taken.follows(A, 1, 1)


# Commits ------------------------------------------------------------------------------------------


def test_only_a_change_is_committed_until_the_broker_took_it() -> None:
    taken = intake()
    taken.begin(record(0))
    assert taken.to_commit(5) == {}
    taken.done(record(0))
    commits = taken.to_commit(5)
    assert commits == {A: (1, "mm2:5:")}
    assert taken.to_commit(5) == commits, "the broker did not take it"
    taken.on_committed({**commits, ("gone", 3): commits[A]})
    assert taken.to_commit(6) == {}
    assert taken.commit_of(A, 6) == (1, "mm2:6:")
    assert taken.commit_of(B, 6) == (0, "mm2:6:")


def test_a_late_answer_to_a_commit_hides_no_change() -> None:
    taken = intake()
    for offset in range(2):
        taken.begin(record(offset))
    taken.done(record(0))
    first = taken.to_commit(0)
    taken.done(record(1))
    taken.on_committed(first)
    assert taken.to_commit(0) == {A: (2, "mm2:0:")}


def test_what_was_found_finished_is_committed() -> None:
    taken = intake()
    taken.assign(A, 2, 0, [0, 1, 3])
    assert taken.to_commit(0)[A].offset == 2
    taken.on_committed(taken.to_commit(0))
    taken.begin(record(2, epoch=2))
    taken.done(record(2, epoch=2))
    assert taken.to_commit(0)[A] == Commit(4, "mm2:0:")


# A partition's own limits -------------------------------------------------------------------------


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
    assert (taken.open_on("normal"), taken.open_on("shadow")) == (2, 0)


def test_a_gate_closes_by_bytes() -> None:
    taken = intake(partition_bytes=8000)
    taken.begin(record(0, 4400))
    assert taken.gated == set()
    taken.begin(record(1, 3600))
    assert taken.gated == {A}
    taken.done(record(1))
    assert taken.gated == {A}
    taken.done(record(0))
    assert taken.gated == set()


def test_small_requests_cost_more_than_their_bytes() -> None:
    taken = intake()
    headers = [("h", b"y" * 1000), ("none", None), ("modelmora-principal", b"local")]
    taken.begin(FakeRecord("normal", 0, 0, value=b"x", headers=headers, epoch=1))
    first = 2600 + 1 + 3 * 120 + 1001 + 4 + 24
    assert taken.open_bytes == first
    taken.begin(FakeRecord("normal", 0, 1, value=None, epoch=1))
    assert taken.open_bytes == first + 2600
    own = [("modelmora-principal", b"anyone")]
    taken.begin(FakeRecord("normal", 0, 2, value=None, headers=own, epoch=1))
    assert taken.open_bytes == first + 2 * 2600 + 1300 + 120 + 25, "its own place in line too"


def test_a_full_window_gates_until_its_head_moves() -> None:
    taken = intake(partition_requests=10 * WINDOW, partition_bytes=1 << 40, node_bytes=1 << 40)
    for offset in range(WINDOW):
        assert A not in taken.gated
        assert taken.begin(record(offset))
        if offset:
            taken.done(record(offset))
    assert taken.gated == {A}
    assert not taken.begin(record(WINDOW))
    assert taken.commit_of(A, 0) is not None
    taken.done(record(0))
    assert taken.gated == set()
    assert taken.rewind(A) == WINDOW
    assert taken.follows(A, 1, WINDOW)
    assert taken.begin(record(WINDOW))


def test_a_hole_across_the_window_waits_for_what_is_open() -> None:
    taken = intake()
    taken.begin(record(0))
    taken.begin(record(1))
    far = record(3 * WINDOW)
    assert not taken.begin(far)
    assert taken.gated == {A}
    taken.done(record(0))
    assert taken.gated == {A}
    taken.done(record(1))
    assert taken.gated == set()
    assert taken.rewind(A) == 2
    assert taken.follows(A, 1, 2)
    assert taken.begin(far)
