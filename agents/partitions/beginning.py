"""Where the reading of a partition begins, and what it means when a commit does not fit the log."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import inf


class Oddity(StrEnum):
    """A commit that does not fit the log."""

    LOG_CUT_BACK = "log_cut_back"
    """The log ends before what is known of it: a broker has lost records, and gives their offsets
    anew."""
    DELETED_UNREAD = "deleted_unread"
    """The log begins behind it: records were deleted before anybody read them."""
    MADE_ANEW = "made_anew"
    """It is of another topic, which had the same name."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """The offset to read from; from which offset on nothing that was finished still stands."""

    offset: int
    until: float = inf
    oddity: Oddity | None = None
    unread: int = 0
    """How many offsets were deleted unread."""


def beginning(
    committed: int | None,
    first: int,
    end: int,
    written_since: int | None,
    *,
    reached: int = 0,
    same_log: bool = True,
) -> Beginning:
    """Decide where to begin; nothing that was acknowledged to a producer is passed in silence.

    `first` and `end` bound the log; `written_since` is the first offset written since the commit
    (the log's end where nothing was), None where the time of the commit is not known. `reached` is
    the end that the log once had, as what was read or finished says.

    (1) Never committed, or for the log of a former topic: from the first record.
    (2) Committed, read or finished beyond the end: no farther than to the first record written
        since the commit, for offsets from there on may be new ones. Where the time is unknown, from
        the first record if they may lie below the commit. What was finished says nothing about new
        records at the same offsets.
    (3) Committed before the first record: from that; what is missing is counted.
    (4) Else where it was committed.
    """
    # (1)
    if committed is None:
        return Beginning(first)
    if not same_log:
        return Beginning(first, until=0, oddity=Oddity.MADE_ANEW)
    # (2)
    if max(committed, reached) > end:
        if written_since is None:
            written_since = first if committed > end else committed
        offset = max(first, min(committed, end, written_since))
        return Beginning(offset, written_since, Oddity.LOG_CUT_BACK)
    # (3)
    if committed < first:
        return Beginning(first, oddity=Oddity.DELETED_UNREAD, unread=first - committed)
    # (4)
    return Beginning(committed)
