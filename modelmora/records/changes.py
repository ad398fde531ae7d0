"""What counts for ids of each time: the last changes of it, and since when each does; pure."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")
LAG_MS = 10_000
"""A change counts for ids that are made so much later: by then all who look have read of it."""
MOST_CHANGES = 8


def changed(steps: tuple[tuple[int, T], ...], to: T, now_ms: int) -> tuple[tuple[int, T], ...]:
    """The steps with one more, written now (Unix ms); of those before the last are kept."""
    since_ms = max(now_ms + LAG_MS, steps[-1][0] + 1 if steps else 0)
    return (*steps[1 - MOST_CHANGES :], (since_ms, to))


def is_time(at: str) -> bool:
    """Whether it is since when a step counts; a record may be a stranger's."""
    return at.isascii() and at.isdecimal() and len(at) <= 16
