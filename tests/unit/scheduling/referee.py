"""Effects that check every order of the scheduler against the rules, from records of their own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from modelmora.errors import Code, RequestError
from modelmora.messages import DeviceKind, Health, Lane
from modelmora.scheduling import (
    Chunk,
    Device,
    Group,
    ItemResult,
    KillReason,
    ModelKey,
    ModelSpec,
    Need,
    Placement,
    Policy,
    State,
    Work,
)
from tests.unit.scheduling.fairness import Turns

Queue = tuple[ModelKey, Lane]


@dataclass
class Child:
    """A child as the world knows it, not as the scheduler does."""

    spec: ModelSpec
    device: Device
    ready: bool = False
    killed: bool = False
    groups: dict[int, Group] = field(default_factory=dict)
    threads: int = 0


class Referee:
    """Effects that check every order against the rules, from records of their own."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.now = 0.0
        self.children: dict[int, Child] = {}
        self.measured: dict[tuple[ModelKey, DeviceKind], Need] = {}
        self.waiting: dict[Queue, list[Work]] = {}
        self.served: dict[Queue, float] = {}
        self.began: dict[Queue, float] = {}
        self.turns: dict[Queue, Turns] = {}
        self.back: set[Work] = set()
        """What a dead child has given back."""
        self.ends: dict[Work, str] = {}
        self.dropped: set[Work] = set()
        self.told: dict[ModelKey, Health] = {}
        self.halves: dict[Work, object] = {}
        """Of those that a stepped child has died with, in which half they were."""

    def submit(self, work: Work) -> None:
        """A request is about to be submitted."""
        queue = work.model, work.lane
        waiting = self.waiting.setdefault(queue, [])
        there = [one for one in waiting if one.deadline is None or one.deadline > self.now]
        if not there:
            self.began[queue] = self.now
            self.turns[queue] = Turns()
        if self.turns[queue].exact and work.principal not in {one.principal for one in there}:
            self.turns[queue].comes(work.principal, there)
        waiting.append(work)

    def need(self, spec: ModelSpec, device: Device) -> Need:
        seen = self.measured.get((spec.key, device.kind), Need(0))
        guessed = spec.estimated(device.kind)
        return Need(seen.ram or guessed.ram, seen.gpu or guessed.gpu)

    def load(self, replica: int, spec: ModelSpec, place: Placement) -> None:
        assert place.device.kind in spec.devices
        self.children[replica] = Child(spec, place.device)
        alive = [child for child in self.children.values() if child.spec.key == spec.key]
        assert len(alive) <= spec.max_replicas, "more children than a model may have"
        children = self.children.values()
        needs = [(self.need(child.spec, child.device), child.device) for child in children]
        assert place.need == needs[-1][0]
        if place.need.ram:
            assert sum(need.ram for need, _ in needs) <= self.policy.budget_bytes, "RAM"
        if place.need.gpu:
            held = sum(need.gpu for need, device in needs if device == place.device)
            assert held <= place.device.budget_bytes, "memory of a GPU"

    def run(self, group: Group) -> None:
        child = self.children[group.replica]
        assert child.ready
        assert not child.killed
        slots = child.spec.slots
        if slots:
            assert len(group.works) == 1
            beside = {
                self.halves.get(work) for each in child.groups.values() for work in each.works
            }
            assert beside <= {self.halves.get(group.works[0])}, "suspects beside others"
        child.groups[group.id] = group
        assert len(child.groups) <= (slots or 2), "one group too many"
        child.threads = group.threads
        self.check_turn(group)
        lane = group.works[0].lane
        for work in group.works:
            assert work.deadline is None or work.deadline > self.now, "late work started"
            self.leave(work)
        self.served[group.model, lane] = self.now

    def check_turn(self, group: Group) -> None:
        first = group.works[0]
        assert {work.lane for work in group.works} == {first.lane}
        assert {work.batch_key for work in group.works} == {first.batch_key}
        assert len(group.works) <= self.policy.group_requests
        assert len(group.works) == 1 or (
            sum(work.size for work in group.works) <= self.policy.group_bytes
        )
        aged = {lane for lane in Lane if self.aged(group.model, lane)}
        if aged:
            assert first.lane in aged, "an aged head was passed over"
        else:
            higher = [lane for lane in Lane if lane < first.lane]
            assert not any(self.waiting.get((group.model, lane)) for lane in higher), "lane order"
        queue = group.model, first.lane
        if back := [work for work in self.waiting[queue] if work in self.back]:
            assert set(group.works) <= set(back), "before what was given back"
        elif self.turns[queue].exact:
            slots = self.children[group.replica].spec.slots
            policy = replace(self.policy, group_requests=1) if slots else self.policy
            self.turns[queue].takes(group.works, self.waiting[queue], policy)

    def settle(self, group: Group, run_ms: float) -> None:
        """A child is about to say how long it took."""
        queue = group.model, group.works[0].lane
        if queue in self.turns and self.turns[queue].exact:
            self.turns[queue].settle(group.works, run_ms, self.waiting[queue])

    def aged(self, model: ModelKey, lane: Lane) -> bool:
        """The rule written a second time, from the referee's own records."""
        if not self.waiting.get((model, lane)):
            return False
        since = max(each.get((model, lane), float("-inf")) for each in (self.began, self.served))
        return since + self.policy.ageing_s <= self.now

    def threads(self, replica: int, count: int) -> None:
        child = self.children[replica]
        assert child.groups, "one that runs nothing hears it with its next group"
        assert count != child.threads, "told what it knows"
        child.threads = count

    def check_shares(self) -> None:
        busy = [child for child in self.children.values() if child.groups]
        computing = [child.threads for child in busy if child.spec.needs_cores]
        assert sum(computing) <= max(self.policy.cores, len(computing)), "more than the cores"
        assert len(set(computing)) <= 1, "unequal shares"
        if computing:
            assert computing[0] == max(1, self.policy.cores // len(computing)), "cores left over"
        assert all(child.threads == 1 for child in busy if not child.spec.needs_cores)

    def cancel(self, group: int, index: int) -> None:
        assert any(group in child.groups for child in self.children.values())

    def kill(self, replica: int, reason: KillReason) -> None:
        child = self.children[replica]
        assert not child.killed, "killed twice"
        if reason in (KillReason.ROOM, KillReason.UNLOAD, KillReason.REMOVED, KillReason.SPARE):
            assert not child.groups, "killed at work"
        if reason is KillReason.IDLE:
            assert not child.groups, "at work, and sent away as idle"
            assert not any(self.waiting.get((child.spec.key, lane)) for lane in Lane), "wanted"
        child.killed = True

    def turned(self, model: ModelKey, was: Health, health: Health) -> None:
        assert self.told.get(model, Health(State.COLD)) == was, "a turn that was not told"
        assert health != was
        self.told[model] = health

    def started(self, work: Work) -> None:
        assert work not in self.ends
        assert work not in self.dropped

    def progressed(self, work: Work, chunk: Chunk) -> None:
        assert work not in self.ends
        assert work not in self.dropped

    def answered(self, work: Work, result: ItemResult) -> None:
        self.end(work, "answered")

    def failed(self, work: Work, error: RequestError) -> None:
        if error.code is Code.EXPIRED and work.deadline and work.deadline > self.now:
            # It was taken, and would have been late: its place in the group stays empty.
            self.turns[work.model, work.lane].exact = False
        self.end(work, error.code.value)

    def end(self, work: Work, how: str) -> None:
        assert work not in self.ends, "a second outcome"
        assert work not in self.dropped, "an outcome of dropped work"
        self.ends[work] = how
        self.leave(work)

    def leave(self, work: Work) -> None:
        queue = self.waiting.get((work.model, work.lane), [])
        if work in queue:
            queue.remove(work)
            if not queue:
                self.turns[work.model, work.lane] = Turns()

    def exit(self, replica: int) -> None:
        """The child is gone; what it held and still needs an answer waits again."""
        child = self.children.pop(replica)
        held = [
            work
            for group in child.groups.values()
            for work in group.works
            if work not in self.ends and work not in self.dropped
        ]
        for work in held:
            self.waiting[work.model, work.lane].append(work)
            self.turns[work.model, work.lane].exact = False
            self.back.add(work)
        if child.spec.slots and held:
            middle = (len(held) + 1) // 2
            for half in (held[:middle], held[middle:]):
                self.halves |= dict.fromkeys(half, object())
