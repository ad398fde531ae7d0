"""One node without broker or children: the real scheduler, a clock that jumps to what is due."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from math import inf

from modelmora.errors import Code, RequestError
from modelmora.messages import Health
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
    Scheduler,
    Work,
)
from modelmora.scheduling.expected import shape_of
from modelmora.simulate.children import Child
from modelmora.simulate.trace import Cost, Trace

TIMEOUT_MS = 600_000
_VERSION = ""
"""A trace names models whole."""


@dataclass(slots=True)
class Played:
    """What came of a trace; times are seconds since it began, requests are told by their number."""

    waits: list[float | None]
    """From when it was asked until it was computed (s), of those that were answered."""
    took: list[float | None]
    """The same until it was answered (s)."""
    codes: dict[int, Code] = field(default_factory=dict)
    """Why the others ended."""
    loads: list[tuple[float, str]] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=lambda: [(0.0, 0)])
    """What models hold from each time on (bytes): what is reserved for their children."""
    most_open: int = 0
    longest_s: float = 0.0
    """The longest that a request was open."""
    end: float = 0.0

    @property
    def most_held(self) -> int:
        """Bytes."""
        return max(held for _, held in self.memory)

    @property
    def mean_held(self) -> float:
        """Bytes, over the time."""
        times = [at for at, _ in self.memory[1:]] + [self.end]
        spans = zip(self.memory, times, strict=True)
        return sum(held * (until - at) for (at, held), until in spans) / (self.end or 1.0)


class Simulation:
    """A trace through the scheduler of a node with this policy.

    `timeout_ms` is the life of a request without one of its own. No more than `most_open` are read
    at a time: the others wait on their topics.
    """

    def __init__(
        self,
        trace: Trace,
        policy: Policy,
        *,
        timeout_ms: int = TIMEOUT_MS,
        most_open: int | None = None,
    ) -> None:
        self.now = 0.0
        self._trace = trace
        self._policy = policy
        self._timeout_ms = timeout_ms
        self._most_open = most_open
        self._scheduler = Scheduler(self, policy)
        self._children: dict[int, Child] = {}
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._read = self._open = self._held = 0
        self._begun: dict[int, float] = {}
        unknown: list[float | None] = [None] * len(trace.requests)
        self._played = Played([*unknown], unknown)

    def play(self) -> Played:
        """From the first request to the last outcome."""
        for name, cost in self._trace.models.items():
            self._scheduler.add_model(_spec(name, cost), self.now)
        while self._read < len(self._trace.requests) or self._open:
            self._next()
        self._played.end = self.now
        return self._played

    def _next(self) -> None:
        """Jump to what is due next, and do it: what children report, then requests, then ticks."""
        due = self._due[0][0] if self._due else inf
        asked, tick = self._asked_at(), inf
        if min(due, asked) > self.now:
            wake = self._scheduler.next_wake(self.now)
            tick = inf if wake is None else wake
        if due <= min(asked, tick):
            self.now, _, event = heappop(self._due)
            event()
        elif asked <= tick:
            self.now = asked
            self._submit()
        else:
            self.now = tick
            self._scheduler.tick(self.now)

    def _asked_at(self) -> float:
        """When the next request is read."""
        full = self._most_open is not None and self._open >= self._most_open
        if full or self._read == len(self._trace.requests):
            return inf
        return max(self.now, self._trace.requests[self._read].time)

    def _submit(self) -> None:
        number, asked = self._read, self._trace.requests[self._read]
        timeout_ms = self._timeout_ms if asked.timeout_ms is None else asked.timeout_ms
        work = Work(
            request_id=str(number),
            model=(asked.model, _VERSION),
            lane=asked.lane,
            batch_key=asked.kind,
            size=asked.size,
            arrived=self.now,
            deadline=asked.time + timeout_ms / 1000,
            value=b"",
            source=number,
            partition=0,
            meta=asked,
            principal=asked.principal,
            shape=(asked.kind, shape_of({}, asked.size)),
        )
        self._read += 1
        self._open += 1
        self._played.most_open = max(self._played.most_open, self._open)
        self._scheduler.submit(work, self.now)

    def _ended(self, work: Work, code: Code | None) -> None:
        number = int(work.request_id)
        self._open -= 1
        began = self._begun.pop(number, self.now)
        if code:
            self._played.codes[number] = code
        else:
            asked_at = self._trace.requests[number].time
            self._played.waits[number] = began - asked_at
            self._played.took[number] = self.now - asked_at
        self._played.longest_s = max(self._played.longest_s, self.now - work.arrived)

    def _hold(self, more: int) -> None:
        self._held += more
        self._played.memory.append((self.now, self._held))

    # Clock ---------------------------------------------------------------------------------------

    def later(self, seconds: float, event: Callable[[], None]) -> None:
        """Have this done in so many seconds."""
        heappush(self._due, (self.now + seconds, next(self._order), event))

    def begun(self, work: Work) -> None:
        """A child computes it from now on."""
        self._begun[int(work.request_id)] = self.now

    # Effects -------------------------------------------------------------------------------------

    def load(self, replica: int, spec: ModelSpec, place: Placement) -> None:
        """A child starts."""
        name = spec.name
        self._played.loads.append((self.now, name))
        self._hold(place.need.ram)
        self._children[replica] = Child(
            replica,
            self._trace.models[name],
            place.need.ram,
            self._policy.cores,
            self,
            self._scheduler,
        )

    def run(self, group: Group) -> None:
        """Its child gets the group."""
        self._children[group.replica].take(group)

    def threads(self, replica: int, count: int) -> None:
        """Its share of the cores is another."""
        self._children[replica].threads(count)

    def cancel(self, group: int, index: int) -> None:
        """Nobody waits for it."""
        for child in self._children.values():
            child.give_up(group, index)

    def kill(self, replica: int, reason: KillReason) -> None:
        """It ends, and gives its memory back."""
        self._children[replica].kill(lambda: self._exited(replica))

    def _exited(self, replica: int) -> None:
        self._hold(-self._children.pop(replica).held)
        self._scheduler.on_exited(replica, self.now)

    def answered(self, work: Work, result: ItemResult) -> None:
        """It has its outcome."""
        self._ended(work, None)

    def failed(self, work: Work, error: RequestError) -> None:
        """It is refused, or has expired."""
        self._ended(work, error.code)

    def turned(self, model: ModelKey, was: Health, health: Health) -> None:
        """Not of interest."""

    def started(self, work: Work) -> None:
        """Not of interest: its group has begun, and it may wait there."""

    def progressed(self, work: Work, chunk: Chunk) -> None:
        """Children here tell nothing."""


def _spec(name: str, cost: Cost) -> ModelSpec:
    need = Need(cost.bytes or 1)
    return ModelSpec(name, _VERSION, "", "", "", 0, cost.cores, slots=cost.slots, declared=need)
