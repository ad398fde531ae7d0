"""The ledger: no commit passes an offset without its outcome, and nothing finished is forgotten."""

from __future__ import annotations

import base64
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from modelmora.agents.ledger import (
    METADATA_BYTES,
    PREFIX,
    Commit,
    Ledger,
    PartitionLedger,
    finished_in,
    metadata_of,
)


def _ledger(offset: int = 0, metadata: str = "") -> PartitionLedger:
    ledger = PartitionLedger()
    ledger.restore(offset, metadata)
    return ledger


class Partition(RuleBasedStateMachine):
    """A partition read by a node that crashes, restarts and lives through rebalances.

    `answered` is what the broker has: an offset in it owes nothing, any other must be run again.
    `known` is what the node knows of that; a commit must keep all of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.end = 0
        self.answered: set[int] = set()
        self.holes: set[int] = set()
        self.running: set[int] = set()
        self.commit = Commit(0, "")
        self.known: set[int] = set()
        self.promised: set[int] = set()
        self.ledger = _ledger()
        self.position = 0

    @rule(count=st.integers(1, 20))
    def read(self, count: int) -> None:
        for offset in range(self.position, self.position + count):
            if offset in self.holes:
                continue
            fresh = self.ledger.begin(offset, 1)
            if fresh:
                assert offset not in self.running, "run twice at once"
                self.running.add(offset)
            else:
                assert offset in self.running or offset in self.answered, "passed over"
        self.position += count
        self.end = max(self.end, self.position)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.running)))
        self.running.discard(offset)
        self.answered.add(offset)
        self.known.add(offset)
        self.ledger.done(offset)
        assert not self.ledger.is_open(offset)

    @rule()
    def commit_now(self) -> None:
        commit = self.ledger.to_commit()
        if commit is None:
            return
        self.commit = commit
        self.promised = set(self.known)
        self.ledger.committed(commit)
        assert self.ledger.to_commit() is None

    @rule(gap=st.integers(1, 5))
    def skip_what_is_not_there(self, gap: int) -> None:
        """Offsets of transaction markers: no consumer ever sees them."""
        if self.position < self.end:
            return
        self.holes |= set(range(self.position, self.position + gap))
        self.answered |= self.holes
        self.position += gap

    @rule()
    def crash(self) -> None:
        """Everything in memory is gone; reading starts at the commit."""
        self.running.clear()
        self.ledger = _ledger(*self.commit)
        self.position = self.commit.offset
        self.known = {*range(self.commit.offset), *finished_in(*self.commit)}
        assert self.promised <= self.known, "what had ended before the commit would be repeated"

    @rule(data=st.data())
    def rebalance(self, data: st.DataObject) -> None:
        """What waits is dropped, what was started goes on, reading starts at the commit."""
        dropped = data.draw(st.sets(st.sampled_from(sorted(self.running)))) if self.running else ()
        for offset in dropped:
            self.ledger.drop(offset)
            self.running.discard(offset)
        before, self.ledger = self.ledger, PartitionLedger()
        self.ledger.restore(*self.commit, running=before.running(), finished=before.finished())
        self.position = self.commit.offset

    @invariant()
    def no_commit_passes_an_unfinished_offset(self) -> None:
        commit = self.ledger.to_commit() or self.commit
        assert set(range(commit.offset)) <= self.answered
        assert set(finished_in(*commit)) <= self.answered

    @invariant()
    def what_runs_is_owed(self) -> None:
        assert all(self.ledger.is_open(offset) for offset in self.running)
        assert self.ledger.open_bytes == self.ledger.open_count


TestPartition = Partition.TestCase


@given(st.integers(0, 200), st.randoms(use_true_random=False))
def test_a_restart_skips_exactly_what_was_finished(count: int, chance: random.Random) -> None:
    ledger = _ledger(7)
    offsets = range(7, 7 + count)
    for offset in offsets:
        assert ledger.begin(offset, 1)
    finished = {offset for offset in offsets if chance.random() < 0.5}
    for offset in chance.sample(sorted(finished), len(finished)):
        ledger.done(offset)
    commit = ledger.to_commit() or Commit(7, "")
    assert set(range(7, commit.offset)) <= finished
    again = _ledger(*commit)
    begun = {offset for offset in range(commit.offset, 7 + count) if again.begin(offset, 1)}
    assert begun == set(offsets) - finished


def test_a_second_commit_does_not_forget_what_is_not_read_again_yet() -> None:
    ledger = _ledger(10, metadata_of(10, [15, 90]))
    for offset in (10, 11):
        assert ledger.begin(offset, 1)
    ledger.done(10)
    commit = ledger.to_commit()
    assert commit is not None
    assert commit.offset == 11
    assert list(finished_in(*commit)) == [15, 90]


def test_what_ended_while_a_rebalance_went_on_is_not_run_again() -> None:
    before = _ledger()
    for offset in range(4):
        before.begin(offset, 1)
    before.done(2)
    after = PartitionLedger()
    after.restore(0, "", before.running(), before.finished())
    after.done(1)
    assert [after.begin(offset, 1) for offset in range(5)] == [False, False, False, False, True]
    assert after.is_open(0)
    assert not after.is_open(1)
    after.done(0)
    assert after.to_commit() == Commit(3, "")


def test_an_offset_below_the_next_is_not_begun_twice() -> None:
    ledger = _ledger(5)
    assert not ledger.begin(4, 1)
    assert ledger.begin(5, 1)
    assert not ledger.begin(5, 1)
    assert ledger.open_count == 1


def test_metadata_is_dropped_when_the_broker_would_refuse_it() -> None:
    chance = random.Random(1)
    half = [offset for offset in range(40_000) if chance.random() < 0.5]
    assert metadata_of(0, half) == ""
    fitting = metadata_of(0, half[:8000])
    assert 0 < len(fitting) <= METADATA_BYTES
    assert list(finished_in(0, fitting)) == half[:8000]


@pytest.mark.parametrize(
    "metadata",
    [
        "",
        "another tool's note",
        "mm2:" + metadata_of(0, [1])[len(PREFIX) :],
        PREFIX,
        PREFIX + "\x00",
        PREFIX + "no base85 \x7f",
        PREFIX + base64.b85encode(b"no zlib").decode(),
        PREFIX + "ü",
    ],
)
def test_foreign_and_damaged_metadata_is_ignored(metadata: str) -> None:
    assert list(finished_in(3, metadata)) == []
    assert _ledger(3, metadata).begin(3, 1)


@given(st.text(max_size=200))
def test_no_metadata_is_an_error(text: str) -> None:
    assert all(offset >= 3 for offset in finished_in(3, PREFIX + text))


def test_a_bomb_in_metadata_is_not_unpacked() -> None:
    bomb = PREFIX + base64.b85encode(zlib.compress(bytes(64 << 20))).decode()
    assert list(finished_in(0, bomb)) == []


def test_a_ledger_knows_only_what_it_owns() -> None:
    ledger = Ledger()
    ledger.own(("t", 0)).restore(0, "")
    ledger[("t", 0)].begin(0, 10)
    assert ledger[("t", 0)].open_bytes == 10
    assert ledger.get(("t", 1)) is None
    assert list(ledger) == [("t", 0)]
