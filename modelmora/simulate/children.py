"""The stand-in of a child process: it loads, works through its groups and leaves in time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from modelmora.scheduling import Group, Need, Scheduler, Work
from modelmora.simulate.trace import Asked, Cost

EXIT_S = 0.05
"""From a kill to the exit with all memory given back."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer without content, or a word that the child lives."""

    index: int
    tells: bool = False


class Clock(Protocol):
    """The time, and what is to happen later."""

    now: float

    def later(self, seconds: float, event: Callable[[], None]) -> None:
        """Have this done in so many seconds."""

    def begun(self, work: Work) -> None:
        """The child computes it from now on."""


@dataclass(slots=True, eq=False)
class _Run:
    """A group in the child, and those of its works that were not begun, nor given up."""

    group: Group
    left: deque[int]
    began: float = -1.0
    given_up: set[int] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class _Step:
    """Works of one group that are computed at once."""

    run: _Run
    indices: list[int]
    due: float
    turns: int = 0
    """How often it was put off or brought forward: only the last event of it counts."""


class Child:
    """One child: what it was told, and when it says what."""

    def __init__(
        self, replica: int, cost: Cost, held: int, cores: int, clock: Clock, scheduler: Scheduler
    ) -> None:
        self.held = held
        self._replica = replica
        self._cost = cost
        self._cores = cores
        self._clock = clock
        self._scheduler = scheduler
        self._speed = 1.0
        self._runs = deque[_Run]()
        self._steps: list[_Step] = []
        self._busy = self._dead = False
        self._clock.later(cost.load_s or 0.0, self._loaded)

    def _loaded(self) -> None:
        if not self._dead:
            took_ms = (self._cost.load_s or 0.0) * 1000
            self._scheduler.on_loaded(self._replica, took_ms, Need(self.held), self._clock.now)

    def kill(self, gone: Callable[[], None]) -> None:
        """It does nothing any more, and is gone soon."""
        self._dead = True
        self._clock.later(EXIT_S, gone)

    def take(self, group: Group) -> None:
        """One more group; it begins with it at once where it has nothing else to do."""
        run = _Run(group, deque(range(len(group.works))))
        self._runs.append(run)
        self.threads(group.threads)
        if self._cost.slots or not self._busy:
            self._busy = True
            self._clock.later(0.0, lambda: self._go_on(run))

    def threads(self, count: int) -> None:
        """It has so many of the cores: what it computes is done sooner, or later."""
        speed = min(1.0, count / self._cores) if self._cost.cores else 1.0
        for step in self._steps if speed != self._speed else ():
            left_s = (step.due - self._clock.now) * self._speed / speed
            self._plan(step, left_s)
        self._speed = speed

    def give_up(self, group: int, index: int) -> None:
        """Nobody waits for this work: it is left out unless it has begun."""
        for run in self._runs:
            if run.group.id == group:
                run.given_up.add(index)

    def _go_on(self, run: _Run) -> None:
        """Begin what is next of the group; where nothing is left, the next group."""
        if self._dead:
            return
        now = self._clock.now
        if run.began < 0:
            run.began = now
            self._scheduler.on_started(self._replica, run.group.id, now)
        chosen: list[int] = []
        while run.left and len(chosen) < self._cost.batch:
            if (index := run.left.popleft()) not in run.given_up:
                chosen.append(index)
        if not chosen:
            self._done(run)
            return
        works = [run.group.works[index] for index in chosen]
        for work in works:
            self._clock.begun(work)
        seconds = self._cost.seconds(sum(_asked(work).units for work in works))
        step = _Step(run, chosen, now)
        self._steps.append(step)
        self._plan(step, seconds / self._speed)

    def _plan(self, step: _Step, seconds: float) -> None:
        step.due = self._clock.now + seconds
        step.turns += 1
        turn = step.turns
        self._clock.later(seconds, lambda: self._computed(step, turn))

    def _computed(self, step: _Step, turn: int) -> None:
        if self._dead or turn != step.turns:
            return
        self._steps.remove(step)
        answers = [Answer(index) for index in step.indices]
        group = step.run.group.id
        self._scheduler.on_results(self._replica, group, answers, self._clock.now)
        self._go_on(step.run)

    def _done(self, run: _Run) -> None:
        now = self._clock.now
        self._runs.remove(run)
        self._scheduler.on_group_done(self._replica, run.group.id, (now - run.began) * 1000, now)
        if not self._cost.slots:
            self._busy = bool(self._runs)
            if self._runs:
                self._go_on(self._runs[0])


def _asked(work: Work) -> Asked:
    asked = work.meta
    assert isinstance(asked, Asked)  # noqa: S101 - the simulation has put it there
    return asked
