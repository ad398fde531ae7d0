"""What requests are told of their wait: read off the models, their children and the memory."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heapreplace
from itertools import chain
from math import ceil

from modelmora.messages import State
from modelmora.scheduling.device import Device
from modelmora.scheduling.expected import NEVER, Comer, Seat, left_s, next_start_s, room_in_s
from modelmora.scheduling.fleet import Fleet
from modelmora.scheduling.model import ModelKey
from modelmora.scheduling.policy import Policy
from modelmora.scheduling.residency import Verdict
from modelmora.scheduling.state import Model, Replica, Run, pins
from modelmora.scheduling.work import Position, Work

FRONT = 256
"""So many of those that wait for one model are looked through for where they stand."""


class Waits:
    """Estimates of when works start; None wherever anything on the way was never measured."""

    def __init__(self, fleet: Fleet, policy: Policy) -> None:
        self._fleet = fleet
        self._policy = policy

    def position(self, work: Work, now: float) -> Position:
        """What a work that comes now is told, if it is admitted; O(batches and replicas).

        It starts beside those that it may share a group with, and behind all others of its lane
        and of the lanes above.
        """
        model = self._fleet.models.get(work.model)
        if model is None:
            return Position(0, None)
        lanes = model.queue.lanes[: work.lane + 1]
        own = lanes[-1]
        before = own.before(work.principal)
        ahead = count = sum(lane.count for lane in lanes[:-1]) + before
        shares = [*(1.0 for _ in lanes[:-1]), before / max(own.count, 1)]
        costs = (lane.cost + lane.unknown * (model.run_ms or 0.0) for lane in lanes)
        ms = sum(share * cost for share, cost in zip(shares, costs, strict=True))
        if model.spec.slots is None:
            most = self._policy.group_requests
            beside = min(before, own.together(work.batch_key)) % most
            ms = max(0.0, ms - beside * (model.runs.of(work.shape) or 0.0))
            count = ceil((count - beside) / most)
        places = self._places_s(model, now, work)
        wait_s = None
        if places and (model.run_ms is not None or not count):
            wait_s = next_start_s(places, count, ms / 1000 / max(count, 1))
        return Position(ahead + model.started(), wait_s, model.state is State.LOADING)

    def standing(self, now: float) -> Iterator[tuple[Work, Position]]:
        """Where the first that wait for each model stand now."""
        for model in self._fleet.models.values():
            if len(model.queue):
                yield from self._line(model, now)

    def is_loading(self, key: ModelKey) -> bool:
        """Whether it is being loaded, and has no other child that serves."""
        model = self._fleet.models.get(key)
        return model is not None and model.state is State.LOADING

    def _line(self, model: Model, now: float) -> Iterator[tuple[Work, Position]]:
        """Those that wait, in the order in which they start, as their groups do."""
        places = self._places_s(model, now)
        most = 1 if model.spec.slots else self._policy.group_requests
        groups: dict[int, tuple[float, int, int]] = {}
        fronts = (lane.front(FRONT) for lane in model.queue.lanes)
        if places:
            heapify(places)
        for ahead, (batch, work) in enumerate(chain.from_iterable(fronts), model.started()):
            wait_s = None
            if places and (cost_s := self._cost_s(model, work)) is not None:
                wait_s, left, rest = groups.get(id(batch), (0.0, 0, batch.count))
                if not left:
                    wait_s, left = places[0], min(most, rest)
                    heapreplace(places, wait_s + left * cost_s)
                groups[id(batch)] = wait_s, left - 1, rest - 1
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
