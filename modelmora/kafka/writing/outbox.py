"""Records that wait to be written: by topic, in order, until each is decided."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import structlog
from confluent_kafka import KafkaError

from modelmora.kafka.acls import Operation
from modelmora.kafka.denied import on_topic, reason
from modelmora.kafka.writing.producing import BATCH_BYTES
from modelmora.wire import Framing

log = structlog.get_logger(__name__)
Headers = Sequence[tuple[str, bytes | None]]
WINDOW = 2_000
BOUND_BYTES = 64 << 20
"""Beyond so much the records of bounded topics make room, whatever their number."""
RETRY_S = (0.1, 0.2, 0.5, 1.0)


class Written(NamedTuple):
    """The broker's acknowledgement.

    `timestamp` is its own clock in Unix ms, 0 where the topic does not carry it; `offset` is -1
    where the broker had the record already and has forgotten where.
    """

    partition: int
    offset: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The broker never takes a record of this size."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """It was not written: nobody wanted it any more, or newer ones of its topic took its place."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Its topic does not take it, and it is an optional record."""

    reason: str


Answer = Written | TooLarge | Dropped | Refused


class Ends(NamedTuple):
    """Whose outcome a record is, and the epoch in which this node owns that."""

    partition: tuple[str, int]
    epoch: int
    offset: int


@dataclass(slots=True, eq=False)
class Record:
    """One record to write; `done` is called once, on the loop, when that has been decided.

    It goes to `partition`, or by its key where that is None or the topic lacks it. `wanted` is
    asked each time right before the record is handed to the producer. What is to be written
    `after` another record is dropped where that is not written.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    done: Callable[[Answer], None]
    headers: Headers = ()
    partition: int | None = None
    wanted: Callable[[], bool] | None = None
    ends: Ends | None = None
    after: Record | None = None
    as_is: bool = False
    """Its value is not to be put into another format."""
    optional: bool = False
    """It is `Refused` where any other would wait until its topic takes it."""
    if_allowed: bool = False
    """It is `Refused` where we may not write to its topic."""
    since: float = field(default=0.0, init=False)
    """When it was taken (monotonic, s): also its place among those of its topic."""
    size: int = field(default=0, init=False)
    alone: bool = field(default=False, init=False)
    """It was refused in a batch, perhaps for its neighbours."""
    late: bool = field(default=False, init=False)
    """It was not taken in time once, perhaps for the broker's sake."""

    def decided(self, answer: Answer) -> None:
        """Tell it, once. What was to be told is let go: most of it holds the record.

        Such a ring would keep the record until the collector comes, which is seldom in a node.
        """
        done, self.done = self.done, _told
        done(answer)

    def give_to(self, produce: Callable[..., object], report: Callable[..., None]) -> None:
        """Hand it to a producer's `produce`; `report` gets the record, the error and the message.

        Raises what `produce` does.
        """
        produce(
            self.topic,
            self.value,
            self.key,
            -1 if self.partition is None else self.partition,
            partial(report, self),
            headers=list(self.headers) if self.headers else None,
        )

    @property
    def parts(self) -> tuple[Record, ...]:
        """The record, behind all that goes before it."""
        return (*self.after.parts, self) if self.after else (self,)


def _told(_: Answer) -> None:
    """Whoever waited for the answer has it."""


def in_turn(record: Record, send: Callable[[Record], None]) -> Record:
    """What of a record's parts is sent now: each is once the broker has the one before."""
    first = record.after
    if first is None:
        return record
    told = first.done

    def done(answer: Answer) -> None:
        told(answer)
        if isinstance(answer, Written) and (record.wanted is None or record.wanted()):
            send(record)

    record.after, first.done = None, done
    return in_turn(first, send)


