"""A world for the scheduler: hand-written children that do what a test tells them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace

from modelmora.errors import RequestError
from modelmora.messages import Health, Lane
from modelmora.scheduling import (
    Chunk,
    Group,
    ItemResult,
    KillReason,
    ModelKey,
    ModelSpec,
    Need,
    Placement,
    Policy,
    Position,
    Scheduler,
    Work,
)

MIB = 1 << 20
A: ModelKey = ("a", "1")
B: ModelKey = ("b", "1")
C: ModelKey = ("c", "1")
SIZE = 100 * MIB
"""What a test model is estimated to take."""


def spec(
    key: ModelKey = A, size: int = SIZE, *, needs_cores: bool = True, slots: int | None = None
) -> ModelSpec:
    """A model whose estimate is `size` bytes."""
    weights = round((size - 64 * MIB) / 1.2)
    return ModelSpec(
        key[0], key[1], "echo", "engines:Echo", "/models", weights, needs_cores, slots=slots
    )


@dataclass(frozen=True)
class Answer:
    """What a child says about one item."""

    index: int
    tells: bool = True


@dataclass
class Child:
    """One child process: its model, and the groups it holds in order."""

    spec: ModelSpec
    place: Placement
    groups: list[Group] = field(default_factory=list)
    killed: KillReason | None = None


@dataclass
class World:
    """Effects that are written down; children answer when the test says so."""

    policy: Policy = field(default_factory=Policy)
    now: float = 1000.0
    children: dict[int, Child] = field(default_factory=dict)
    loads: list[ModelKey] = field(default_factory=list)
    ran: list[Group] = field(default_factory=list)
    cancels: list[tuple[int, int]] = field(default_factory=list)
    shares: list[tuple[ModelKey, int]] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    outcomes: list[tuple[str, str]] = field(default_factory=list)
    errors: dict[str, RequestError] = field(default_factory=dict)
    sent: list[Work] = field(default_factory=list)
    crashes: int = 0
    turns: list[tuple[ModelKey, Health, Health]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self, self.policy)

    # Effects

    def load(self, replica: int, spec: ModelSpec, place: Placement) -> None:
        self.children[replica] = Child(spec, place)
        self.loads.append(spec.key)

    def run(self, group: Group) -> None:
        self.children[group.replica].groups.append(group)
        self.ran.append(group)

    def threads(self, replica: int, count: int) -> None:
        self.shares.append((self.children[replica].spec.key, count))

    def cancel(self, group: int, index: int) -> None:
        self.cancels.append((group, index))

    def kill(self, replica: int, reason: KillReason) -> None:
        self.children[replica].killed = reason

    def turned(self, model: ModelKey, was: Health, health: Health) -> None:
        self.turns.append((model, was, health))

    def started(self, work: Work) -> None:
        self.begun.append(work.request_id)

    def progressed(self, work: Work, chunk: Chunk) -> None:
        self.heard.append(work.request_id)

    def answered(self, work: Work, result: ItemResult) -> None:
        self.outcomes.append((work.request_id, "answered"))

    def failed(self, work: Work, error: RequestError) -> None:
        self.outcomes.append((work.request_id, error.code.value))
        self.errors[work.request_id] = error

    # What a test does

    def serve(self, *keys: ModelKey, size: int = SIZE, slots: int | None = None) -> None:
        """Add models and have them loaded."""
        for key in keys:
            self.scheduler.add_model(spec(key, size, slots=slots), self.now)
            self.scheduler.load(key, self.now)
            self.loaded(key)

    def pin(self, key: ModelKey = A, *, pinned: bool = True) -> None:
        """The model's definition says so."""
        self.scheduler.add_model(replace(spec(key), pinned=pinned), self.now)

    def send(
        self,
        key: ModelKey = A,
        lane: Lane = Lane.NORMAL,
        *,
        name: str | None = None,
        batch: Hashable = None,
        size: int = 10,
        timeout: float | None = None,
        partition: Hashable = 0,
        keep_alive: float | None = None,
        shape: Hashable = None,
        principal: str = "",
    ) -> Work:
        """Submit one request."""
        work, _ = self.submit(
            key,
            lane,
            name=name,
            batch=batch,
            size=size,
            timeout=timeout,
            partition=partition,
            keep_alive=keep_alive,
            shape=shape,
            principal=principal,
        )
        return work

    def submit(
        self,
        key: ModelKey = A,
        lane: Lane = Lane.NORMAL,
        *,
        name: str | None = None,
        batch: Hashable = None,
        size: int = 10,
        timeout: float | None = None,
        partition: Hashable = 0,
        keep_alive: float | None = None,
        shape: Hashable = None,
        principal: str = "",
        behind: bool = False,
    ) -> tuple[Work, Position | None]:
        """Submit one request; also what it is told."""
        deadline = None if timeout is None else self.now + timeout
        number = len(self.sent) + 1
        name = name or f"r{number}"
        work = Work(name, key, lane, batch, size, self.now, deadline, b"", (0, number), partition)
        work.keep_alive_s, work.shape, work.principal = keep_alive, shape, principal
        work.behind = behind
        self.sent.append(work)
        position = self.scheduler.waits.position(work, self.now)
        return work, position if self.scheduler.submit(work, self.now) else None

    def wait(self, seconds: float) -> None:
        """Let time pass, with every tick that falls due on the way."""
        end = self.now + seconds
        while (due := self.scheduler.next_wake(self.now)) is not None and due <= end:
            self.now = due
            self.scheduler.tick(self.now)
            assert self.scheduler.next_wake(self.now) != self.now, "a tick left something due"
        self.now = end

    def replica(self, key: ModelKey = A) -> int:
        """The youngest child of the model."""
        return max(replica for replica, child in self.children.items() if child.spec.key == key)

    def child(self, key: ModelKey = A) -> Child:
        """The youngest child of the model."""
        return self.children[self.replica(key)]

    def loaded(self, key: ModelKey = A, load_ms: float = 200.0, private_bytes: int = 0) -> None:
        """The model's child reports that it is ready."""
        self.scheduler.on_loaded(self.replica(key), load_ms, Need(private_bytes), self.now)

    def answer(self, key: ModelKey = A, indices: Iterable[int] | None = None) -> Group:
        """The child answers items of its first group, all by default."""
        replica = self.replica(key)
        group = self.children[replica].groups[0]
        chosen = range(len(group.works)) if indices is None else indices
        answers = [Answer(index) for index in chosen]
        self.scheduler.on_results(replica, group.id, answers, self.now)
        return group

    def begin(self, key: ModelKey = A) -> None:
        """The child says that it works on its first group."""
        replica = self.replica(key)
        self.scheduler.on_started(replica, self.children[replica].groups[0].id, self.now)

    def done(self, key: ModelKey = A, run_ms: float = 5.0) -> Group:
        """The child reports its first group as done."""
        replica = self.replica(key)
        group = self.children[replica].groups.pop(0)
        self.scheduler.on_group_done(replica, group.id, run_ms, self.now)
        return group

    def finish(self, key: ModelKey = A, run_ms: float = 5.0) -> Group:
        """The child answers all of its first group and is done with it."""
        self.answer(key)
        return self.done(key, run_ms)

    def finish_first(self, child: Child) -> None:
        """This child answers all of its first group and is done with it."""
        replica = next(one for one, found in self.children.items() if found is child)
        group = child.groups.pop(0)
        answers = [Answer(index) for index in range(len(group.works))]
        self.scheduler.on_results(replica, group.id, answers, self.now)
        self.scheduler.on_group_done(replica, group.id, 5.0, self.now)

    def drain(self) -> None:
        """All children do all that they have and are given."""
        while busy := [child for child in self.children.values() if child.groups]:
            self.finish_first(busy[0])

    def exit(self, key: ModelKey = A) -> None:
        """The child is gone, killed or by itself."""
        replica = self.replica(key)
        child = self.children.pop(replica)
        self.crashes += child.killed is None
        self.scheduler.on_exited(replica, self.now)

    def outcome(self, work: Work) -> str | None:
        """How the request ended, None while it has not."""
        ends = [end for name, end in self.outcomes if name == work.request_id]
        assert len(ends) <= 1, f"{work.request_id} ended {len(ends)} times"
        return ends[0] if ends else None

    def error(self, work: Work) -> RequestError:
        """The error a request ended with."""
        return self.errors[work.request_id]


def ids(works: Iterable[Work]) -> list[str]:
    """Request ids, in order."""
    return [work.request_id for work in works]
