"""What counts for ids of each time: the last changes of it, and since when each does; pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")
ALWAYS = "0"
"""What counts since then is no change."""
LAG_MS = 10_000
"""A change counts for ids that are made so much later: by then all who look have read of it."""
MOST_CHANGES = 8
RECENT_MS = 600_000
"""For so long an id may be put off again and again, and be answered then."""
LEAST_LAG_MS, MOST_LAG_MS = LAG_MS // 2, 60_000
"""How long after it was appended, by the broker's clock, a change may begin to count."""


def changed(steps: tuple[tuple[int, T], ...], to: T, now_ms: int) -> tuple[tuple[int, T], ...]:
    """The steps with one more, written now (Unix ms).

    The last ones are kept, and however many there are those that count now or did a while ago: an
    id that is under way would be answered otherwise by what is left.
    """
    since_ms = max(now_ms + LAG_MS, steps[-1][0] + 1 if steps else 0)
    recent = next((n for n, (at, _) in enumerate(steps) if at > now_ms - RECENT_MS), len(steps))
    first = max(0, min(len(steps) + 1 - MOST_CHANGES, recent - 1))
    return (*steps[first:], (since_ms, to))


def in_time(before: Iterable[str], after: Iterable[str], at_ms: int) -> bool:
    """Whether what is new in the steps of a record counts neither too soon nor too late.

    `at_ms` is when it was appended (Unix ms). What was written by a clock that is behind, or long
    before the broker took it, would count for ids that are answered already; by a clock that is far
    ahead, nothing could be changed any more until then.
    """
    new = [int(at) for at in {*after} - {*before, ALWAYS} if is_time(at)]
    return all(LEAST_LAG_MS <= since_ms - at_ms <= MOST_LAG_MS for since_ms in new)


def is_time(at: str) -> bool:
    """Whether it is since when a step counts; a record may be a stranger's."""
    return at.isascii() and at.isdecimal() and len(at) <= 16
