"""Requests of one id: one of them runs, and the others are told its outcome."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, replace
from itertools import count
from math import inf
from typing import Protocol

import structlog

from modelmora.agents.sameness import is_new, run_of
from modelmora.agents.stored import Outcome
from modelmora.errors import RequestError
from modelmora.kafka.batches import Partition
from modelmora.kafka.reading.lookback import LookBackFailed
from modelmora.messages import ResultHead
from modelmora.serving import Incoming, Record
from modelmora.wire import NEAR_MS, SKEW_MS, encode_outputs, time_of

log = structlog.get_logger(__name__)
MOST_HEARD = 100_000
RETRY_S = (0.05, 0.2, 0.5, 1.0, 2.0)
MOST_TOLD = 16 << 20
"""Bytes of outcomes told again that may be on their way to the broker."""
_BREATH = 250
_LOOK_S = 0.05


class Owned(Protocol):
    """Who knows what this node still has to answer; see `partitions.intake`."""

    def owes(self, record: Record) -> bool:
        """Whether this node still owes the record's outcome."""

    def done(self, record: Record) -> None:
        """The outcome is acknowledged."""

    def handed_on(self, record: Record) -> None:
        """The broker has it elsewhere."""

    def partitions(self) -> set[Partition]:
        """What this node owns."""

    def epoch(self, partition: Partition) -> int | None:
        """The epoch it is owned in."""


class Finder(Protocol):
    """Finds what an id has ended as; see `stored`."""

    async def find(self, request_id: str, since_ms: int) -> Outcome | None:
        """Of what was written since then (Unix ms). Raises LookBackFailed."""


class Taker(Protocol):
    """Where requests go that are alone or the first; see `modelmora.serving.Service`."""

    def is_cancelled(self, request: Incoming) -> bool:
        """Whether it was cancelled."""

    def refuse(self, request: Incoming, error: RequestError) -> None:
        """It is not to be run, for this reason."""

    def arm(self) -> None:
        """That was all for now."""


class Teller(Protocol):
    """Who writes outcomes; see `results`."""

    def repeated(self, request: Incoming, head: ResultHead, outputs: bytes) -> None:
        """The request ends as another of its id did."""


@dataclass(slots=True)
class _Known:
    """Since when (Unix ms) no request of a partition can have been missed in this epoch."""

    epoch: int
    since_ms: float
    begun: bool = False
    """Whether a record of it was read."""


@dataclass(slots=True, eq=False)
class _Family:
    """Those that wait for the one of their id that runs, or for what it has ended as."""

    waiting: deque[Incoming]
    since_ms: int = 0
    """From when on (Unix ms) an outcome is looked for."""
    ended: bool = False
    """Whether one of the id has ended here: its outcome may not be readable yet, for brokers
    acknowledge a transaction before its records are."""


