"""The ledger: no commit passes an offset without its outcome, and nothing finished is forgotten."""

from __future__ import annotations

import base64
import copy
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from modelmora.agents.partitions import ledger as module
from modelmora.agents.partitions.ledger import (
    METADATA_BYTES,
    WINDOW,
    Commit,
    PartitionLedger,
    metadata_of,
    read_metadata,
)


def _old(*places: int) -> str:
    """Metadata as nodes before this one wrote it; places count from the committed offset."""
    bits = sum(1 << place for place in places)
    packed = zlib.compress(bits.to_bytes(max(places) // 8 + 1, "little"))
    return "mm1:" + base64.b85encode(packed).decode()


def _finished(commit: Commit) -> list[int]:
    return [*read_metadata(*commit)[1]]


class Partition(RuleBasedStateMachine):
    """A partition whose node sheds, loses batches, crashes, and is told what others have done.

    `answered` is what the broker has: an offset in it owes nothing, any other must be run.
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
        self.ledger = PartitionLedger(1, 0)
        self.position = 0
        self.lost = False
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(module, "WINDOW", 30)

    def teardown(self) -> None:
        self.patch.undo()

    @rule(count=st.integers(1, 20))
    def read(self, count: int) -> None:
        if not self.ledger.follows(self.position):
            assert self.lost, "only what was shed or lost is read again"
            self.position = self.ledger.next
            assert self.ledger.follows(self.position)
        self.lost = False
        for _ in range(count):
            offset = self.position
            while offset in self.holes:
                offset += 1
            self.position = offset + 1
            head = self.ledger.head
            if self.ledger.begin(offset, 1):
                assert offset not in self.running, "run twice at once"
                assert offset not in self.known, "run again"
                self.running.add(offset)
            elif offset not in self.running and offset not in self.known:
                assert offset - head >= 30, "passed over"
                assert self.ledger.next <= offset
                assert self.ledger.rewind() == self.ledger.next
                self.lost = True
                break
        self.end = max(self.end, self.position)

    @rule(count=st.integers(1, 20))
    def lose_a_batch(self, count: int) -> None:
        self.position += count
        self.end = max(self.end, self.position)
        self.lost = True

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.running)))
        self.running.discard(offset)
        self.answered.add(offset)
        self.known.add(offset)
        assert self.ledger.done(offset) == 1
        assert self.ledger.done(offset) == 0
        assert offset not in self.ledger.open

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def shed(self, data: st.DataObject) -> None:
        for offset in data.draw(st.sets(st.sampled_from(sorted(self.running)), min_size=1)):
            self.running.discard(offset)
            assert self.ledger.shed(offset) == 1
        behind = self.ledger.next
        assert not self.ledger.begin(behind + 1, 1), "what lies between has to be read first"
        assert self.ledger.rewind() == behind
        assert self.ledger.rewind() is None, "told once"
        self.lost = True

    @rule()
    def commit_now(self) -> None:
        self.commit = self.ledger.commit(7)
        self.promised = set(self.known)

    @rule(gap=st.integers(1, 5))
    def skip_what_is_not_there(self, gap: int) -> None:
        """Offsets of transaction markers: no consumer ever sees them."""
        self.holes |= set(range(self.end, self.end + gap))
        self.answered |= self.holes
        self.end += gap

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """Everything in memory is gone; the next owner may be told of more outcomes."""
        self.running.clear()
        since_ms, finished, *_ = read_metadata(*self.commit)
        assert since_ms in (7, None)
        told = data.draw(st.sets(st.sampled_from(sorted(self.answered)))) if self.answered else ()
        told = {each for each in told if each >= self.commit.offset}
        self.ledger = PartitionLedger(2, self.commit.offset, {*finished, *told})
        self.position = self.commit.offset
        self.known = {*range(self.commit.offset), *finished, *told}
        assert self.promised <= self.known | self.holes, "repeated though committed"
        self.lost = False

    @invariant()
    def no_commit_passes_an_unfinished_offset(self) -> None:
        commit = self.ledger.commit(7)
        assert set(range(commit.offset)) <= self.answered
        assert set(_finished(commit)) <= self.answered
        assert self.known <= {*range(commit.offset), *_finished(commit)}

    @invariant()
    def what_runs_is_owed(self) -> None:
        assert self.ledger.open.keys() == self.running
        assert self.ledger.bytes == len(self.running)
        assert self.ledger.next >= self.ledger.head


TestPartition = pytest.mark.no_cover(Partition.TestCase)


@pytest.mark.no_cover
@given(st.integers(0, 200), st.randoms(use_true_random=False))
def test_a_restart_skips_exactly_what_was_finished(count: int, chance: random.Random) -> None:
    ledger = PartitionLedger(1, 7)
    offsets = range(7, 7 + count)
    for offset in offsets:
        assert ledger.begin(offset, 1)
    finished = {offset for offset in offsets if chance.random() < 0.5}
    for offset in chance.sample(sorted(finished), len(finished)):
        ledger.done(offset)
    commit = ledger.commit(0)
    assert set(range(7, commit.offset)) <= finished
    again = PartitionLedger(2, commit.offset, _finished(commit))
    begun = {offset for offset in range(commit.offset, 7 + count) if again.begin(offset, 1)}
    assert begun == set(offsets) - finished


def test_a_second_commit_does_not_forget_what_is_not_read_again_yet() -> None:
    ledger = PartitionLedger(1, 10, [15, 90])
    for offset in (10, 11):
        assert ledger.begin(offset, 1)
    ledger.done(10)
    commit = ledger.commit(0)
    assert commit.offset == 11
    assert _finished(commit) == [15, 90]


def test_what_others_have_finished_moves_the_commit_before_it_is_read() -> None:
    ledger = PartitionLedger(1, 5, [5, 6, 8])
    assert (ledger.next, ledger.commit(0).offset) == (7, 7)
    assert [ledger.begin(offset, 1) for offset in range(5, 10)] == [False] * 2 + [
        True,
        False,
        True,
    ]


def test_an_offset_below_the_next_is_not_begun_twice() -> None:
    ledger = PartitionLedger(1, 5)
    assert not ledger.begin(4, 1)
    assert ledger.begin(5, 1)
    assert not ledger.begin(5, 1)
    assert len(ledger.open) == 1


# Window -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0, 7])
def test_the_worst_window_fits_the_metadata(start: int) -> None:
    """Half of it finished, at random: no such bitmap is left out, as it was above 25,000 before."""
    chance = random.Random(1)
    ledger = PartitionLedger(1, start)
    offset = start
    while ledger.begin(offset, 1):
        offset += 1
    assert offset - start == WINDOW
    finished = {each for each in range(start + 1, offset) if chance.random() < 0.5}
    for each in finished:
        ledger.done(each)
    since_ms = 1_800_000_000_000
    for commit in (ledger.commit(since_ms), ledger.commit_after((), since_ms, "group.n1" * 20)):
        assert len(commit.metadata) <= METADATA_BYTES
        assert read_metadata(*commit)[:2] == (since_ms, tuple(sorted(finished)))


def test_a_commit_after_outcomes_is_what_it_is_once_they_are_done() -> None:
    ledger = PartitionLedger(1, 3)
    for offset in range(3, 40):
        ledger.begin(offset, 1)
    for offset in (5, 9, 30):
        ledger.done(offset)
    before = ledger.commit(7)
    for outcomes in ((), (3,), (3, 4), (8, 31, 39), range(3, 40)):
        after = ledger.commit_after(outcomes, 7, "g.n1")
        done = copy.deepcopy(ledger)
        for offset in outcomes:
            done.done(offset)
        assert after == done.commit(7, "g.n1")
        assert read_metadata(*after).bearer == "g.n1"
    assert ledger.commit(7) == before, "nothing is done before the transaction is"


@pytest.mark.parametrize(
    ("metadata", "bearer"), [("mm2:5:", None), ("mm2:5::", ""), ("mm2:5::a.b", "a.b")]
)
def test_who_has_committed_in_a_transaction(metadata: str, bearer: str | None) -> None:
    assert read_metadata(3, metadata) == (5, (), bearer, None)


def test_what_lies_beyond_the_window_is_read_again_when_there_is_room() -> None:
    ledger = PartitionLedger(1, 0)
    for offset in range(WINDOW):
        ledger.begin(offset, 1)
    assert not ledger.begin(WINDOW, 1)
    assert not ledger.begin(WINDOW + 1, 1)
    assert ledger.rewind() == WINDOW
    assert not ledger.follows(WINDOW + 1)
    ledger.done(0)
    assert not ledger.begin(WINDOW, 1), "a batch of before reading went back"
    assert ledger.follows(WINDOW)
    assert ledger.begin(WINDOW, 1)
    assert not ledger.begin(WINDOW + 1, 1)


def test_a_long_hole_is_no_window() -> None:
    ledger = PartitionLedger(1, 3, [1_000_000])
    assert ledger.begin(999_999, 1)
    assert ledger.commit(0).offset == 999_999
    ledger.done(999_999)
    assert ledger.commit(0) == Commit(1_000_001, "mm2:0:")


def test_what_does_not_fit_is_looked_for_as_before() -> None:
    """Nodes without a window may have finished more than the bitmap holds."""
    ledger = PartitionLedger(1, 0, [1, WINDOW + 100], since_ms=50)
    assert read_metadata(*ledger.commit(90))[:2] == (50, (1,))
    ledger.begin(0, 1)
    ledger.done(0)
    ledger.begin(200, 1)
    assert read_metadata(*ledger.commit(90))[:2] == (90, (WINDOW + 100,))


# Metadata -----------------------------------------------------------------------------------------


def test_time_is_told_without_a_bitmap_too() -> None:
    assert PartitionLedger(1, 5).commit(123) == Commit(5, "mm2:123:")
    assert read_metadata(5, "mm2:123:")[:2] == (123, ())
    assert read_metadata(5, "mm2:123:\x00")[:2] == (123, ()), "librdkafka's client adds a NUL"


@given(st.integers(0, 10**6), st.sets(st.integers(0, 3000)), st.integers(0, 2**45))
def test_metadata_comes_back(offset: int, places: set[int], since_ms: int) -> None:
    finished = {offset + 1 + place for place in places}
    commit = PartitionLedger(1, offset, finished).commit(since_ms)
    assert commit.offset == offset
    assert read_metadata(*commit)[:2] == (since_ms, tuple(sorted(finished)))


def test_what_older_nodes_have_committed_is_read() -> None:
    assert read_metadata(13, _old(2, 9, 40))[:2] == (None, (15, 22, 53))


_GOOD = metadata_of(5, b"\x10\x01")


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        "",
        "another tool's note",
        "mm3:" + _GOOD[4:],
        "mm1:",
        "mm1:\x00",
        "mm1:no base85 \x7f",
        "mm1:ü",
        "mm1:" + base64.b85encode(b"no zlib").decode(),
        "mm2:",
        "mm2:x:",
        "mm2:-1:",
        "mm2:²:",
        "mm2:5:no base85 \x7f",
        "mm2:5:" + base64.b85encode(b"no zlib").decode(),
        _GOOD[:-5],
        "mm2:5:" + base64.b85encode(zlib.compress(bytes(64 << 20))).decode(),
    ],
)
def test_foreign_and_damaged_metadata_is_ignored(metadata: str | None) -> None:
    assert read_metadata(3, metadata)[:2] == (None, ())


@given(st.sampled_from(["mm1:", "mm2:", "mm2:1:"]), st.text(max_size=200))
def test_no_metadata_is_an_error(prefix: str, text: str) -> None:
    assert all(offset >= 3 for offset in read_metadata(3, prefix + text)[1])


def test_what_may_have_been_handed_on_is_looked_for_until_it_was_read() -> None:
    """Else a commit made between taking over and reading would forget it."""
    ledger = PartitionLedger(1, 5, since_ms=70, doubts=(6, 7))

    def since() -> int | None:
        return read_metadata(*ledger.commit(90)).since_ms

    assert since() == 70
    assert ledger.begin(5, 1)
    ledger.done(5)
    assert ledger.begin(6, 1)
    ledger.done(6)
    assert since() == 70
    assert ledger.begin(7, 1)
    assert since() == 70
    ledger.done(7)
    assert since() == 90
    assert read_metadata(*PartitionLedger(1, 5, (), 70, (6,)).commit(90, "bearer")).bearer is None
