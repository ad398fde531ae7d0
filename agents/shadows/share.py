"""How much of a node's time copies may compute, as a token bucket (pure)."""

from __future__ import annotations

MOST_S = 1.0
"""Seconds of computing that may be saved up."""


class Share:
    """Each second earns a share of one; what a copy has taken is known, and paid, when it ends.

    So in the long run copies take no more than that, whatever each of them takes.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._left_s = MOST_S if share else 0.0
        self._at: float | None = None

    def may(self, now: float) -> bool:
        """Whether one more may begin at `now` (monotonic s)."""
        if self._at is not None:
            self._left_s = min(MOST_S, self._left_s + (now - self._at) * self._share)
        self._at = now
        return self._left_s > 0

    def spend(self, taken_ms: float) -> None:
        """One has computed for so long."""
        self._left_s -= taken_ms / 1000
