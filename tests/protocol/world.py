"""Two nodes, one broker and everything that may happen to them, one step at a time."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from random import Random
from types import SimpleNamespace
from typing import Any, NamedTuple

from modelmora.agents.partitions.takeover import SLACK_MS
from modelmora.kafka.batches import Partition
from modelmora.messages import InferenceRequest
from modelmora.messages.headers import HANDED_ON, RUN
from modelmora.serving import HandedOn
from modelmora.wire import decode_request_head, encode_request, read_run
from tests.protocol.broker import LANE, LETTERS, PARTITIONS, POISON, RESULTS, Broker
from tests.protocol.judge import Judge, Violation
from tests.protocol.node import Handed, Killed, Node

NODES = {"a": ("echo", "rare"), "b": ("echo",)}
STEPS = {
    "send": 12, "poll": 16, "take": 10, "work": 10, "append": 12, "acknowledge": 12, "commit": 6,
    "time": 8, "crash": 1, "freeze": 1, "wake": 2, "rebalance": 1, "lose": 1, "die": 1, "cancel": 1,
    "replay": 1, "cut": 1, "remake": 0.4, "poison": 0.2,
}  # fmt: skip
"""What may happen, and how often of all."""
EARLY_S = SLACK_MS / 1000 - 0.1
HEAL_ROUNDS = 400


class Step(NamedTuple):
    """One thing that happens, to which node, and a number for whatever is to be chosen."""

    kind: str
    node: str
    number: int


class Clock:
    """The time of a world (monotonic, s)."""

    now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def schedule(seed: int, length: int) -> list[Step]:
    """Steps drawn by this seed."""
    draw = Random(seed)
    kinds = draw.choices([*STEPS], [*STEPS.values()], k=length)
    return [Step(kind, draw.choice("ab"), draw.randrange(100)) for kind in kinds]


def request(number: int, choice: int) -> bytes:
    """The value of a request: most are for both nodes, some for one, some expire, some are none."""
    name = f"r{number}"
    if choice % 10 == 0:
        return b"broken " + name.encode()
    whole = InferenceRequest(name, "rare" if choice % 5 == 1 else "echo", ("x",))
    short = 3_000 if choice % 3 == 2 else None
    return encode_request(
        InferenceRequest(whole.request_id, whole.model, whole.inputs, timeout_ms=short)
    )


class World:
    """What there is. A step that cannot happen now does nothing."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        clock.now = Clock.now
        self.broker = Broker(clock)
        self.judge = Judge(self.broker)
        self.broker.on_commit = self.judge.on_commit
        self.nodes: dict[str, Node] = {}
        self.sent = 0
        for name in NODES:
            self._begin(name)

    def _begin(self, name: str) -> None:
        parts = (name, self.clock, self.broker, NODES[name], self._living, self._looked)
        self.nodes[name] = Node(*parts)

    def _living(self) -> list[Any]:
        """What the registry would say of the nodes."""
        held: dict[str, list[int]] = {name: [] for name in NODES}
        for (_, number), member in self.broker.held.items():
            held[member.node.name].append(number)
        return [
            SimpleNamespace(node=name, partitions=held[name], lease_ms=1000, has=serves(models))
            for name, models in NODES.items()
        ]

    def _looked(self, node: Node, partition: Partition) -> None:
        node.known[partition] = self.judge.committed(partition)
        self.broker.lanes[partition].looked = self.clock.now

    # Steps ---------------------------------------------------------------------------------------

    def play(self, steps: Iterable[Step]) -> None:
        """Have all of it happen, then nothing bad any more. Raises Violation."""
        for step in steps:
            getattr(self, step.kind)(step.node, step.number)
        self._heal()

    def send(self, _: str, number: int) -> None:
        """A request more."""
        if not self._has_room(PARTITIONS[number % 2]):
            return
        self.sent += 1
        self._append_request(PARTITIONS[number % 2], request(self.sent, number // 2), ())

    def poison(self, _: str, number: int) -> None:
        """A request more, which ends whatever node decodes it."""
        if self._has_room(PARTITIONS[number % 2]):
            self.sent += 1
            value = encode_request(InferenceRequest(f"{POISON}{self.sent}", POISON, ("x",)))
            self._append_request(PARTITIONS[number % 2], value, ())

    def _has_room(self, partition: Partition) -> bool:
        """Assumed: a log that was cut is looked at before it has grown as far again."""
        log = self.broker.lanes.get(partition)
        return log is None or not log.unseen or log.end + 1 < log.unseen

    def _append_request(self, partition: Partition, value: bytes, headers: Any) -> None:
        stored = self.broker.append(*partition, value, headers)
        if not value.startswith(b"broken"):
            run = read_run(dict(headers).get(RUN))
            stored.name = decode_request_head(value).request_id, run

    def replay(self, _: str, number: int) -> None:
        """A dead letter, or an expired request, is put back as the next run of its id."""
        log = self.broker.lanes[PARTITIONS[number % 2]].records
        record = log[number % len(log)] if log else None
        if not self._has_room(PARTITIONS[number % 3 % 2]):
            return
        if record and record.name and record.name in self.judge.ended and record.name[1] < 3:
            run = record.name[0], record.name[1] + 1
            everywhere = [each for lane in self.broker.lanes.values() for each in lane.records]
            if all(each.name != run for each in everywhere):
                headers = ((RUN, str(run[1]).encode()),)
                self._append_request(PARTITIONS[number % 3 % 2], record.content or b"", headers)

    def cancel(self, _: str, number: int) -> None:
        """Somebody gives up on a request."""
        for node in self._awake():
            node.call(node.service.cancel, f"r{self.sent - number % 4}")

    def _awake(self) -> list[Node]:
        return [node for node in self.nodes.values() if not node.frozen]

    def poll(self, name: str, _: int = 0) -> None:
        """The group's reader has a turn."""
        if (node := self.nodes.get(name)) and not node.frozen:
            node.call(node.partitions.on_logs, {LANE: self.broker.log_name})
            node.member.poll()
            node.call(node.requests.regate)

    def take(self, name: str, _: int = 0) -> None:
        """The agent gets what was fetched, and may not outlive it."""
        if (node := self.nodes.get(name)) and not node.frozen:
            try:
                node.take()
            except Killed as killed:
                self.judge.on_killed(killed.args)
                del self.nodes[name]

    def work(self, name: str, _: int = 0) -> None:
        """A child gets on."""
        if (node := self.nodes.get(name)) and not node.frozen:
            node.work()

    def die(self, name: str, _: int = 0) -> None:
        """A child dies."""
        if (node := self.nodes.get(name)) and not node.frozen:
            node.work(dies=True)

    def commit(self, name: str, _: int = 0) -> None:
        """It is time to commit."""
        if (node := self.nodes.get(name)) and not node.frozen:
            node.call(node.partitions.commit)

    def append(self, name: str, number: int = 0) -> None:
        """The broker takes what a producer has sent; a node may be frozen meanwhile."""
        if node := self.nodes.get(name):
            waiting = {
                one.topic: one
                for one in reversed(node.wire.handed)
                if not one.stored and self._has_room((one.topic, one.partition))
            }
            if waiting:
                self._take(node, [*waiting.values()][number % len(waiting)])

    def _take(self, node: Node, handed: Handed) -> None:
        headers = handed.headers
        partition = max(0, handed.partition)
        stored = self.broker.append(handed.topic, partition, handed.value, headers)
        handed.stored = stored
        if handed.topic == RESULTS:
            self.judge.on_outcome(stored, node.known)
        elif handed.topic == LETTERS:
            for lane in self.broker.lanes.values():
                for record in lane.records:
                    if record.content == stored.content and record.name is None:
                        record.buried = True
        else:
            found = dict(headers)
            name = decode_request_head(stored.content).request_id, read_run(found.get(RUN))
            stored.name = name
            for lane in self.broker.lanes.values():
                for record in lane.records:
                    if record.name == name and hops(record.headed) < hops(headers):
                        record.handed_on = True

    def acknowledge(self, name: str, number: int = 0, *, lost: bool = False) -> None:
        """The producer hears of what was taken."""
        if (node := self.nodes.get(name)) and not node.frozen:
            ready = {one.topic: one for one in reversed(node.wire.handed) if one.stored}
            if ready:
                node.tell([*ready.values()][number % len(ready)], lost=lost)

    def lose(self, name: str, number: int) -> None:
        """It never hears of it, and asks again."""
        self.acknowledge(name, number, lost=True)

    def time(self, _: str, number: int) -> None:
        """Time passes."""
        self._pass(min(0.05 + number / 30, *self._patience()))

    def _pass(self, seconds: float) -> None:
        """Who is not frozen is heard of."""
        self.clock.now += seconds
        for node in self._awake():
            node.member.heard = self.clock.now
            late = [h for h in node.wire.handed if self.clock.now - h.since > node.lease.write_s]
            for handed in late:
                node.tell(handed)
            node.loop.run()
        self.broker.expire()

    # Faults --------------------------------------------------------------------------------------

    def crash(self, name: str, number: int) -> None:
        """A node is gone; what it has sent may still arrive."""
        if self._is_calm() and (node := self.nodes.pop(name, None)):
            for handed in [one for one in node.wire.handed if not one.stored][: number % 4]:
                if self._has_room((handed.topic, handed.partition)):
                    self._take(node, handed)

    def freeze(self, name: str, _: int) -> None:
        """A node stands still."""
        if self._is_calm():
            self.nodes[name].frozen = True

    def wake(self, name: str, _: int = 0) -> None:
        """It goes on, or is started again."""
        if name not in self.nodes:
            self._begin(name)
        self.nodes[name].frozen = False

    def rebalance(self, _: str, number: int) -> None:
        """The partitions are to lie otherwise."""
        if self._is_calm():
            self.broker.share(number)

    def cut(self, _: str, number: int) -> None:
        """The broker loses the end of a log."""
        partition = PARTITIONS[number % 2]
        log = self.broker.lanes[partition]
        if log.records and self._is_calm():
            del log.records[len(log.records) - 1 - number // 2 % min(3, len(log.records)) :]
            reach = self._reach(partition)
            log.was_cut, log.unseen = True, reach if reach > log.end else 0
            log.looked, log.cut_at = 0.0, self.clock.now

    def _is_calm(self) -> bool:
        """Assumed: a log that was cut is looked at before anything else goes wrong."""
        seen = not any(log.unseen for log in self.broker.lanes.values())
        return seen and len(self._awake()) == len(NODES)

    def _reach(self, partition: Partition) -> int:
        """How far anybody knows the log to reach."""
        read = [each.next.get(partition, 0) for each in self.broker.members]
        read += [node.intake.next_offset(partition) or 0 for node in self.nodes.values()]
        return max(0, *read, *(each + 1 for each in self.judge.committed(partition)))

    def _patience(self) -> list[float]:
        """Assumed: a log that was cut is looked at within the time by which commits are early."""
        logs = [log for log in self.broker.lanes.values() if log.unseen and not log.looked]
        return [inf, *(max(0.0, log.cut_at + EARLY_S - self.clock.now) for log in logs)]

    def remake(self, _: str, number: int) -> None:
        """The lane is deleted and made anew."""
        if self._is_calm():
            self.broker.log_name += "+"
            for partition, log in self.broker.lanes.items():
                log.unseen, log.was_cut = self._reach(partition), True
                log.looked, log.cut_at = 0.0, inf
                log.records.clear()

    # The end -------------------------------------------------------------------------------------

    def _heal(self) -> None:
        for _ in range(HEAL_ROUNDS):
            for name in NODES:
                self.wake(name)
                self._get_on(self.nodes[name])
            if not self.judge.unanswered():
                break
            self._pass(0.7)
        else:
            raise Violation(f"lost: {', '.join(self.judge.unanswered())}")
        for node in self.nodes.values():
            if node.loop.faults:
                raise Violation(f"raised: {node.loop.faults[0]}")

    def _get_on(self, node: Node) -> None:
        name = node.name
        self.poll(name)
        while node.feed and name in self.nodes:
            self.take(name)
        if name not in self.nodes:
            return
        for _ in range(20):
            if not node.work():
                break
        for _ in range(len(node.wire.handed) * 2):
            self.append(name)
            self.acknowledge(name)
        self.commit(name)


def serves(models: tuple[str, ...]) -> Any:
    """Whether a node of these models has what a request asks for."""
    return lambda head: head.model in models


def hops(headers: Any) -> int:
    """How often a record was handed on."""
    found = HandedOn.read(dict(headers).get(HANDED_ON))
    return found.hops if found else 0
