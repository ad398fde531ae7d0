"""Writing records until the broker has acknowledged them, through its deaths and our own."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import structlog
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message

from modelmora.kafka.producing import BATCH_BYTES, Client
from modelmora.settings import Settings
from modelmora.wire import Framing

log = structlog.get_logger(__name__)
Headers = Sequence[tuple[str, bytes | None]]
WINDOW = 2_000
WINDOW_BYTES = 4 << 20
FENCE_S = 0.05
RETRY_S = (0.1, 0.2, 0.5, 1.0)
_TOO_LARGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}
_GIVEN_BACK = {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT}


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


Answer = Written | TooLarge | Dropped


@dataclass(slots=True, eq=False)
class Record:
    """One record to write; `done` is called once, on the loop, when that has been decided.

    It goes to `partition`, or by its key where that is None or the topic lacks it. `wanted` is
    asked each time right before the record is handed to the producer.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    done: Callable[[Answer], None]
    headers: Headers = ()
    partition: int | None = None
    wanted: Callable[[], bool] | None = None
    since: float = field(default=0.0, init=False)
    """When it was taken (monotonic, s): also its place among those of its topic."""
    size: int = field(default=0, init=False)
    alone: bool = field(default=False, init=False)
    """It was refused in a batch, perhaps for its neighbours."""


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

    def oldest(self) -> float:
        """When the oldest record was taken; infinity where there is none."""
        queues = (self.under_way, self.again, self.waiting)
        return min((next(iter(queue)).since for queue in queues if queue), default=float("inf"))


