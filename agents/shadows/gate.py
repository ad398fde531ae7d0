"""Where copies wait that were read, until one may begin: behind all else, within their share."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Set
from enum import StrEnum
from typing import Protocol

import structlog

from modelmora.agents.shadows.share import Share
from modelmora.kafka.batches import Partition
from modelmora.serving import BrokerClock, Incoming, Record
from modelmora.settings.shadow import ShadowSettings

log = structlog.get_logger(__name__)
MOST_WAITING = 256
MOST_OF_ONE = 64
"""Of one key, which is the name of a model."""
MOST_BYTES = 16 << 20
MOST_ANSWERED = 10_000

Key = tuple[str, str]


class Dropped(StrEnum):
    """Why a copy has no outcome."""

    LATE = "late"
    SECOND = "second"
    CAREFUL = "careful"
    NO_COPY = "no_copy"


class Owned(Protocol):
    """Who knows what this node still has to answer; see `partitions.intake`."""

    def owes(self, record: Record) -> bool:
        """Whether this node still owes the record's outcome."""

    def done(self, record: Record) -> None:
        """Nothing is owed for it any more."""


class Taker(Protocol):
    """Who knows whether one may begin; see `modelmora.serving.Service`."""

    def may_begin(self, request: Incoming) -> bool:
        """Whether a copy may be accepted now."""


class Gate:
    """Lets one copy in after the other. Few wait here: the others stay on their topic.

    They are open in the ledger all the while, so no commit passes them.
    """

    _begin: Callable[[Incoming], None]
    _taker: Taker

    def __init__(
        self,
        settings: ShadowSettings,
        owned: Owned,
        clock: BrokerClock,
        on_dropped: Callable[[str], None] = lambda _: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_dropped` is told why a copy ends without an outcome."""
        self._share = Share(settings.share)
        self._kept_ms = settings.kept_s * 1000
        self._owned = owned
        self._clock = clock
        self._on_dropped = on_dropped
        self.careful: Callable[[], bool] = lambda: False
        """Whether the node begins little, for it may die of it: then what is open holds up others.
        """
        self._now = now
        self._waiting: dict[str, deque[Incoming]] = {}
        """By the model that they ask, the one whose turn is next first."""
        self._held: Counter[bytes] = Counter()
        self._bytes = 0
        self._open: set[Key] = set()
        self._answered: OrderedDict[Key, None] = OrderedDict()
        self._running: Incoming | None = None
        self._began = 0.0
        self._looks: asyncio.Handle | None = None

    def use(self, begin: Callable[[Incoming], None], taker: Taker) -> None:
        """Where copies go from here; to be called before the first."""
        self._begin, self._taker = begin, taker

    # Coming --------------------------------------------------------------------------------------

    def is_full(self, key: bytes | None) -> bool:
        """Whether a record with this key is not to be taken now: it is read again later."""
        many = self._held.total() >= MOST_WAITING or self._held[key or b""] >= MOST_OF_ONE
        return many or self._bytes >= MOST_BYTES

    def take(self, request: Incoming) -> None:
        """Have a copy wait.

        (1) It says of nothing that it is its copy: dropped.
        (2) The same copy was run here a while ago, or waits, or the node is careful: dropped.
        (3) It waits.
        """
        # (1)
        if request.copy is None:
            self._drop(request, Dropped.NO_COPY)
            return
        # (2)
        key = _key(request)
        if key in self._open or key in self._answered:
            self._drop(request, Dropped.SECOND)
            return
        if self.careful():
            self._drop(request, Dropped.CAREFUL)
            return
        # (3)
        self._open.add(key)
        self._hold(request, 1)
        self._waiting.setdefault(request.head.model, deque()).append(request)

    def ended(self, request: Incoming, taken_ms: float) -> None:
        """A copy has its outcome, for which it has computed so long.

        It pays for all the time since it began, in which it has kept others busy too.
        """
        under_way_ms = (self._now() - self._began) * 1000 if request is self._running else 0.0
        self._share.spend(max(taken_ms, under_way_ms))
        if request.copy:
            key = _key(request)
            self._answered[key] = None
            self._open.discard(key)
            if len(self._answered) > MOST_ANSWERED:
                self._answered.popitem(last=False)
        # Not at once: nothing may begin while the scheduler tells what has ended.
        if self._looks is None:
            self._looks = asyncio.get_running_loop().call_soon(self.look)

    def drop(self, partitions: Set[Partition]) -> list[Record]:
        """Forget the copies of these partitions that wait; returns their records."""
        dropped: list[Record] = []
        for waiting in self._waiting.values():
            gone = [each for each in waiting if _place(each) in partitions]
            for request in gone:
                waiting.remove(request)
                self._hold(request, -1)
                self._open.discard(_key(request))
                dropped.append(request.record)
        if self._running and _place(self._running) in partitions:
            self._open.discard(_key(self._running))
        return dropped

    # Beginning -----------------------------------------------------------------------------------

    def look(self) -> None:
        """Let one in, if one may begin; to be called now and then."""
        self._looks = None
        running = self._running
        if running and not running.ended and self._owned.owes(running.record):
            return
        self._running = None
        if running:
            self._open.discard(_key(running))
        while self._running is None and (request := self._next()):
            request.begun_ms = round(self._clock.now_ms(_place(request)))
            self._running, self._began = request, self._now()
            self._begin(request)
            if request.ended:
                self._open.discard(_key(request))
                self._running = None

    def _next(self) -> Incoming | None:
        """Of the models that have their turns one that may have it now."""
        careful = self.careful()
        for model, waiting in [*self._waiting.items()]:
            while waiting and (careful or self._is_late(waiting[0])):
                self._drop(self._out(waiting), Dropped.CAREFUL if careful else Dropped.LATE)
            if not waiting:
                del self._waiting[model]
            elif self._share.may(self._now()) and self._taker.may_begin(waiting[0]):
                self._waiting[model] = self._waiting.pop(model)  # the others come first then
                return self._out(waiting)
        return None

    def _out(self, waiting: deque[Incoming]) -> Incoming:
        request = waiting.popleft()
        self._hold(request, -1)
        return request

    def _is_late(self, request: Incoming) -> bool:
        waited_ms = self._clock.now_ms(_place(request)) - request.record.timestamp
        return waited_ms > self._kept_ms

    def _drop(self, request: Incoming, why: Dropped) -> None:
        if why is not Dropped.SECOND:
            self._open.discard(_key(request))
        request.ended = True
        self._on_dropped(why.value)
        self._owned.done(request.record)

    def _hold(self, request: Incoming, count: int) -> None:
        record = request.record
        self._held[record.key or b""] += count
        self._bytes += count * len(record.value or b"")


def _key(request: Incoming) -> Key:
    copy = request.copy
    return request.request_id, copy.comparison if copy else ""


def _place(request: Incoming) -> Partition:
    return request.record.topic, request.record.partition
