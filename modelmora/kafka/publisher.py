"""Writing records until the broker has acknowledged them, through its deaths and our own."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)

from modelmora.kafka.connection import aiokafka_config
from modelmora.kafka.topics import DEAD_LETTER_BYTES
from modelmora.settings import Settings
from modelmora.wire import Framing, partition_of

log = structlog.get_logger(__name__)
Headers = Sequence[tuple[str, bytes | None]]
TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0)
ABANDON_S = 2.0
REQUEST_BYTES = DEAD_LETTER_BYTES + 64 * 1024
Place = tuple[str, int]
"""(topic, partition)."""


@dataclass(frozen=True, slots=True)
class Written:
    """The broker's acknowledgement; `timestamp` is its own clock, in Unix ms."""

    partition: int
    offset: int
    timestamp: int


class TooLarge(Exception):
    """The broker never takes a record of this size."""


Done = Callable[[Written | TooLarge], None]


@dataclass(slots=True, eq=False)
class Record:
    """One record to write; `done` is called once, on the loop, when that has been decided.

    `alone` is the publisher's own note: it was refused in a batch, perhaps for its neighbours.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    done: Done
    headers: Headers = ()
    partition: int | None = None
    alone: bool = False


@dataclass(slots=True, eq=False)
class Batch:
    """Records of one partition on their way together."""

    builder: Any
    number: int
    records: list[Record] = field(default_factory=list)

    def append(self, record: Record) -> bool:
        """Take the record in; False when the batch is full."""
        now_ms = time.time_ns() // 1_000_000
        headers = list(record.headers)
        taken = self.builder.append(
            timestamp=now_ms, key=record.key, value=record.value, headers=headers
        )
        if taken is None:
            return False
        self.records.append(record)
        return True


class Publisher:
    """Takes records at once, in order, and keeps each until it is acknowledged.

    What waits is handed to the producer as one batch per partition: a future per record costs
    more than all the rest. An idempotent producer can end in a state it never leaves (aiokafka
    #1017): any failure but an oversized record replaces the producer and writes again whatever
    was not acknowledged, so a record may be written twice and is never lost.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        request_timeout_ms: int = 15_000,
        framing: Framing | None = None,
    ) -> None:
        self._config = aiokafka_config(settings) | {
            "acks": "all",
            "enable_idempotence": True,
            "linger_ms": 0,
            "max_batch_size": 256 * 1024,
            "max_request_size": REQUEST_BYTES,
            "request_timeout_ms": request_timeout_ms,
        }
        self._framing = framing
        self._queue: deque[Record] = deque()
        self._inflight: dict[int, list[Record]] = {}
        self._batches = count()
        self._generation = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._broken = False
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self.connected = False

    @property
    def backlog(self) -> int:
        """Records taken and not yet acknowledged."""
        return len(self._queue) + sum(map(len, self._inflight.values()))

    async def start(self) -> None:
        """Connect once, so that a wrong address or password is told at the start."""
        producer = await self._connect()
        self._task = asyncio.create_task(self._run(producer), name="publisher")

    def send(self, record: Record) -> None:
        """Take a record, write it as the schema registry has its topic; returns at once."""
        if self._framing:
            record.value = self._framing.framed(record.topic, record.value)
        self._queue.append(record)
        self._idle.clear()
        self._wake.set()

    async def flush(self) -> None:
        """Wait until everything taken so far and since is acknowledged."""
        await self._idle.wait()

    async def stop(self) -> None:
        """Stop writing; what is not acknowledged is given up, as a crash would."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, producer: AIOKafkaProducer | None) -> None:
        try:
            while True:
                if producer is None:
                    producer = await self._reconnect()
                await self._pump(producer)
                self.connected = False
                await _abandon(producer)
                producer = None
        finally:
            if producer is not None:
                await _abandon(producer)

    async def _pump(self, producer: AIOKafkaProducer) -> None:
        """Hand records to the producer, round after round, until it breaks."""
        generation = self._generation
        while not self._broken:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            try:
                for place, batch in (await self._form(producer)).items():
                    await self._hand_over(producer, generation, place, batch)
            except Exception as error:  # noqa: BLE001 - asserts too: the task must outlive them
                self._break(generation, error)

    async def _form(self, producer: AIOKafkaProducer) -> dict[Place, Batch]:
        """Take what waits into one batch per partition, up to the first that is full.

        A record is in `_inflight` from here on, so that a failure finds it.
        """
        batches: dict[Place, Batch] = {}
        partitions: dict[str, int] = {}
        while self._queue:
            record = self._queue[0]
            if _size(record) > REQUEST_BYTES:
                self._queue.popleft()
                self._answer(record, TooLarge())
                continue
            topic = record.topic
            if topic not in partitions:
                partitions[topic] = len(await producer.partitions_for(topic))
            place = (topic, _partition(record, partitions[topic]))
            batch = batches.get(place)
            if batch is None:
                batch = batches[place] = Batch(producer.create_batch(), next(self._batches))
                self._inflight[batch.number] = batch.records
            elif record.alone or batch.records[0].alone:
                break
            if not batch.append(record):
                break
            self._queue.popleft()
        return batches

    async def _hand_over(
        self, producer: AIOKafkaProducer, generation: int, place: Place, batch: Batch
    ) -> None:
        topic, partition = place
        future = await producer.send_batch(batch.builder, topic, partition=partition)
        future.add_done_callback(partial(self._on_ack, batch.number, generation))

    def _on_ack(self, number: int, generation: int, future: asyncio.Future[Any]) -> None:
        error = None if future.cancelled() else future.exception()
        records = self._inflight.get(number)
        if records is None:
            return
        if isinstance(error, TOO_LARGE) and len(records) == 1:
            del self._inflight[number]
            self._answer(records[0], TooLarge())
        elif future.cancelled() or error:
            # The broker refuses whole batches: only a record by itself can be too large.
            for record in records:
                record.alone |= isinstance(error, TOO_LARGE)
            self._break(generation, error)
        else:
            meta = future.result()
            self._failures = 0
            del self._inflight[number]
            for offset, record in enumerate(records, meta.offset):
                self._answer(record, Written(meta.partition, offset, meta.timestamp))

    def _answer(self, record: Record, answer: Written | TooLarge) -> None:
        try:
            record.done(answer)
        except Exception:
            log.exception("an acknowledgement was not taken", topic=record.topic)
        if not self._inflight and not self._queue:
            self._idle.set()

    def _break(self, generation: int, error: BaseException | None) -> None:
        if generation == self._generation and not self._broken:
            log.warning("producer replaced", error=repr(error), open=self.backlog)
            self._broken = True
            self._wake.set()

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(**self._config)
        try:
            await producer.start()
        except BaseException:
            await _abandon(producer)
            raise
        self.connected = True
        return producer

    async def _reconnect(self) -> AIOKafkaProducer:
        again = [record for records in self._inflight.values() for record in records]
        self._queue.extendleft(reversed(again))
        self._inflight.clear()
        self._generation += 1
        self._broken = False
        while True:
            # Only an acknowledgement ends the waits: a connection may break at its first record.
            if self._failures:
                await asyncio.sleep(RETRY_S[min(self._failures, len(RETRY_S)) - 1])
            self._failures += 1
            try:
                producer = await self._connect()
            except Exception as error:  # noqa: BLE001 - as in _pump
                log.debug("broker not reached", error=repr(error))
            else:
                log.info("producer connected", open=self.backlog)
                return producer


async def _abandon(producer: AIOKafkaProducer) -> None:
    """End a producer for good, with what it still holds.

    Its own stop() waits until everything is written; cut short it leaves a sender behind that
    writes once the broker is back, behind newer records. Hence the two private names.
    """
    with contextlib.suppress(TimeoutError, KafkaError):
        await asyncio.wait_for(producer.flush(), ABANDON_S)
        await asyncio.wait_for(producer.stop(), ABANDON_S)
        return
    sender = producer._sender.sender_task
    if sender is not None:
        # It ends behind the requests under way, which a dead broker fails soon.
        sender.cancel()
        await asyncio.wait([sender], timeout=ABANDON_S)
    with contextlib.suppress(TimeoutError, KafkaError, OSError):
        await asyncio.wait_for(producer.client.close(), ABANDON_S)
    while sender is not None and not sender.done():
        sender.cancel()
        await asyncio.wait([sender], timeout=0.05)
    producer._closed = True


def _partition(record: Record, partitions: int) -> int:
    """The record's own partition, where the topic has it; else by its key like Java's client."""
    if record.partition is not None and record.partition < partitions:
        return record.partition
    if record.key is None:
        return random.randrange(partitions)  # noqa: S311 - a spread, no secret
    return partition_of(record.key, partitions)


def _size(record: Record) -> int:
    """Bytes of the record without Kafka's own few."""
    size = len(record.key or b"") + len(record.value or b"")
    if record.headers:
        size += sum(len(name) + len(value or b"") for name, value in record.headers)
    return size
