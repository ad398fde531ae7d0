"""When what waits for a budget has its turn, and where it waits until then; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from modelmora.access.budgets import Bucket, Costs

T = TypeVar("T")
HOLD_S = 5.0
"""Whose turn comes so soon waits in memory: it is not worth a record."""
MOST_AHEAD_S = 600.0
"""A line is not counted for longer: what is put off comes back, and is counted again."""
MOST_LINES = 10_000


class Turn(NamedTuple):
    """In how many seconds there will be enough, and which bucket is the last to have it."""

    wait_s: float
    bucket: Bucket
    cost: float


def turn_of(
    buckets: Sequence[Bucket], costs: Costs, ahead: Mapping[Bucket, float], now: float
) -> Turn:
    """The turn of one who uses this of these buckets, behind those `ahead`."""
    turns = []
    for bucket in buckets:
        cost = costs[bucket.unit]
        lacking = min(cost, bucket.most) + ahead.get(bucket, 0.0) - bucket.left(now)
        turns.append(Turn(max(0.0, lacking / bucket.per_s), bucket, cost))
    return max(turns, key=lambda each: each.wait_s)


class Away(Generic[T]):
    """For how long to put off what waits longer than `HOLD_S`: each behind those before it.

    `tiers` are the delays that there are (ms), the shortest first; other times monotonic seconds.
    """

    def __init__(self, tiers: Mapping[T, int]) -> None:
        self._tiers = tiers
        self._until: dict[str, float] = {}

    def tier(self, turn: Turn, left_s: float, now: float) -> T | None:
        """The longest delay that is over by its turn, or the shortest; None: it has no time."""
        in_time = [tier for tier, ms in self._tiers.items() if ms < left_s * 1000]
        if not in_time:
            return None
        key = turn.bucket.key
        behind = self._until.get(key, now) + turn.cost / turn.bucket.per_s
        until = min(max(now + turn.wait_s, behind), now + MOST_AHEAD_S)
        if len(self._until) >= MOST_LINES:
            self._until = {each: at for each, at in self._until.items() if at > now}
        self._until[key] = until
        fitting = [tier for tier in in_time if self._tiers[tier] <= (until - now) * 1000]
        return fitting[-1] if fitting else in_time[0]
