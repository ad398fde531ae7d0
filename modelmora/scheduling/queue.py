"""What waits for one model: a queue per lane, ordered by arrival, aged at the head only."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from heapq import heappop, heappush, heapreplace, merge
from itertools import chain, islice, repeat

from modelmora.messages import Lane
from modelmora.scheduling.batching import opens_at, take_group
from modelmora.scheduling.policy import Policy
from modelmora.scheduling.work import Batch, Work

Urgency = tuple[int, float, int, int]
"""Sorts what comes first first: aged heads; then lane, number and arrival; then nothing waiting."""


class LaneQueue:
    """The works of one lane, in batches of equal key; every operation is O(log batches).

    Each batch has exactly one entry in `_heads`, with the order of its oldest work or of an older
    one that has left; entries are put right when they come up.
    """

    __slots__ = ("_batches", "_heads", "_presets", "cost", "count", "lane", "served_at", "unknown")

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.count = 0
        self.cost = 0.0
        """Device ms that its works are expected to take, but for `unknown` of them."""
        self.unknown = 0
        self.served_at = float("-inf")
        self._batches: dict[Hashable, Batch] = {}
        self._heads: list[tuple[int, Hashable]] = []
        self._presets: deque[Batch] = deque()

    def append(self, work: Work) -> None:
        """Let the work wait; its order is higher than that of all before."""
        batch = self._batches.get(work.batch_key)
        if batch is None:
            batch = self._batches[work.batch_key] = Batch()
            heappush(self._heads, (work.order, work.batch_key))
        batch.add(work)
        self._count(work, 1)

    def put_back(self, groups: list[tuple[Work, ...]]) -> None:
        """Put groups before all others, in this order; each leaves again as it is."""
        for works in reversed(groups):
            self._presets.appendleft(Batch(works, preset=True))
            for work in works:
                self._count(work, 1)

    def remove(self, work: Work) -> None:
        """Take a waiting work out."""
        if work.place is not None:
            work.place.remove(work)
            self._count(work, -1)

    def first(self) -> Batch | None:
        """The batch that is next: what was put back, else the one with the oldest work."""
        if not self.count:
            return None
        while self._presets:
            if self._presets[0].works:
                return self._presets[0]
            self._presets.popleft()
        while True:
            order, key = self._heads[0]
            batch = self._batches[key]
            if not batch.works:
                heappop(self._heads)
                del self._batches[key]
                continue
            oldest = batch.head().order
            if oldest == order:
                return batch
            heapreplace(self._heads, (oldest, key))

    def take(self, policy: Policy, now: float) -> tuple[Work, ...]:
        """Take the next group; the lane is not empty. Its ageing clock restarts."""
        batch = self.first()
        works = take_group(batch, policy) if batch else ()
        for work in works:
            self._count(work, -1)
        self.served_at = now
        return works

    def front(self, most: int) -> Iterator[tuple[Batch, Work]]:
        """The first works, with their batches: what was put back, then by arrival."""
        back = ((batch, work) for batch in self._presets for work in batch.works.values())
        batches = (zip(repeat(batch), batch.works.values()) for batch in self._batches.values())
        return islice(chain(back, merge(*batches, key=lambda each: each[1].order)), most)

    def batch(self, key: Hashable) -> Batch | None:
        """Those that wait and may share a group with a work of this key."""
        return self._batches.get(key)

    def _count(self, work: Work, change: int) -> None:
        self.count += change
        self.cost += change * work.cost
        self.unknown += 0 if work.cost else change
        if not self.count:
            self.cost = 0.0  # sums of fractions drift

    def aged_at(self, policy: Policy) -> float:
        """When (monotonic s) the head has been passed over long enough; never if nothing waits."""
        batch = self.first()
        if batch is None:
            return float("inf")
        return max(self.served_at, batch.head().queued_at) + policy.ageing_s


class ModelQueue:
    """All that waits for one model."""

    __slots__ = ("lanes",)

    def __init__(self) -> None:
        self.lanes = tuple(LaneQueue(lane) for lane in Lane)

    def __len__(self) -> int:
        return sum(lane.count for lane in self.lanes)

    def works(self) -> list[Work]:
        """Everything that waits, by arrival; O(n log n)."""
        found: list[Work] = []
        for lane in self.lanes:
            found += (work for batch in lane._presets for work in batch.works.values())
            found += (work for batch in lane._batches.values() for work in batch.works.values())
        return sorted(found, key=lambda work: work.order)

    def next_lane(self, policy: Policy, now: float) -> LaneQueue | None:
        """Which lane gives the next group.

        (1) A head that was passed over for `ageing_s`; of several, the one that waits longest.
            Its clock restarts with the group, so it costs the lanes above one group per bound.
        (2) Else the highest lane in which anything waits.
        """
        waiting = [lane for lane in self.lanes if lane.count]
        if len(waiting) > 1:
            # (1) Aged.
            due, oldest = min((lane.aged_at(policy), lane.lane) for lane in waiting)
            if due <= now:
                return self.lanes[oldest]
        # (2) Highest.
        return waiting[0] if waiting else None

    def next_cohort(self, policy: Policy, now: float) -> int | None:
        """The cohort of the oldest work of the next group; None where nothing waits."""
        lane = self.next_lane(policy, now)
        batch = lane.first() if lane else None
        return batch.head().cohort if batch else None

    def take(self, policy: Policy, now: float) -> tuple[Work, ...]:
        """Take the next group off the queue, or () if nothing is to start now.

        (1) The next lane decides; lower lanes do not slip past it while it waits for company.
        (2) A group leaves that is full, was put back, has waited long enough, or has aged.
        """
        # (1) Whose turn it is.
        lane = self.next_lane(policy, now)
        if lane is None:
            return ()
        # (2) Whether it goes now.
        if now < self._leaves_at(lane, policy):
            return ()
        return lane.take(policy, now)

    def next_group_at(self, policy: Policy, now: float) -> float:
        """When `take` has a group if nothing else happens; infinity if nothing waits."""
        lane = self.next_lane(policy, now)
        if lane is None:
            return float("inf")
        return min(self._leaves_at(lane, policy), self.aged_at(policy))

    def aged_at(self, policy: Policy) -> float:
        """When the first head of any lane has been passed over long enough."""
        return min(lane.aged_at(policy) for lane in self.lanes)

    def oldest_at(self) -> float:
        """Since when (monotonic s) the work waits that has waited longest; infinity if none."""
        heads = [batch.head() for lane in self.lanes if (batch := lane.first())]
        return min((work.queued_at for work in heads), default=float("inf"))

    def urgency(self, policy: Policy, now: float) -> Urgency:
        """How this model compares with others that wait for room.

        The order of `next_lane`, but in one lane the model for which most waits there comes first:
        its load serves most.
        """
        lane = self.next_lane(policy, now)
        batch = lane.first() if lane else None
        if lane is None or batch is None:
            return 2, 0.0, 0, 0
        aged_at = lane.aged_at(policy)
        if aged_at <= now:
            return 0, aged_at, 0, 0
        return 1, float(lane.lane), -lane.count, batch.head().order

    @staticmethod
    def _leaves_at(lane: LaneQueue, policy: Policy) -> float:
        batch = lane.first()
        if batch is None:
            return float("inf")
        return min(opens_at(batch, policy), lane.aged_at(policy))
