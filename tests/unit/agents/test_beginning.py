"""Where a partition's reading begins: what was committed, and what does not fit the log."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelmora.agents.partitions.beginning import Beginning, Oddity, beginning


def test_a_group_that_never_committed_begins_at_the_first_record() -> None:
    assert beginning(None, 3, 10, None) == Beginning(3)


def test_a_commit_inside_the_log_is_where_to_go_on() -> None:
    assert beginning(7, 3, 10, 9) == Beginning(7)
    assert beginning(10, 3, 10, None) == Beginning(10)


def test_what_retention_took_unread_is_counted() -> None:
    found = beginning(2, 5, 10, None)
    assert found == Beginning(5, oddity=Oddity.DELETED_UNREAD, unread=3)


def test_a_log_that_was_cut_back_is_read_from_what_was_written_since_the_commit() -> None:
    found = beginning(50, 0, 30, 20)
    assert found == Beginning(20, 20, Oddity.LOG_CUT_BACK)
    nothing_new = beginning(50, 0, 30, 30)
    assert nothing_new.offset == 30


def test_without_the_time_of_the_commit_a_cut_log_is_read_from_its_first_record() -> None:
    assert beginning(50, 4, 30, None) == Beginning(4, 4, Oddity.LOG_CUT_BACK)


offsets = st.integers(0, 100)


@given(st.none() | offsets, offsets, offsets, st.none() | offsets)
def test_it_always_begins_inside_the_log_and_passes_nothing_in_silence(
    committed: int | None, first: int, length: int, since: int | None
) -> None:
    end = first + length
    found = beginning(committed, first, end, since)
    assert first <= found.offset <= end
    if committed is not None and found.offset != committed:
        assert found.oddity