@dataclass(slots=True, eq=False)
class Flow:
    """The records of one topic: those that wait, those under way, those that came back."""

    topic: str
    bound: int | None
    waiting: deque[Record] = field(default_factory=deque)
    under_way: dict[Record, None] = field(default_factory=dict)
    again: list[Record] = field(default_factory=list)
    bytes: int = 0
    """Bytes under way."""
    single: bool = False
    """What is under way goes alone."""
    fault: str | None = None
    """Why the topic is parked: one record at a time asks whether it flows again."""
    failures: int = 0
    resume: float = 0.0

    def __len__(self) -> int:
        return len(self.waiting) + len(self.under_way) + len(self.again)

    def room(self, now: float) -> int:
        """How many records may be handed over.

        What came back goes first and in its old order, so it waits for all that is under way.
        """
        if self.under_way and (self.again or self.single or self.fault):
            return 0
        if self.again:
            self.again.sort(key=lambda record: record.since)
            self.waiting.extendleft(reversed(self.again))
            self.again.clear()
        if now < self.resume:
            return 0
        return 1 if self.fault else WINDOW - len(self.under_way)

    def park(self, error: KafkaError) -> float:
        """Rest after a failure; returns for how long (s), 0 where it rests already."""
        now = time.monotonic()
        if now < self.resume:
            return 0.0  # one of many that failed together
        why = reason(error, on_topic(Operation.WRITE, self.topic))
        if not self.fault:
            log.error("topic parked", topic=self.topic, reason=why, open=len(self))
        self.fault = why
        pause = RETRY_S[min(self.failures, len(RETRY_S) - 1)]
        self.failures += 1
        self.resume = now + pause
        return pause

    def unpark(self) -> None:
        """The topic takes records again."""
        log.info("topic flows again", topic=self.topic, open=len(self))
        self.fault, self.failures = None, 0

    def oldest(self) -> float:
        """When the oldest record was taken; infinity where there is none."""
        queues = (self.under_way, self.again, self.waiting)
        return min((next(iter(queue)).since for queue in queues if queue), default=float("inf"))


class Outbox:
    """What every publisher holds: records by topic, and how much of it is undecided."""

    def __init__(self, framing: Framing | None, bounds: Mapping[str, int]) -> None:
        self._framing = framing
        self._bounds = bounds
        self._flows: dict[str, Flow] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self.backlog = 0
        """Records taken and not yet decided."""
        self.backlog_bytes = 0
        self.connected = False

    @property
    def parked(self) -> dict[str, str]:
        """The topics that take nothing although records wait, and why."""
        return {flow.topic: flow.fault for flow in self._flows.values() if flow.fault and len(flow)}

    def backlog_of(self, topics: Collection[str]) -> int:
        """Records of these topics taken and not yet decided."""
        return sum(len(self._flows[topic]) for topic in topics if topic in self._flows)

    def oldest_s(self, topics: Collection[str] | None = None) -> float:
        """Age of the oldest undecided record, of these topics or of all; 0 when there is none."""
        flows = [flow for flow in self._flows.values() if topics is None or flow.topic in topics]
        return max(0.0, time.monotonic() - min(map(Flow.oldest, flows), default=float("inf")))

    def send(self, record: Record) -> None:
        """Take a record, write it as the schema registry has its topic; returns at once."""
        if self._framing:
            for each in record.parts:
                if not each.as_is:
                    each.value = self._framing.framed(each.topic, each.value)
        topic = record.parts[0].topic
        flow = self._flows.get(topic)
        if flow is None:
            flow = Flow(topic, self._bounds.get(topic))
            self._flows[topic] = flow
        record.size = size = sum(map(_size, record.parts))
        record.since = time.monotonic()
        flow.waiting.append(record)
        self.backlog += 1
        self.backlog_bytes += size
        self._idle.clear()
        while flow.bound is not None and (
            len(flow.waiting) > flow.bound
            or (len(flow.waiting) > 1 and self.backlog_bytes > BOUND_BYTES)
        ):
            self._answer(flow.waiting.popleft(), Dropped())
        self.wake()

    def wake(self) -> None:
        """Look at once whether something can be handed over."""
        raise NotImplementedError

    async def start(self) -> None:
        """Connect once; raises Unreachable, WrongCredentials, ConfigurationError."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Stop writing; what is not acknowledged soon is given up, as a crash would."""
        raise NotImplementedError

    async def flush(self) -> None:
        """Wait until everything taken so far and since is decided."""
        await self._idle.wait()

    def _answer(self, record: Record, answer: Answer) -> None:
        self.backlog -= 1
        self.backlog_bytes -= record.size
        try:
            record.decided(answer)
        except Exception:
            log.exception("an acknowledgement was not taken", topic=record.topic)
        if not self.backlog:
            self._idle.set()

    def _call(self, function: Callable[[], None]) -> None:
        """Have the loop call it, from another thread."""
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)


def goes_alone(record: Record) -> bool:
    """Whether no other record is in its batch: the broker refuses batches whole."""
    return record.alone or record.size >= BATCH_BYTES


def _size(record: Record) -> int:
    """Bytes of the record without Kafka's own few."""
    size = len(record.key or b"") + len(record.value or b"")
    if record.headers:
        size += sum(len(name) + len(value or b"") for name, value in record.headers)
    return size
