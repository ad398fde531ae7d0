"""Requests that join and leave between the steps of one engine: each is answered once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from modelmora.engines.base import Step, SteppedEngine, give_back, is_out_of_memory
from modelmora.errors import Code, RequestError, Undecodable
from modelmora.messages import InferenceRequest, Parameter
from modelmora.wire import decode_request
from modelmora.workers.batches import Batches
from modelmora.workers.child.execution import described, encoded, log, place_of
from modelmora.workers.chunks import LIFE_S, Chunk, Stream
from modelmora.workers.protocol import Run, RunItem


class Desk(Protocol):
    """What the steps ask of the process around them."""

    def started(self, group: int) -> None:
        """The first request of a group has joined."""
        ...

    def tell(self, group: int, chunk: Chunk) -> None:
        """A request tells something."""
        ...

    def answer(
        self,
        group: int,
        index: int,
        outputs: bytes | None,
        error: RequestError | None,
        ms: float,
        settings: Mapping[str, Parameter] | None = None,
    ) -> None:
        """A request has ended. Raises TypeError for odd settings."""
        ...

    def done(self, group: int, ms: float, batches: Batches) -> None:
        """All requests of a group have ended; such were all steps since the last was done."""
        ...

    def is_cancelled(self, group: int, index: int) -> bool:
        """Whether the node has taken this request back."""
        ...


@dataclass(slots=True, eq=False)
class _Group:
    """Requests that came together: one, where the node knows that the engine is stepped."""

    run: Run
    since: float
    missing: int
    has_started: bool = False


@dataclass(slots=True, eq=False)
class _Request:
    """A request that is not answered yet; `stream` where its caller wants to be told.

    `since` is when it joined for the first time.
    """

    key: int
    index: int
    group: _Group
    request: InferenceRequest
    stream: Stream | None
    since: float
    has_joined: bool = False

    @property
    def item(self) -> RunItem:
        """Its ids."""
        return self.group.run.requests[self.index]


class SteppedRuns:
    """The requests of one stepped engine. Times are monotonic seconds.

    `_cohorts` are those that wait: the first cohort joins, and only when all of it has ended the
    next. The last is everybody; those before it are halves of a company whose step failed, so
    that one who brings steps down is found without failing the others.
    """

    def __init__(
        self, engine: SteppedEngine, desk: Desk, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._desk = desk
        self._clock = clock
        self._running: dict[int, _Request] = {}
        self._cohorts: deque[deque[_Request]] = deque([deque()])
        self._slots = max(1, engine.slots)
        self._keys = count(1)
        self._alive_at = clock()
        self._steps = Batches()

    @property
    def busy(self) -> bool:
        """Whether any request is not answered yet."""
        return bool(self._running) or any(self._cohorts)

    def take(self, run: Run) -> None:
        """The requests of one more group."""
        group = _Group(run, self._clock(), len(run.values))
        for index, value in enumerate(run.values):
            try:
                request = decode_request(value)
            except Undecodable as undecodable:
                self._answer(group, index, None, undecodable, 0.0)
                continue
            stream = Stream(run.requests[index].told, index) if request.progress else None
            one = _Request(next(self._keys), index, group, request, stream, group.since)
            self._cohorts[-1].append(one)

    def turn(self) -> None:
        """Let the cancelled leave, others join, then advance all by one step."""
        self._leave()
        self._join()
        running = len(self._running)
        if not running:
            return
        try:
            steps = self._engine.step()
        except Exception as error:  # noqa: BLE001  # an engine may raise anything
            self._part(error)
            return
        self._steps.add(running)
        for step in steps:
            self._advance(step)
        self._tell()

    # Who is in it --------------------------------------------------------------------------------

    def _leave(self) -> None:
        gone = RequestError(Code.CANCELLED, "cancelled before it was computed")
        for each in [*self._running.values()]:
            if self._is_cancelled(each):
                self._withdraw(each)
                self._fail(each, gone)
        for cohort in self._cohorts:
            for each in [each for each in cohort if self._is_cancelled(each)]:
                cohort.remove(each)
                self._fail(each, gone)

    def _join(self) -> None:
        while len(self._cohorts) > 1 and not self._running and not self._cohorts[0]:
            self._cohorts.popleft()
        first = self._cohorts[0]
        while first and len(self._running) < self._slots and self._add(first[0]):
            first.popleft()

    def _add(self, each: _Request) -> bool:
        """Have it join; False where it must wait for others to end."""
        run = each.group.run
        try:
            self._engine.add(each.key, each.request, run.parameters)
        except Exception as error:  # noqa: BLE001  # an engine may raise anything
            if is_out_of_memory(error) and self._running:
                self._slots = len(self._running)
                return False
            self._fail(each, described(error, each.item))
            return True
        self._running[each.key] = each
        if not each.has_joined:
            each.has_joined = True
            each.since = self._clock()
        if not each.group.has_started:
            each.group.has_started = True
            self._desk.started(run.group)
        return True

    def _withdraw(self, each: _Request) -> None:
        del self._running[each.key]
        if each.stream:
            each.stream.restart()
        try:
            self._engine.remove(each.key)
        except Exception as error:  # noqa: BLE001  # an engine may raise anything
            log.warning("a request could not be removed: %s", place_of(error))

    def _part(self, error: Exception) -> None:
        """A step failed, which may be the fault of any.

        Nobody knows how far it came, so none of them goes on from there.

        (1) Only one was in it: it fails. Where memory ran out, it was for this one: the others
            may be as many as ever.
        (2) Memory ran out: all begin again in their order, half as many at once from now on.
        (3) Else all begin again in two halves, one after the other and apart from newcomers.
        """
        company = [*self._running.values()]
        for each in company:
            self._withdraw(each)
        if is_out_of_memory(error):
            give_back()
        # (1) Alone.
        if len(company) == 1:
            if is_out_of_memory(error):
                self._slots = max(1, self._engine.slots)
            self._fail(company[0], described(error, company[0].item))
            return
        half = (len(company) + 1) // 2
        log.warning("a step of %d requests failed: %s", len(company), place_of(error))
        # (2) Fewer.
        if is_out_of_memory(error):
            self._slots = len(company) // 2
            self._cohorts[0].extendleft(reversed(company))
            return
        # (3) Halves.
        self._cohorts.extendleft((deque(company[half:]), deque(company[:half])))

    # What they say -------------------------------------------------------------------------------

    def _advance(self, step: Step) -> None:
        each = self._running.get(step.key)
        if each is None:
            return
        if step.chunk and each.stream:
            each.stream.add(step.chunk)
        if step.error is not None or step.outputs is not None:
            del self._running[step.key]
            self._end(each, step)

    def _end(self, each: _Request, step: Step) -> None:
        if step.error is not None:
            self._fail(each, step.error)
            return
        try:
            outputs = encoded(step.outputs or ())
            if each.stream:
                for chunk in each.stream.chunks(self._clock(), last=True):
                    self._desk.tell(each.group.run.group, chunk)
            self._answer(each.group, each.index, outputs, None, self._ms(each), step.settings)
        except Exception as error:  # noqa: BLE001  # an engine may say anything
            self._fail(each, described(error, each.item))

    def _tell(self) -> None:
        now = self._clock()
        for each in [*self._running.values()]:
            if each.stream is None:
                continue
            try:
                chunks = each.stream.chunks(now)
            except UnicodeEncodeError as error:
                self._withdraw(each)
                self._fail(each, described(error, each.item))
                continue
            for chunk in chunks:
                self._alive_at = now
                self._desk.tell(each.group.run.group, chunk)
        if self._running and now - self._alive_at >= LIFE_S:
            self._alive_at = now
            first = next(iter(self._running.values()))
            self._desk.tell(first.group.run.group, Chunk(first.index, 0))

    def _fail(self, each: _Request, error: RequestError) -> None:
        self._answer(each.group, each.index, None, error, self._ms(each))

    def _answer(
        self,
        group: _Group,
        index: int,
        outputs: bytes | None,
        error: RequestError | None,
        ms: float,
        settings: Mapping[str, Parameter] | None = None,
    ) -> None:
        number = group.run.group
        self._desk.answer(number, index, outputs, error, ms, settings)
        group.missing -= 1
        if not group.missing:
            steps, self._steps = self._steps, Batches()
            self._desk.done(number, (self._clock() - group.since) * 1e3, steps)

    def _is_cancelled(self, each: _Request) -> bool:
        return self._desk.is_cancelled(each.group.run.group, each.index)

    def _ms(self, each: _Request) -> float:
        return (self._clock() - each.since) * 1e3