class Publisher:
    """Takes records at once and keeps each until it is decided; runs on one loop.

    The producer holds few records of each topic, the rest waits here: whether a record is still
    wanted, and whether this process may publish at all, is asked at the last moment. What the
    producer gives back is asked again, so a record may be written twice and is never lost.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        timeout_s: float = 4.0,
        framing: Framing | None = None,
        may_publish: Callable[[], bool] | None = None,
        drop_oldest: Mapping[str, int] | None = None,
    ) -> None:
        """`timeout_s` is how long the producer may try by itself before it gives a record back.

        While `may_publish` is false nothing is handed over. `drop_oldest` names the topics of
        which so many records may wait; the oldest of more are dropped.
        """
        self._connect = partial(Client, settings, timeout_s, self._on_fatal, self._on_connected)
        self._framing = framing
        self._may_publish = may_publish
        self._bounds = drop_oldest or {}
        self._flows: dict[str, Flow] = {}
        self._reports: deque[tuple[Record, KafkaError | None, Written]] = deque()
        self._client: Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._replacing: asyncio.Task[None] | None = None
        self._pumping = self._settling = self._watching = False
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

    async def start(self) -> None:
        """Connect once; raises Unreachable, WrongCredentials, ConfigurationError."""
        self._loop = asyncio.get_running_loop()
        client = self._connect()
        try:
            await asyncio.to_thread(client.check)
        except BaseException:
            await asyncio.to_thread(client.end)
            raise
        self._use(client)

    def send(self, record: Record) -> None:
        """Take a record, write it as the schema registry has its topic; returns at once."""
        if self._framing:
            record.value = self._framing.framed(record.topic, record.value)
        flow = self._flows.get(record.topic)
        if flow is None:
            flow = Flow(record.topic, self._bounds.get(record.topic))
            self._flows[record.topic] = flow
        record.size = size = _size(record)
        record.since = time.monotonic()
        flow.waiting.append(record)
        self.backlog += 1
        self.backlog_bytes += size
        self._idle.clear()
        if flow.bound is not None and len(flow.waiting) > flow.bound:
            self._answer(flow.waiting.popleft(), Dropped())
        self.wake()

    def wake(self) -> None:
        """Look at once whether something can be handed over."""
        if self._client and self._loop and not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    async def flush(self) -> None:
        """Wait until everything taken so far and since is decided."""
        await self._idle.wait()

    async def stop(self) -> None:
        """Stop writing; what is not acknowledged soon is given up, as a crash would."""
        if self._replacing:
            await asyncio.gather(self._replacing, return_exceptions=True)
        client, self._client = self._client, None
        self.connected = False
        if client:
            await asyncio.to_thread(client.end)
            self._settle()

    # Handing over --------------------------------------------------------------------------------

    def _pump(self) -> None:
        self._pumping = False
        now = time.monotonic()
        for flow in [*self._flows.values()]:  # an answer may begin another
            if self._client is None or not self._hand_over(self._client, flow, flow.room(now)):
                return

    def _hand_over(self, client: Client, flow: Flow, room: int) -> bool:
        """Hand over what there is and may go; False where the fence is closed."""
        waiting, may_publish = flow.waiting, self._may_publish
        while waiting and room > 0 and flow.bytes < WINDOW_BYTES:
            record = waiting[0]
            if record.wanted and not record.wanted():
                self._answer(waiting.popleft(), Dropped())
                continue
            if may_publish and not may_publish():
                if not self._watching:
                    self._watching = True
                    self._later(FENCE_S, self._watch)
                return False
            if record.alone and flow.under_way:
                break
            try:
                client.produce(
                    record.topic,
                    record.value,
                    record.key,
                    -1 if record.partition is None else record.partition,
                    partial(self._on_report, record),
                    headers=list(record.headers) if record.headers else None,
                )
            except BufferError:  # looked at again when the producer has given something back
                break
            except KafkaException as error:
                self._failed(flow, waiting.popleft(), error.args[0])
                self.wake()
                break
            flow.under_way[waiting.popleft()] = None
            flow.bytes += record.size
            flow.single = record.alone
            room = 0 if record.alone else room - 1
        return True

    def _watch(self) -> None:
        self._watching = False
        self.wake()

    def _later(self, seconds: float, function: Callable[[], None]) -> None:
        if self._loop:
            self._loop.call_later(seconds, function)

    # Answers -------------------------------------------------------------------------------------

    def _on_report(self, record: Record, error: KafkaError | None, message: Message) -> None:
        """Called by the polling thread."""
        kind, stamp = message.timestamp()
        stamp = stamp if kind == TIMESTAMP_LOG_APPEND_TIME else 0
        written = Written(message.partition(), message.offset(), stamp)
        self._reports.append((record, error, written))
        if not self._settling:
            self._settling = True
            self._call(self._settle)

    def _settle(self) -> None:
        self._settling = False
        flows, reports = self._flows, self._reports
        while reports:
            record, error, written = reports.popleft()
            flow = flows[record.topic]
            del flow.under_way[record]
            flow.bytes -= record.size
            if error:
                self._failed(flow, record, error)
                continue
            if flow.fault:
                log.info("topic flows again", topic=flow.topic, open=len(flow))
                flow.fault, flow.failures = None, 0
            self._answer(record, written)
        self.wake()

    def _answer(self, record: Record, answer: Answer) -> None:
        self.backlog -= 1
        self.backlog_bytes -= record.size
        try:
            record.done(answer)
        except Exception:
            log.exception("an acknowledgement was not taken", topic=record.topic)
        if not self.backlog:
            self._idle.set()

    def _failed(self, flow: Flow, record: Record, error: KafkaError) -> None:
        """Decide what follows a failure; the record waits again unless it is too large for ever.

        1. Too large: so is every record that goes alone; one among others is tried alone.
        2. A partition that the topic lacks: by key.
        3. A fatal error: another producer. Given back on our own order: nothing.
        4. Not taken in time: the producer gives back what it has not sent, to keep the order.
        5. Anything else is the topic's own trouble, and parks it.
        """
        code = error.code()
        if code in _TOO_LARGE and (record.alone or record.size >= BATCH_BYTES):
            self._answer(record, TooLarge())
            return
        flow.again.append(record)
        if code in _TOO_LARGE:
            record.alone = True
        elif code == KafkaError._UNKNOWN_PARTITION and record.partition is not None:
            record.partition = None
        elif error.fatal() or code == KafkaError._FATAL:
            self._replace()
        elif code == KafkaError._MSG_TIMED_OUT:
            if self._client:
                self._client.take_back()
        elif code not in _GIVEN_BACK:
            self._park(flow, error)

    def _park(self, flow: Flow, error: KafkaError) -> None:
        now = time.monotonic()
        if now < flow.resume:
            return  # one of many that failed together
        if not flow.fault:
            log.error("topic parked", topic=flow.topic, reason=error.str(), open=len(flow))
        flow.fault = error.str()
        pause = RETRY_S[min(flow.failures, len(RETRY_S) - 1)]
        flow.failures += 1
        flow.resume = now + pause
        self._later(pause, self.wake)

    # The producer --------------------------------------------------------------------------------

    def _use(self, client: Client) -> None:
        self._client = client
        self.connected = True
        self.wake()

    def _on_connected(self, connected: bool) -> None:
        """Called by the polling thread."""
        log.warning("broker answers again" if connected else "broker does not answer")
        self.connected = connected

    def _on_fatal(self) -> None:
        """Called by the polling thread."""
        self._call(self._replace)

    def _call(self, function: Callable[[], None]) -> None:
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)

    def _replace(self) -> None:
        """An idempotent producer never leaves a fatal error: another takes what it holds."""
        client, self._client = self._client, None
        if client and self._loop:
            log.warning("producer replaced", open=self.backlog)
            self._replacing = self._loop.create_task(self._renew(client), name="publisher")

    async def _renew(self, client: Client) -> None:
        await asyncio.to_thread(client.end)
        self._settle()
        for flow in self._flows.values():  # nothing, unless the producer's end took too long
            flow.again.extend(flow.under_way)
            flow.under_way.clear()
            flow.bytes = 0
        self._use(self._connect())


def _size(record: Record) -> int:
    """Bytes of the record without Kafka's own few."""
    size = len(record.key or b"") + len(record.value or b"")
    if record.headers:
        size += sum(len(name) + len(value or b"") for name, value in record.headers)
    return size
