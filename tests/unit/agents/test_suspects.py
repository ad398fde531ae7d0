"""What the next owner suspects of what its predecessors died of, and what that lets it begin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora.agents.partitions.ledger import (
    METADATA_BYTES,
    WINDOW,
    PartitionLedger,
    read_metadata,
)
from modelmora.agents.partitions.suspects import (
    MOST_TRIES,
    WIDTH,
    Suspects,
    inherited,
    packed,
    unpacked,
)

ME, OTHER = b"me00", b"that"
FIRST = Suspects(1, 50, owner=OTHER)
FEW = Suspects(2, 50, 30, begun=True, owner=OTHER)
ALONE = Suspects(3, 30, 11, begun=True, owner=OTHER)


def after(told: Suspects | None, head: int = 10, end: int = 100) -> Suspects | None:
    return inherited(told, head, end, WINDOW, ME)


def test_an_owner_that_left_died_of_nothing() -> None:
    assert after(Suspects(0, 10, clean=True)) is None
    left = after(FEW._replace(clean=True, begun=False))
    assert left == FEW._replace(begun=False, owner=ME)


def test_where_nothing_lies_nobody_can_have_died_of_it() -> None:
    for told in (None, FIRST, FEW, ALONE):
        assert after(told, head=100) is None


def test_an_owner_that_said_nothing_is_the_first_to_die() -> None:
    assert after(None) == Suspects(1, 100, owner=ME)
    assert after(None, end=10**6) == Suspects(1, 10 + WINDOW, owner=ME), "it begins no more"


def test_one_that_got_past_what_was_suspected_is_the_first_again() -> None:
    for told in (FIRST, FEW, ALONE):
        assert after(told, head=50) == Suspects(1, 100, owner=ME)
        assert after(told._replace(clean=True), head=50) is None


def test_the_second_to_die_may_have_begun_all_that_lay_there() -> None:
    assert after(FIRST) == Suspects(2, 100, owner=ME)


def test_who_dies_of_a_few_leaves_these() -> None:
    assert after(FEW) == Suspects(3, 30, owner=ME)


def test_who_had_begun_nothing_died_of_something_else() -> None:
    assert after(FEW._replace(begun=False)) == FEW._replace(begun=False, owner=ME)
    assert after(FEW, head=30) == FEW._replace(begun=False, owner=ME), "those were done"
    assert after(ALONE._replace(begun=False)) == ALONE._replace(begun=False, owner=ME)


def test_who_was_this_very_process_did_not_die() -> None:
    for told in (FIRST, FEW, ALONE):
        assert after(told._replace(owner=ME)) == told._replace(owner=ME, begun=False)


def test_one_is_set_aside_when_two_have_died_with_it_alone() -> None:
    once = after(ALONE)
    assert once
    assert (once.tries, once.condemns(10)) == (1, False)
    again = after(once._replace(begun=True, owner=OTHER))
    assert again
    assert again.tries == MOST_TRIES
    assert again.condemns(10)
    assert not again.condemns(11)


def test_another_that_is_begun_alone_is_not_blamed_for_the_one_before() -> None:
    once = ALONE._replace(tries=1, begun=False)
    same = once.wider(10, 10, is_first=True)
    other = once.wider(11, 12, is_first=True)
    assert same == once._replace(begun=True)
    assert other == once._replace(mark=13, tries=0, begun=True)


def test_a_few_are_begun_from_the_first_that_is_open() -> None:
    few = Suspects(2, 1_000)
    assert few.wider(10, 40, is_first=False) == few._replace(mark=10 + WIDTH, begun=True)
    assert few.wider(10, 10 + WIDTH, is_first=False) is None, "until more of it is done"
    assert few.wider(10, 500, is_first=True) == few._replace(mark=500 + WIDTH, begun=True)
    assert few.wider(950, 950, is_first=True) == few._replace(mark=1_000, begun=True)


@given(
    st.builds(
        Suspects,
        deaths=st.integers(1, 200),
        until=st.integers(101, 100 + WINDOW),
        mark=st.one_of(st.just(0), st.integers(101, 100 + WINDOW)),
        tries=st.integers(0, 255),
        begun=st.booleans(),
        owner=st.binary(min_size=4, max_size=4),
    ),
    st.booleans(),
)
def test_it_is_told_as_it_is(suspects: Suspects, leaves: bool) -> None:
    told = unpacked(100, packed(suspects, 100, leaves=leaves))
    assert told == suspects._replace(clean=leaves, begun=suspects.begun and not leaves)


def test_what_is_past_is_not_told() -> None:
    assert packed(FEW, 50, leaves=False) == packed(None, 50, leaves=False) == b""
    told = unpacked(50, packed(FEW, 50, leaves=True))
    assert told == Suspects(0, 50, owner=bytes(4), clean=True)


@pytest.mark.parametrize("told", [b"", b"\1\2\3"])
def test_what_is_no_such_thing_tells_nothing(told: bytes) -> None:
    assert unpacked(5, told) is None


def test_a_commit_tells_it_beside_any_bitmap() -> None:
    ledger = PartitionLedger(1, 0)
    for offset in range(WINDOW):
        ledger.begin(offset, 1)
    for offset in range(1, WINDOW):
        if offset * 2654435761 % 7 < 3:
            ledger.done(offset)
    plain = ledger.commit(10**13, "group.node")
    ledger.suspects = ALONE
    commit = ledger.commit(10**13, "group.node")
    assert len(commit.metadata) <= METADATA_BYTES
    known, before = read_metadata(*commit), read_metadata(*plain)
    assert known.suspects == ALONE
    assert known._replace(suspects=None) == before


def test_a_commit_of_who_leaves_says_so() -> None:
    ledger = PartitionLedger(1, 7)
    assert read_metadata(*ledger.commit(5)).suspects is None
    ledger.leaving = True
    assert read_metadata(*ledger.commit(5)).suspects == Suspects(0, 7, owner=bytes(4), clean=True)
