"""What requests are told of their wait: read off the models, their children and the memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heapify, heapreplace
from itertools import chain, islice
from math import ceil

from modelmora.messages import State
from modelmora.scheduling.device import Device
from modelmora.scheduling.expected import NEVER, Comer, Seat, left_s, next_start_s, room_in_s
from modelmora.scheduling.fleet import Fleet
from modelmora.scheduling.line.queue import LaneQueue
from modelmora.scheduling.line.strands import Batch, Preset
from modelmora.scheduling.line.work import Position, Work
from modelmora.scheduling.model import ModelKey
from modelmora.scheduling.policy import Policy
from modelmora.scheduling.residency import Verdict
from modelmora.scheduling.state import Model, Replica, Run, pins

FRONT = 256
"""So many of those that wait for one model are looked through for where they stand."""


class Groups:
    """When the groups of a line start, as its works are gone through in their order.

    `places` is when each place is free, in seconds; a group has `most` works of one batch.
    """

    def __init__(self, places: list[float], most: int) -> None:
        heapify(places)
        self._places = places
        self._most = most
        self._groups: dict[int, tuple[float, int, int]] = {}

    def start_s(self, batch: Preset | Batch, cost_s: float) -> float:
        """When the next work of that batch starts, which takes so long; all of its group do so."""
        start_s, missing, behind = self._groups.get(id(batch), (0.0, 0, batch.count))
        if not missing:
            start_s, missing = self._places[0], min(self._most, behind)
            heapreplace(self._places, start_s + missing * cost_s)
        self._groups[id(batch)] = start_s, missing - 1, behind - 1
        return start_s

    def next_s(self, batch: Batch | None) -> float:
        """When one more starts, of this batch, behind all of them."""
        if batch and (found := self._groups.get(id(batch))):
            start_s, missing, behind = found
            if missing or (not behind and batch.count % self._most):
                return start_s
        return self._places[0]


class Waits:
    """Estimates of when works start; None wherever anything on the way was never measured."""

    def __init__(self, fleet: Fleet, policy: Policy) -> None:
        self._fleet = fleet
        self._policy = policy

    def position(self, work: Work, now: float) -> Position:
        """What a work that comes now is told, if it is admitted.

        It starts beside those whose group it joins, else behind all others of its lane and of the
        lanes above. Where these are many, all are taken for equal.
        """
        model = self._fleet.models.get(work.model)
        if model is None:
            return Position(0, None)
        lanes = model.queue.lanes[: work.lane + 1]
        before = lanes[-1].before(work.principal)
        ahead = sum(lane.count for lane in lanes[:-1]) + before
        places = self._places_s(model, now, work)
        wait_s = None
        if places and (model.run_ms is not None or not ahead):
            behind = self._behind_few if ahead <= FRONT else self._behind_many
            wait_s = behind(model, lanes, before, work, places)
        return Position(ahead + model.started(), wait_s, model.state is State.LOADING)

    def _behind_few(
        self,
        model: Model,
        lanes: Sequence[LaneQueue],
        before: int,
        work: Work,
        places: list[float],
    ) -> float:
        groups = Groups(places, self._most(model))
        *above, own = (lane.front(FRONT) for lane in lanes)
        for batch, each in chain(*above, islice(own, before)):
            groups.start_s(batch, self._cost_s(model, each) or 0.0)
        return groups.next_s(lanes[-1].batch(work.batch_key))

    def _behind_many(
        self,
        model: Model,
        lanes: Sequence[LaneQueue],
        before: int,
        work: Work,
        places: list[float],
    ) -> float:
        most, own = self._most(model), lanes[-1]
        shares = [*(1.0 for _ in lanes[:-1]), before / max(own.count, 1)]
        costs = (lane.cost + lane.unknown * (model.run_ms or 0.0) for lane in lanes)
        ms = sum(share * cost for share, cost in zip(shares, costs, strict=True))
        batch = own.batch(work.batch_key)
        beside = min(before, batch.count) % most if batch else 0
        ms = max(0.0, ms - beside * (model.runs.of(work.shape) or 0.0))
        count = ceil((sum(lane.count for lane in lanes[:-1]) + before - beside) / most)
        return next_start_s(places, count, ms / 1000 / max(count, 1))

    def _most(self, model: Model) -> int:
        """How many works start together at most."""
        return 1 if model.spec.slots else self._policy.group_requests

    def standing(self, now: float) -> Iterator[tuple[Work, Position]]:
        """Where the first that wait for each model stand now."""
        for key, model in self._fleet.models.items():
            if len(model.queue):
                yield from self.line(key, now)

    def is_loading(self, key: ModelKey) -> bool:
        """Whether it is being loaded, and has no other child that serves."""
        model = self._fleet.models.get(key)
        return model is not None and model.state is State.LOADING

    def line(self, key: ModelKey, now: float) -> Iterator[tuple[Work, Position]]:
        """Where the first that wait for it stand, in the order in which they start."""
        model = self._fleet.models.get(key)
        if model is None:
            return
        places = self._places_s(model, now)
        groups = Groups(places, self._most(model)) if places else None
        fronts, known = (lane.front(FRONT) for lane in model.queue.lanes), True
        for ahead, (batch, work) in enumerate(chain.from_iterable(fronts), model.started()):
            cost_s, wait_s = self._cost_s(model, work), None
            if groups and known:
                wait_s = groups.start_s(batch, cost_s or 0.0)
            known = cost_s is not None
            yield work, Position(ahead, wait_s, model.state is State.LOADING)

    @staticmethod
    def _cost_s(model: Model, work: Work) -> float | None:
        ms = work.cost or model.runs.of(work.shape)
        return None if ms is None else ms / 1000

    # Children ------------------------------------------------------------------------------------

    def _places_s(self, model: Model, now: float, work: Work | None = None) -> list[float] | None:
        """In how many seconds each place for works of the model is free; `work`: what comes to it.

        (1) Each slot of a ready child, or all of one that works in order, once what runs is done.
        (2) Those of one that is being loaded, once it is.
        (3) It is in memory nowhere, or about to leave: once it has room, and is loaded.
        """
        found: list[float] = []
        slots = model.spec.slots
        for child in model.replicas.values():
            # (1) Ready.
            if child.state is State.READY:
                left = [self._run_left_s(run, child, now) for run in child.runs.values()]
                known = [each for each in left if each is not None]
                if len(known) < len(left):
                    return None
                idle = [0.0] * ((slots or 0) - len(known))
                found += [*known, *idle] if slots else [sum(known)]
            # (2) Loading.
            elif child.state is State.LOADING:
                if model.load_ms is None:
                    return None
                most_s = child.overdue_at(self._policy) - now
                ready_s = left_s(model.load_ms / 1000, now - child.heard, most_s)
                found += [ready_s] * (slots or 1)
        # (3) Nowhere.
        if not found:
            ready_in_s = self._ready_in_s(model, now, work)
            return None if ready_in_s is None else [ready_in_s] * (slots or 1)
        return found

    def _run_left_s(self, run: Run, child: Replica, now: float) -> float | None:
        costs = [self._cost_s(child.model, work) for work in run.group.works]
        if None in costs:
            return None
        whole_s = sum(cost for cost in costs if cost is not None)
        if run.began is None:
            return whole_s
        return left_s(whole_s, now - run.began, child.overdue_at(self._policy) - now)

    # Room ----------------------------------------------------------------------------------------

    def _ready_in_s(self, model: Model, now: float, work: Work | None) -> float | None:
        """When a model that is nowhere will be ready: behind those that are more urgent."""
        option = self._fleet.place(model, now)
        if model.load_ms is None or option.plan.verdict is Verdict.NEVER:
            return None
        memory = option.device
        comers = []
        for one in self._before(model, now, work):
            if one.load_ms is None or (len(one.queue) and one.run_ms is None):
                return None
            bytes_ = memory.bytes_of(one.need(memory.kind), memory)
            comers.append(Comer(bytes_, one.load_ms / 1000, self._queue_s(one)))
        own = Comer(memory.bytes_of(option.need, memory), model.load_ms / 1000, 0.0)
        seats = [self._seat(child, memory, now) for child in self._fleet.replicas.values()]
        aged_s = min(model.queue.aged_at(self._policy) - now, self._policy.ageing_s)
        room_s = room_in_s(memory.budget_bytes, seats, [*comers, own], max(0.0, aged_s))
        return None if room_s == NEVER else room_s + own.load_s

    def _before(self, model: Model, now: float, work: Work | None) -> list[Model]:
        policy = self._policy
        mine = model.queue.urgency(policy, now)
        if work:
            mine = min(mine, (1, float(work.lane), -1 - model.queue.lanes[work.lane].count, 0))
        others = (one for one in self._fleet.comers(now) if one is not model)
        return [one for one in others if one.queue.urgency(policy, now) <= mine]

    def _seat(self, child: Replica, memory: Device, now: float) -> Seat:
        """When the child's bytes are given back, if nothing more is asked of its model."""
        return Seat(NEVER if pins(child) else self._idle_in_s(child, now), child.holds(memory))

    def _idle_in_s(self, child: Replica, now: float) -> float:
        model = child.model
        if child.state in (State.DRAINING, State.LEAVING):
            left = [self._run_left_s(run, child, now) for run in child.runs.values()]
            return sum(NEVER if each is None else each for each in left)
        places = self._places_s(model, now)
        if places is None or (len(model.queue) and model.run_ms is None):
            return NEVER
        idle_s = max(places) + self._queue_s(model) / len(places)
        return max(idle_s, child.fresh_until(self._policy) - now) if child.load_ms else idle_s

    @staticmethod
    def _queue_s(model: Model) -> float:
        """Seconds that all takes which waits for the model."""
        lanes = model.queue.lanes
        return sum(lane.cost + lane.unknown * (model.run_ms or 0.0) for lane in lanes) / 1000
