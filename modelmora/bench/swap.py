"""How often models are loaded when many share little memory: the scheduler rehearsed by itself."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from modelmora.bench.report import Figure, at_most
from modelmora.errors import RequestError
from modelmora.messages import Health, Lane
from modelmora.scheduling import (
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
from modelmora.scheduling.effects import Chunk

MODELS, PLACES, REQUESTS, LOOK_AHEAD = 25, 5, 1000, 200
TASKS = ("txt2embed", "txt2txt", "classify", "rerank", "txt2img")
MIB = 1 << 20
SIZE = 100 * MIB
LOAD_S, EXIT_S, RUN_S = 1.0, 0.05, 0.01


def shuffled(requests: int = REQUESTS, models: int = MODELS, seed: int = 1) -> list[int]:
    """Requests for each model alike, in any order; each is the number of its model."""
    stream = [number % models for number in range(requests)]
    random.Random(seed).shuffle(stream)
    return stream


@dataclass(slots=True)
class Answer:
    """An answer without content."""

    index: int


@dataclass(eq=False)
class Rehearsal:
    """A stream of requests through the real scheduler, with children and a clock that are made up.

    Of the stream `look_ahead` requests are open at any time: that is how far the scheduler sees.
    Every model takes `SIZE` bytes and loads in `LOAD_S` seconds; memory holds `places` of them.
    """

    stream: Sequence[int]
    look_ahead: int = LOOK_AHEAD
    places: int = PLACES
    ageing_s: float = 120.0
    now: float = 0.0
    loads: list[int] = field(default_factory=list)
    held: int = 0
    most_held: int = 0
    longest_s: float = 0.0
    """The longest time that a request was open."""
    right: int = 0
    """Requests that were answered by a child of their model."""
    wrong: int = 0
    _children: dict[int, deque[Group]] = field(default_factory=dict)
    _due: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: count[int] = field(default_factory=count)
    _read: int = 0

    def play(self) -> Rehearsal:
        """From the first request to the last outcome."""
        policy = Policy(budget_bytes=self.places * SIZE, ageing_s=self.ageing_s)
        self._scheduler = Scheduler(self, policy)
        for number in range(max(self.stream) + 1):
            self._scheduler.add_model(_spec(number), self.now)
        self._read_on()
        while self.right + self.wrong < len(self.stream):
            wake = self._scheduler.next_wake(self.now)
            if self._due and (wake is None or self._due[0][0] <= wake):
                self.now, _, event = heappop(self._due)
                event()
            elif wake is None:
                raise RuntimeError("nothing is due, and requests wait")
            else:
                self.now = wake
                self._scheduler.tick(self.now)
            self._read_on()
        return self

    def _read_on(self) -> None:
        while self._read < min(len(self.stream), self.look_ahead + self.right + self.wrong):
            number, self._read = self._read, self._read + 1
            key = _spec(self.stream[number]).key
            name = str(number)
            work = Work(name, key, Lane.NORMAL, (), 1, self.now, None, b"", number, 0)
            self._scheduler.submit(work, self.now)

    def _later(self, seconds: float, event: Callable[[], None]) -> None:
        heappush(self._due, (self.now + seconds, next(self._order), event))

    # Effects -------------------------------------------------------------------------------------

    def load(self, replica: int, spec: ModelSpec, place: Placement) -> None:
        """A child starts, and is ready after a while."""
        self.loads.append(int(spec.name))
        self._children[replica] = deque()
        self.held += place.need.ram
        self.most_held = max(self.most_held, self.held)
        took_ms, held = LOAD_S * 1000, Need(place.need.ram)
        self._later(LOAD_S, lambda: self._scheduler.on_loaded(replica, took_ms, held, self.now))

    def run(self, group: Group) -> None:
        """The child works through its groups, one after the other."""
        groups = self._children[group.replica]
        groups.append(group)
        if len(groups) == 1:
            self._begin(group.replica)

    def _begin(self, replica: int) -> None:
        if groups := self._children[replica]:
            seconds = RUN_S * len(groups[0].works)
            self._later(seconds, lambda: self._done(replica, seconds))

    def _done(self, replica: int, seconds: float) -> None:
        group = self._children[replica].popleft()
        self._begin(replica)
        answers = [Answer(index) for index in range(len(group.works))]
        self._scheduler.on_results(replica, group.id, answers, self.now)
        self._scheduler.on_group_done(replica, group.id, seconds * 1000, self.now)

    def kill(self, replica: int, reason: KillReason) -> None:
        """The child's memory is back after a while."""
        del reason
        self._later(EXIT_S, lambda: self._exited(replica))

    def _exited(self, replica: int) -> None:
        del self._children[replica]
        self.held -= SIZE
        self._scheduler.on_exited(replica, self.now)

    def answered(self, work: Work, result: ItemResult) -> None:
        """Right, if it came from its own model."""
        del result
        self.right += int(work.model[0]) == self.stream[int(work.request_id)]
        self.longest_s = max(self.longest_s, self.now - work.arrived)

    def failed(self, work: Work, error: RequestError) -> None:
        """None should."""
        del work, error
        self.wrong += 1

    def turned(self, model: ModelKey, was: Health, health: Health) -> None:
        """Not of interest."""

    def threads(self, replica: int, count: int) -> None:
        """Not of interest."""

    def cancel(self, group: int, index: int) -> None:
        """Nothing is cancelled here."""

    def started(self, work: Work) -> None:
        """Not of interest."""

    def progressed(self, work: Work, chunk: Chunk) -> None:
        """Not of interest."""


