"""What waits for one model: a queue per lane, in fair turns, each principal's by arrival."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from heapq import merge
from itertools import chain, islice

from modelmora.messages import Lane
from modelmora.scheduling.line.batching import opens_at, take_group
from modelmora.scheduling.line.strands import Batch, Flow, Preset, Strand, charged
from modelmora.scheduling.line.turns import Clock, Rising
from modelmora.scheduling.line.work import Work
from modelmora.scheduling.policy import Policy

Urgency = tuple[int, float, int, int]
"""Sorts what comes first first: aged heads; then lane, number and arrival; then nothing waiting."""


class LaneQueue:
    """The works of one lane, in batches of equal key and, in these, in strands of one principal.

    Whose turn it is: see `turns`. Every operation is O(log n) amortised. A principal with nothing
    waiting is forgotten when its turn would come, when such are the larger part, and when nothing
    waits any more.
    """

    __slots__ = (
        "_batches",
        "_clock",
        "_flows",
        "_presets",
        "_turns",
        "cost",
        "count",
        "lane",
        "passed_at",
        "unknown",
    )

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.count = 0
        self.cost = 0.0
        """Device ms that its works are expected to take, but for `unknown` of them."""
        self.unknown = 0
        self.passed_at = 0.0
        """Since when it has been passed over (monotonic s); of no meaning while nothing waits."""
        self._presets: deque[Preset] = deque()
        self._begin()

    def _begin(self) -> None:
        self._clock = Clock()
        self._batches: dict[Hashable, Batch] = {}
        self._flows: dict[str, Flow] = {}
        self._turns = Rising(Flow.turn, self._forget)

    def append(self, work: Work) -> None:
        """Let the work wait; its order is higher than that of all before."""
        if not self.count:
            self.passed_at = work.queued_at
        self._more(work)
        batch = self._batches.get(work.batch_key)
        strand = batch.strands.get(work.principal) if batch else None
        if strand is not None and strand.flow.count:
            strand.add(work)
        else:
            self._begin_flow(work)

    def _begin_flow(self, work: Work) -> None:
        """A work whose principal has nothing waiting, or nothing that may share its group."""
        self.first()  # so that the clock is right, and nothing is kept that is to be forgotten
        batch = self._batches.get(work.batch_key)
        if batch is None:
            batch = self._batches[work.batch_key] = Batch(work.batch_key, self._close)
        known = self._flows.get(work.principal)
        flow = known or Flow(work.principal, self._clock, self._close)
        strand = batch.strands.get(work.principal)
        if strand is not None:
            strand.add(work)
            return
        strand = Strand(flow, batch)
        strand.add(work)
        flow.strands.push(strand)
        batch.add(work.principal, strand)
        if known is None:
            self._flows[work.principal] = flow
            self._turns.push(flow)

    def put_back(self, groups: Sequence[tuple[Work, ...]]) -> None:
        """Put groups before all others, in this order; each leaves again as it is."""
        for works in reversed(groups):
            self._presets.appendleft(Preset(works))
            for work in works:
                self._more(work)

    def remove(self, work: Work) -> None:
        """Take a waiting work out."""
        if work.place is not None:
            work.place.remove(work)
            self._less((work,))

    def first(self) -> Strand | Preset | None:
        """What is next: a group that was put back, else the oldest works of whose turn it is."""
        if not self.count:
            return None
        while self._presets:
            if self._presets[0].works:
                return self._presets[0]
            self._presets.popleft()
        flow = self._turns.first()
        if flow is None:
            return None
        self._clock.reach(flow.tag)
        return flow.strands.first()

    def take(self, policy: Policy, now: float) -> tuple[Work, ...]:
        """Take the next group; the lane is not empty. Its ageing clock restarts."""
        first = self.first()
        works = take_group(first, policy) if first else ()
        self._less(works)
        self.passed_at = now
        return works

    def settle(self, works: Sequence[Work], run_ms: float) -> None:
        """Charge these works with what they took in fact: each its part, by what was expected."""
        self.first()  # so that who is to be forgotten is
        per_ms = run_ms / charged(works)
        for work in works:
            expected = charged((work,))
            work.cost = expected * per_ms
            if flow := self._flows.get(work.principal):
                flow.charge(work.cost - expected)

    def aged_at(self, policy: Policy) -> float:
        """When (monotonic s) it has been passed over long enough; never if nothing waits."""
        return self.passed_at + policy.ageing_s if self.count else float("inf")

    def front(self, most: int) -> Iterator[tuple[Preset | Batch, Work]]:
        """The first works, with those they wait with: what was put back, then by turns."""
        back = ((preset, work) for preset in self._presets for work in preset.works.values())
        turns = merge(*(flow.line() for flow in self._flows.values()))
        return islice(chain(back, ((batch, work) for _, _, batch, work in turns)), most)

    def batch(self, key: Hashable) -> Batch | None:
        """Those that wait and may share a group with a work of this key."""
        return self._batches.get(key)

    def before(self, principal: str) -> int:
        """How many have their turn before one that comes now: of each other as many as its own."""
        flow = self._flows.get(principal)
        own = flow.count if flow else 0
        back = sum(preset.count for preset in self._presets)
        others = self._clock.waiting - (own > 0)
        return min(self.count, back + own + others * (own + 1))

    def works(self) -> Iterator[Work]:
        """All that waits, in no order."""
        for preset in self._presets:
            yield from preset.works.values()
        for batch in self._batches.values():
            for strand in batch.strands.values():
                yield from strand.works.values()

    def _more(self, work: Work) -> None:
        self.count += 1
        self.cost += work.cost
        self.unknown += not work.cost

    def _less(self, works: Sequence[Work]) -> None:
        costs = [work.cost for work in works]
        self.count -= len(costs)
        self.cost -= sum(costs)
        self.unknown -= costs.count(0.0)
        if not self.count:
            self.cost = 0.0  # sums of fractions drift
            self._begin()

    def _forget(self, flow: Flow) -> None:
        """It has nothing waiting; nor is anything kept of what it had waiting."""
        del self._flows[flow.principal]
        flow.strands.sweep()

    def _close(self, strand: Strand) -> None:
        """It is empty, and was found so in one of its two heaps; the other drops it when it can."""
        batch, principal = strand.batch, strand.flow.principal
        if batch.strands.get(principal) is strand:
            del batch.strands[principal]
            if not batch.strands and self._batches.get(batch.key) is batch:
                del self._batches[batch.key]


class ModelQueue:
    """All that waits for one model."""

    __slots__ = ("lanes",)

    def __init__(self) -> None:
        self.lanes = tuple(LaneQueue(lane) for lane in Lane)

    def __len__(self) -> int:
        return sum(lane.count for lane in self.lanes)

    def works(self) -> list[Work]:
        """Everything that waits, by arrival; O(n log n)."""
        found = (work for lane in self.lanes for work in lane.works())
        return sorted(found, key=lambda work: work.order)

    def next_lane(self, policy: Policy, now: float) -> LaneQueue | None:
        """Which lane gives the next group.

        (1) One that was passed over for `ageing_s`; of several, the one that was so for longest.
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

    def head(self, policy: Policy, now: float) -> Work | None:
        """The oldest work of the next group; None where nothing waits."""
        lane = self.next_lane(policy, now)
        first = lane.first() if lane else None
        return first.head() if first else None

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

    def settle(self, works: Sequence[Work], run_ms: float) -> None:
        """A group of these works took so long in fact (ms)."""
        self.lanes[works[0].lane].settle(works, run_ms)

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
        heads = [first.head() for lane in self.lanes if (first := lane.first())]
        return min((work.queued_at for work in heads), default=float("inf"))

    def urgency(self, policy: Policy, now: float) -> Urgency:
        """How this model compares with others that wait for room.

        The order of `next_lane`, but in one lane the model for which most waits there comes first:
        its load serves most.
        """
        lane = self.next_lane(policy, now)
        first = lane.first() if lane else None
        if lane is None or first is None:
            return 2, 0.0, 0, 0
        aged_at = lane.aged_at(policy)
        if aged_at <= now:
            return 0, aged_at, 0, 0
        return 1, float(lane.lane), -lane.count, first.head().order

    @staticmethod
    def _leaves_at(lane: LaneQueue, policy: Policy) -> float:
        first = lane.first()
        if first is None:
            return float("inf")
        return min(opens_at(first, policy), lane.aged_at(policy))