class Twins:
    """Stands before the intake: what is done there lets those go on that waited for it.

    The others are told what was read back from `results` once it was acknowledged, so it is the
    same whether they came while the first ran, afterwards, or to another node. They are open in
    the ledger all the while, so no commit passes them and the limits of their partition bound them.

    The ids of the last requests are remembered. Of each partition it is known since when none can
    have been missed: what was asked before is looked for, see `is_new`.
    """

    _admit: Callable[[Incoming], None]
    _taker: Taker
    _teller: Teller

    def __init__(
        self, owned: Owned, finder: Finder, now_ms: Callable[[], float] = lambda: -inf
    ) -> None:
        """`now_ms` is the broker's time."""
        self._owned = owned
        self._finder = finder
        self._now_ms = now_ms
        self._open: dict[str, _Family | None] = {}
        """None: one runs, nothing was heard of its id before, and nobody waits for it."""
        self._firsts: dict[Record, str] = {}
        self._heard: dict[str, int] = {}
        self._away: set[str] = set()
        """Those of them that were handed on, and nothing else was heard of them: none has ended."""
        self._known: dict[Partition, _Known] = {}
        self._floor_ms: float = -inf
        self._told: dict[Record, int] = {}
        self._told_bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def use(self, admit: Callable[[Incoming], None], taker: Taker, teller: Teller) -> None:
        """Where requests go from here; to be called before the first."""
        self._admit, self._taker, self._teller = admit, taker, teller

    # Coming --------------------------------------------------------------------------------------

    def look(self) -> None:
        """To be called now and then: of a new partition all is heard that is asked from now on."""
        now_ms = self._now_ms()
        for partition in self._owned.partitions() if now_ms > -inf else ():
            epoch = self._owned.epoch(partition)
            if epoch is not None and not self._knows(partition, epoch):
                self._known[partition] = _Known(epoch, now_ms)

    def passed(self, record: Record) -> None:
        """A record was passed over, for it has its outcome perhaps: its id is not known."""
        partition = record.topic, record.partition
        if self._owned.epoch(partition) == record.epoch:
            known = self._known_of(record)
            known.since_ms = max(known.since_ms, record.timestamp + 1)

    def takes(self, request: Incoming) -> bool:
        """Whether the request waits here; else it is to be admitted now.

        (1) A replay is a run of its own.
        (2) Another of its id is open here: this one waits for that one's end.
        (3) Its id is new: it is the first. One that was handed on was asked where it lay before: it
            may have ended since, or before, if that partition was not ours all the while.
        (4) Else what it has ended as is looked for.
        """
        request_id, record = request.head.request_id, request.record
        # (1)
        if request.run > 1:
            return False
        # (2)
        if request_id in self._open:
            family = self._open[request_id]
            if family is None:
                family = self._open[request_id] = _Family(deque())
            family.waiting.append(request)
            return True
        # (3)
        asked_ms, made_ms = request.asked_ms, time_of(request_id)
        if (since_ms := request.asked_since) is not None:
            # An older time than a near one says that its sender has found something.
            is_near = since_ms >= asked_ms - NEAR_MS
            made_ms = max(since_ms, made_ms or 0) if is_near else since_ms
        heard_ms, away = self._heard.get(request_id), request_id in self._away
        ended = heard_ms is not None and not away
        if heard_ms is None or (away and request.handed_on):  # else it is another
            self._hear(request_id, asked_ms)
            known_ms = max(self._known_of(record).since_ms, self._floor_ms)
            if first := request.handed_on:
                made_ms = asked_ms if made_ms is None else min(made_ms, asked_ms)
                known_ms = max(known_ms, self._since((first.topic, first.partition)))
            if made_ms is None or is_new(made_ms, asked_ms, known_ms):
                self._away.discard(request_id)
                self._open[request_id] = None
                self._firsts[record] = request_id
                return False
            heard_ms = made_ms
        # (4)
        self._open[request_id] = family = _Family(deque([request]), heard_ms - SKEW_MS, ended)
        self._start(request_id, family)
        return True

    def _knows(self, partition: Partition, epoch: int) -> bool:
        known = self._known.get(partition)
        return known is not None and known.epoch == epoch

    def _since(self, partition: Partition) -> float:
        """Since when (Unix ms) all that was asked there is known; never where it is not ours."""
        epoch, known = self._owned.epoch(partition), self._known.get(partition)
        return inf if known is None or known.epoch != epoch else known.since_ms

    def _known_of(self, record: Record) -> _Known:
        """What is known of the record's partition: nothing was missed since its first record."""
        partition = record.topic, record.partition
        known = self._known.get(partition)
        if known is None or known.epoch != record.epoch:
            known = self._known[partition] = _Known(record.epoch, inf)
        if not known.begun:
            known.begun, known.since_ms = True, min(known.since_ms, record.timestamp)
        return known

    def _hear(self, request_id: str, asked_ms: int) -> None:
        self._heard[request_id] = asked_ms
        if len(self._heard) > MOST_HEARD:
            oldest = next(iter(self._heard))
            forgotten = self._heard.pop(oldest)
            self._away.discard(oldest)
            self._floor_ms = max(self._floor_ms, forgotten + 1)

    # Going ---------------------------------------------------------------------------------------

    def owes(self, record: Record) -> bool:
        """Whether this node still owes the record's outcome."""
        return self._owned.owes(record)

    def done(self, record: Record) -> None:
        """The outcome is acknowledged."""
        self._owned.done(record)
        if (request_id := self._firsts.pop(record, None)) is not None:
            self._away.discard(request_id)
            self._go_on(request_id, ended=True)
        elif self._told:
            self._told_bytes -= self._told.pop(record, 0)

    def handed_on(self, record: Record) -> None:
        """The broker has it elsewhere: of those who waited for it, one runs."""
        self._owned.handed_on(record)
        if (request_id := self._firsts.pop(record, None)) is not None:
            if self._open[request_id] is None:
                self._away.add(request_id)
            self._go_on(request_id, ended=False)

    def drop(self, partitions: Set[Partition]) -> list[Record]:
        """Forget those of these partitions that wait here; returns their records."""
        dropped: list[Record] = []
        for family in self._open.values():
            if family and family.waiting:
                gone = {each for each in family.waiting if _partition(each.record) in partitions}
                dropped += [each.record for each in gone]
                family.waiting = deque(each for each in family.waiting if each not in gone)
        return dropped

    def lost(self, records: Iterable[Record]) -> None:
        """These were forgotten without an outcome: of those who waited for one, one runs."""
        for record in records:
            if (request_id := self._firsts.pop(record, None)) is not None:
                if self._open[request_id] is None:  # read again it is new again
                    self._heard.pop(request_id, None)
                self._go_on(request_id, ended=False)

    def leave(self, partitions: Set[Partition]) -> None:
        """Outcomes of these partitions that are on their way may be dropped, and nobody is told."""
        for record in [each for each in self._firsts if _partition(each) in partitions]:
            self._go_on(self._firsts.pop(record), ended=True)
        told = self._told.items()
        self._told = {each: size for each, size in told if _partition(each) not in partitions}
        self._told_bytes = sum(self._told.values())

    async def stop(self) -> None:
        """Tell nobody anything any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _go_on(self, request_id: str, *, ended: bool) -> None:
        family = self._open[request_id]
        if family and family.waiting:
            family.since_ms, family.ended = self._heard.get(request_id, 0) - SKEW_MS, ended
            self._start(request_id, family)
            return
        del self._open[request_id]

    def _start(self, request_id: str, family: _Family) -> None:
        task = asyncio.create_task(self._settle(request_id, family), name="twins")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _settle(self, request_id: str, family: _Family) -> None:
        """Find out how the id has ended, and tell those who wait, until one of them is to run."""
        stored = await self._find(request_id, family)
        outputs = encode_outputs(stored.result.outputs) if stored else b""
        for number in count(1):
            if not family.waiting:
                del self._open[request_id]
                break
            request = family.waiting.popleft()
            if self._owned.owes(request.record) and not self._ends(request, stored, outputs):
                self._firsts[request.record] = request_id
                self._admit(request)
                break
            if number % _BREATH == 0:
                await asyncio.sleep(0)
            await self._room()
        self._taker.arm()

    def _ends(self, request: Incoming, stored: Outcome | None, outputs: bytes) -> bool:
        """Whether the request is told how it ends; else it is to run."""
        cancelled = self._taker.is_cancelled(request)
        try:
            run = run_of(stored, request.content, request.asked_ms, cancelled=cancelled)
        except RequestError as error:
            self._taker.refuse(request, error)
            return True
        if run is not None or stored is None:
            request.run = run or 1
            request.answered_by = stored.result.version if stored else ""
            return False
        self._told[request.record] = len(outputs)
        self._told_bytes += len(outputs)
        self._teller.repeated(request, replace(stored.result.head, source=request.source), outputs)
        return True

    async def _find(self, request_id: str, family: _Family) -> Outcome | None:
        reason = None
        for pause_s in (*RETRY_S, None):
            try:
                found, reason = await self._finder.find(request_id, family.since_ms), None
                if found or not family.ended:
                    return found
            except LookBackFailed as error:
                reason = str(error)
            except Exception:
                log.exception("an id could not be looked up")
            if pause_s is not None:
                await asyncio.sleep(pause_s)
        if reason:
            log.warning("an id could not be looked up, it may run twice", reason=reason)
        return None  # to run twice is better than not at all

    async def _room(self) -> None:
        """Wait until what was told again is on the broker, as far as it is too much."""
        while self._told_bytes > MOST_TOLD:
            await asyncio.sleep(_LOOK_S)
            self._told = {each: n for each, n in self._told.items() if self._owned.owes(each)}
            self._told_bytes = sum(self._told.values())


def _partition(record: Record) -> Partition:
    return record.topic, record.partition