def _spec(number: int) -> ModelSpec:
    task = TASKS[number % len(TASKS)]
    need = Need(SIZE)
    return ModelSpec(str(number), "1", task, "none", "", 0, needs_cores=False, declared=need)


def belady(stream: Sequence[int], look_ahead: int, places: int = PLACES) -> int:
    """Loads of one who sees as many requests, and of the future which model it brings last.

    All open requests whose models are loaded are answered, whatever their order; then the model of
    the oldest is loaded in place of the one that is asked for last from there on, or never again
    (Belady 1966, with the freedom to answer requests out of turn that our scheduler has).
    """
    later = [deque[int]() for _ in range(max(stream) + 1)]
    for number, model in enumerate(stream):
        later[model].append(number)
    loaded: list[int] = []
    waiting: list[int] = []
    read = loads = 0
    while True:
        waiting = [number for number in waiting if stream[number] not in loaded]
        more = min(len(stream), read + look_ahead - len(waiting))
        if more > read:
            waiting += range(read, more)
            read = more
            continue
        if not waiting:
            return loads
        if len(loaded) == places:
            for model in loaded:
                while later[model] and later[model][0] < read:
                    later[model].popleft()
            loaded.remove(max(loaded, key=lambda model: next(iter(later[model]), len(stream))))
        loaded.append(stream[waiting[0]])
        loads += 1


def in_turn(stream: Sequence[int], look_ahead: int, places: int = PLACES) -> int:
    """Loads of one who answers requests in their order, for the model asked for last ahead."""
    loaded: list[int] = []
    loads = 0
    for number, model in enumerate(stream):
        if model in loaded:
            continue
        if len(loaded) == places:
            ahead = stream[number : number + look_ahead + 1]
            gone = {each: ahead.index(each) if each in ahead else len(ahead) for each in loaded}
            loaded.remove(max(loaded, key=lambda each: gone[each]))
        loaded.append(model)
        loads += 1
    return loads


def first_in_first_out(stream: Sequence[int], places: int = PLACES) -> int:
    """Loads of one who answers requests in their order and drops what was loaded first."""
    loaded: deque[int] = deque(maxlen=places)
    loads = 0
    for model in stream:
        if model not in loaded:
            loaded.append(model)
            loads += 1
    return loads


def swaps() -> list[Figure]:
    """Loads of 25 models that share room for 5, beside those of one who knows the future."""
    stream = shuffled()
    ours = len(Rehearsal(stream).play().loads)
    best = belady(stream, LOOK_AHEAD)
    beside = {
        "loads": float(ours),
        "belady in turn": float(in_turn(stream, LOOK_AHEAD)),
        "fifo in turn": float(first_in_first_out(stream)),
    }
    for ahead in (50, 100, REQUESTS):
        beside[f"vs belady, {ahead} ahead"] = len(
            Rehearsal(stream, look_ahead=ahead).play().loads
        ) / belady(stream, ahead)
    return [Figure("swap.loads_vs_belady", ours / best, "ratio", at_most(1.3), best, beside)]
