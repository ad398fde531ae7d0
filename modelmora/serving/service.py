"""One request in, one outcome out: resolves the model, admits or refuses, and wires the rooms."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence, Set
from math import inf
from typing import cast

from modelmora.engines.entries import EngineEntry
from modelmora.errors import Code, NotFound, RequestError
from modelmora.messages import Health
from modelmora.records.measured import Measured
from modelmora.routing import NOBODY, Steps
from modelmora.scheduling import ModelKey, ModelSpec, ModelStatus, Policy, Scheduler, Work
from modelmora.scheduling.book import Book
from modelmora.scheduling.expected import shape_of
from modelmora.serving.cancels import Cancel, Cancels
from modelmora.serving.clock import BrokerClock
from modelmora.serving.effects import Listener, NodeEffects, Runs, Workers, timings
from modelmora.serving.line import Line, busy
from modelmora.serving.models import NO_MODEL, Catalogue, batch_key, no_routes, take_keep_alive
from modelmora.serving.offered import Offered, offered
from modelmora.serving.request import Incoming, Outcomes, Record
from modelmora.serving.shares import Shares

Partition = tuple[str, int]
ALL = Cancel()
FORGED = (
    "its signature is not of this request as it is; whoever signs needs the cluster's secret, or "
    "the key of its principal, and signs each request anew"
)


def _anything(_request: Incoming, _model: ModelKey) -> str | None:
    """Everybody may ask everything."""
    return None


def _nowhere(_: Incoming, error: RequestError) -> RequestError:
    """There is no other node."""
    return error


class Service:
    """Requests go in by `accept`, outcomes come out by `Outcomes`; all on one event loop.

    `listener` is to be given to the workers, and they to `use`, before the first request.
    """

    def __init__(
        self,
        outcomes: Outcomes,
        clock: BrokerClock,
        policy: Policy,
        timeout_ms: int,
        monotonic: Callable[[], float] = time.monotonic,
        shares: Shares | None = None,
    ) -> None:
        self.catalogue = Catalogue()
        self._outcomes = outcomes
        self._clock = clock
        self._timeout_ms = timeout_ms
        self._now = monotonic
        self.elsewhere: Callable[[Incoming, RequestError], RequestError | None] = _nowhere
        """Has another node take what this one does not serve; None: it does, else why not."""
        self.forbids: Callable[[Incoming, ModelKey], str | None] = _anything
        """Why a request may not ask this model; None: it may."""
        self.on_forbidden: Callable[[Incoming, str], None] = lambda *_: None
        """Told of each request that may not be asked, and why."""
        self.overflow: Callable[[Incoming, float], bool] = lambda *_: False
        """Puts off a request that would wait so many seconds in a line that is long enough."""
        self._shares = shares or Shares()
        self._effects = NodeEffects(outcomes, clock, self._shares)
        self._scheduler = Scheduler(self._effects, policy)
        self.listener = Listener(self._scheduler, self._effects, self.arm, monotonic)
        self.line = Line(self._scheduler, outcomes, monotonic)
        self._alarm: asyncio.TimerHandle | None = None
        self._cancels = Cancels()
        self._awaited = Book()
        """Requests whose inputs are fetched."""

    def use(self, workers: Workers) -> None:
        """The workers to act through."""
        self._effects.workers = workers

    def watch(self, runs: Runs) -> None:
        """Have this told of each group that runs."""
        self._effects.runs = runs

    # Requests ------------------------------------------------------------------------------------

    def awaits(self, request: Incoming) -> bool:
        """Whether its inputs are to be fetched; False: it has its outcome.

        Until it is accepted or refused it can be cancelled and expire as those that wait.
        """
        now, record = self._now(), request.record
        try:
            if self.is_cancelled(request):
                raise RequestError(Code.CANCELLED, "cancelled before it was read")
            deadline = self._deadline(request)
            if deadline <= now:
                raise RequestError(Code.EXPIRED, "its deadline had passed when it arrived")
        except RequestError as error:
            self._refuse(request, NO_MODEL, error)
            return False
        work = Work(
            request_id=request.head.request_id,
            model=NO_MODEL,
            lane=request.lane,
            batch_key=None,
            size=0,
            arrived=now,
            deadline=deadline,
            value=b"",
            source=request.source,
            partition=(record.topic, record.partition),
            meta=request,
        )
        self._awaited.open(work)
        return True

    def takes(self, request: Incoming) -> bool:
        """Whether its model is served here, and it may ask it."""
        try:
            self._model_of(request)
        except RequestError:
            return False
        return True

    def _model_of(self, request: Incoming) -> tuple[ModelKey, str]:
        """Which model it asks, and by which route. Raises RequestError, also where it may not."""
        if request.forged:
            raise RequestError(Code.FORBIDDEN, FORGED)
        key, route = self.catalogue.resolve(request)
        if why := self.forbids(request, key):
            raise RequestError(Code.FORBIDDEN, why)
        return key, route

    def may_begin(self, request: Incoming) -> bool:
        """Whether a copy may be accepted now, be it to be refused; see `scheduling.behind`."""
        try:
            key, _ = self._model_of(request)
        except RequestError:
            return True
        found = self._scheduler.behind.may_begin(key, self._now())
        self.arm()
        return found

    def accept(self, request: Incoming) -> None:
        """Admit a request or refuse it; either way its outcome follows by `Outcomes`."""
        if not self.reclaim(request):
            return
        now = self._now()
        key = NO_MODEL
        try:
            request.head, keep_alive_s = take_keep_alive(request.head)
            head = request.head
            if self.is_cancelled(request):
                raise RequestError(Code.CANCELLED, "cancelled before it was read")
            key, request.route = self._model_of(request)
            if hopeless := self._scheduler.hopeless(key):
                raise RequestError(Code.CANNOT_BE_SERVED, hopeless)
            request.settings = settings = self.catalogue.settings(key, head)
            deadline = self._deadline(request)
        except RequestError as error:
            self._refuse(request, key, error)
            return
        record = request.record
        partition = (record.topic, record.partition)
        value = record.value or b""
        # Limits are those of the bytes on the topic, or of what was fetched in their place.
        size = max(len(value), len(request.value or b""))
        work = Work(
            request_id=head.request_id,
            model=key,
            lane=request.lane,
            batch_key=batch_key(settings, copy=request.copy is not None),
            size=size,
            arrived=now,
            deadline=deadline,
            value=request.value or value,
            source=request.source,
            partition=partition,
            meta=request,
            keep_alive_s=keep_alive_s,
            principal=request.principal,
            shape=shape_of(settings, size),
            behind=request.copy is not None,
            attempt=1 + request.retries,
        )
        self._line_up(work, request, now)

    def _line_up(self, work: Work, request: Incoming, now: float) -> None:
        """Have the work wait, here, or elsewhere, or not where it asks for that."""
        full = self._shares.is_full(work)
        asked = request.tell or request.or_busy or full
        position = self._scheduler.waits.position(work, now) if asked else None
        left_s = inf if work.deadline is None else work.deadline - now
        late = busy(position, left_s) if position and request.or_busy else None
        if late:
            self._refuse(request, work.model, late)
            return
        if full and position and self.overflow(request, position.wait_s or 0.0):
            return
        self._shares.enter(work)
        if self._scheduler.submit(work, now) and position and request.tell:
            self.line.accepted(work, position)

    def refuse(self, request: Incoming, error: RequestError) -> None:
        """What it needs besides a model is not to be had."""
        if self.reclaim(request):
            self._refuse(request, NO_MODEL, error)

    def reclaim(self, request: Incoming) -> bool:
        """Whether it has no outcome yet; it is not awaited any more."""
        for work in self._awaited.find(request.head.request_id):
            if work.meta is request:
                self._awaited.close(work)
        return not request.ended

    def _give_up(self, work: Work, code: Code, message: str) -> None:
        """End a request whose inputs are fetched."""
        request = cast("Incoming", work.meta)
        self._awaited.close(work)
        self._refuse(request, NO_MODEL, RequestError(code, message))

    def _deadline(self, request: Incoming) -> float:
        """When it is late, by the clock of its partition (monotonic s). Raises RequestError."""
        asked_ms = request.head.timeout_ms
        timeout_ms = self._timeout_ms if asked_ms is None else asked_ms
        if timeout_ms <= 0:
            raise RequestError(
                Code.INVALID_INPUT, "timeout_ms must be above 0, or null for the default"
            )
        partition = (request.record.topic, request.record.partition)
        return self._clock.monotonic_at(request.asked_ms + timeout_ms, partition)

    def _refuse(self, request: Incoming, key: ModelKey, error: RequestError) -> None:
        why: RequestError | None = error
        if error.code in (Code.UNKNOWN_MODEL, Code.CANNOT_BE_SERVED):
            why = self.elsewhere(request, error)
        request.ended = True
        if error.code is Code.FORBIDDEN:
            self.on_forbidden(request, error.message)
        if why:
            self._outcomes.failed(
                request, key, why, timings(request, self._clock), 1 + request.retries
            )

    def is_cancelled(self, request: Incoming) -> bool:
        """Whether it was cancelled, as far as that was heard."""
        return self._cancels.hit(request)

    def cancel(self, request_id: str, cancel: Cancel = ALL) -> None:
        """End the requests that are meant wherever they are; also those that are read later."""
        self._cancels.add(request_id, cancel)

        def meant(work: Work) -> bool:
            return cancel.hits(cast("Incoming", work.meta))

        for work in filter(meant, self._awaited.find(request_id)):
            self._give_up(work, Code.CANCELLED, "cancelled by request")
        self._scheduler.cancel(request_id, self._now(), meant)
        self.arm()

    def drop(self, partitions: Set[Partition], *, started: bool) -> list[Record]:
        """Forget the work of these partitions, without an outcome here; returns its records.

        Whoever fetches inputs returns the records of those.
        """
        for work in [each for each in self._awaited if each.partition in partitions]:
            self._awaited.close(work)
        dropped = self._scheduler.drop(partitions, self._now(), started=started)
        for work in dropped:
            self._shares.leave(work)
        self.arm()
        return [cast("Incoming", work.meta).record for work in dropped]

    async def drain(self, partitions: Set[Partition], limit_s: float) -> bool:
        """Wait until the started work of these partitions is answered; False if it takes longer."""
        end = self._now() + limit_s
        while self._scheduler.open_groups(partitions):
            if self._now() >= end:
                return False
            await asyncio.sleep(0.01)
        return True

    def stop(self, is_elsewhere: Callable[[str], bool]) -> None:
        """Answer what was started and will not be finished, unless its model is served elsewhere.

        Then another node runs it again, as it will what waits: that was never begun.
        """
        spared = {key for key in self.catalogue.specs if is_elsewhere("@".join(key))}
        self._scheduler.stop(spared, self._now())

    def close(self) -> None:
        """Load nothing any more: the workers are about to stop, and their exits bring no others."""
        self.line.close()
        self._scheduler.close()

    def arm(self) -> None:
        """Set the alarm for the scheduler's next due time; once after each burst of events."""
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None
        now = self._now()
        wake = self._scheduler.next_wake(now)
        due = min(inf if wake is None else wake, self._awaited.next_deadline())
        if due < inf:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(max(0.0, due - now), self.tick)

    def tick(self) -> None:
        """Do what is due."""
        self._alarm = None
        now = self._now()
        for work in self._awaited.expired(now):
            self._give_up(work, Code.EXPIRED, "its deadline passed while its inputs were fetched")
        self._scheduler.tick(now)
        self.arm()

    # Models --------------------------------------------------------------------------------------

    def serve(
        self,
        models: Sequence[tuple[ModelSpec, EngineEntry]],
        told: Callable[[], Mapping[str, Steps]] = no_routes,
        defaults: Mapping[str, str] = NOBODY,
        lacking: Mapping[str, str] = NOBODY,
    ) -> None:
        """Serve exactly these models from now on; see `Catalogue.replace`."""
        before = self.catalogue.specs
        self.catalogue.replace(models, told, defaults, lacking)
        self._effects.workers.preload(name for _, entry in models for name in entry.modules)
        now = self._now()
        for spec in self.catalogue.specs.values():
            self._scheduler.add_model(spec, now)
        for key in before.keys() - self.catalogue.specs.keys():
            self._scheduler.remove_model(key, now)
        self.arm()

    def load(self, key: ModelKey, *, ahead: bool = False) -> Health:
        """Load a model that nothing waits for; where it stands then. Raises NotFound.

        `ahead`: only where nobody loses by that, see `modelmora.scheduling.unasked`.
        """
        health = self._scheduler.load(key, self._now(), ahead=ahead)
        self.arm()
        return health

    def unload(self, key: ModelKey) -> Health:
        """Unload a model once its started work is done, or cancel its load; where it stands then.

        Raises NotFound, and ModelMoraError where it is pinned.
        """
        health = self._scheduler.unload(key, self._now())
        self.arm()
        return health

    def health(self, key: ModelKey) -> Health:
        """How a model is. Raises NotFound."""
        return self._scheduler.health(key, self._now())

    def named(self, target: str) -> tuple[ModelKey, ...]:
        """What `name@version` means, or `name`, which may be several. Raises NotFound."""
        keys = self.catalogue.named(target)
        if not keys:
            raise NotFound(f"{target} is not served here; see `modelmora list`")
        return keys

    @property
    def replicas(self) -> dict[int, ModelKey]:
        """Which model each child serves."""
        return self._effects.replicas

    def status(self) -> tuple[ModelStatus, ...]:
        """All models as they stand."""
        return self._scheduler.status(self._now())

    def measured(self) -> dict[ModelKey, Measured]:
        """What was learned of each model's memory and loads."""
        return self._scheduler.measured()

    def standing(self, statuses: Sequence[ModelStatus] | None = None) -> dict[str, Offered]:
        """What is served here, by name@version; `statuses`: what `status` has just said."""
        return offered(self.catalogue.specs, self.status() if statuses is None else statuses)
