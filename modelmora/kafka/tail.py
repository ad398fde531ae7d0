"""Reading partitions without a consumer group: replies, the registry, control."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from modelmora.kafka.connection import aiokafka_config
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.unreadable import PARSE_FAULTS, Unreadable, step_over
from modelmora.settings import Settings

log = structlog.get_logger(__name__)
Start = Literal["beginning", "end"] | int
Handler = Callable[[ConsumerRecord], None]
RETRY_S = 0.5


class Tail:
    """Reads whole partitions and calls `handle` for each record, in order, on the loop.

    `handle` should not raise, and gets values in single-object encoding where `schemas` knows them
    in Confluent's; an int as start is a Unix time in ms. Reading goes on through the
    broker's deaths: aiokafka reconnects and keeps its positions.
    """

    def __init__(self, settings: Settings, handle: Handler, schemas: Schemas | None = None) -> None:
        self._config = aiokafka_config(settings) | {
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "fetch_max_wait_ms": 500,
            "metadata_max_age_ms": 30_000,
        }
        self._handle = handle
        self._schemas = schemas
        self._consumer: AIOKafkaConsumer | None = None
        self._next: dict[TopicPartition, int | None] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._caught_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self, partitions: Mapping[str, Iterable[int]], start: Start) -> None:
        """Connect, go to `start`, and read from then on."""
        consumer = self._consumer = AIOKafkaConsumer(**self._config)
        try:
            await consumer.start()
            self._ends = await consumer.end_offsets(_flat(partitions))
            await self.add(partitions, start)
        except BaseException:
            await consumer.stop()
            raise
        self._task = asyncio.create_task(self._read(consumer), name="tail")

    async def add(self, partitions: Mapping[str, Iterable[int]], start: Start) -> None:
        """Read further partitions too, from `start`; those read already stay where they are."""
        consumer = self._consumer
        if consumer is None:
            raise RuntimeError("start() comes first")
        new = [tp for tp in _flat(partitions) if tp not in self._next]
        if not new:
            return
        found = await _offsets(consumer, new, start)
        # From here to the last seek nothing waits, so that no record is read from elsewhere.
        self._next = {**found, **self._next}
        consumer.assign(list(self._next))
        for tp, offset in self._next.items():
            consumer.seek(tp, offset)

    async def caught_up(self) -> None:
        """Wait until everything that was there at the start has been handled."""
        await self._caught_up.wait()

    async def stop(self) -> None:
        """Stop reading."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._consumer:
            await self._consumer.stop()

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            try:
                if not self._caught_up.is_set():
                    await self._check_caught_up(consumer)
                try:
                    batches = await consumer.getmany(timeout_ms=500)
                except PARSE_FAULTS:
                    batches = await step_over(consumer, dict(self._next))
            except KafkaError as error:
                log.warning("reading failed, trying again", error=repr(error))
                await asyncio.sleep(RETRY_S)
                continue
            for tp, records in batches.items():
                for record in records:
                    self._next[tp] = record.offset + 1
                    if self._schemas and not isinstance(record, Unreadable):
                        record.value = await self._schemas.readable(record.value)
                    self._give(record)

    def _give(self, record: ConsumerRecord | Unreadable) -> None:
        if isinstance(record, Unreadable):
            log.warning("a record cannot be read", topic=record.topic, offset=record.offset)
            return
        try:
            self._handle(record)
        except Exception:
            log.exception("a record was not handled", topic=record.topic, offset=record.offset)

    async def _check_caught_up(self, consumer: AIOKafkaConsumer) -> None:
        for tp, end in self._ends.items():
            if end and await consumer.position(tp) < end:
                return
        self._caught_up.set()


def _flat(partitions: Mapping[str, Iterable[int]]) -> list[TopicPartition]:
    return [TopicPartition(topic, n) for topic, numbers in partitions.items() for n in numbers]


async def _offsets(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition], start: Start
) -> dict[TopicPartition, int]:
    if start == "beginning":
        return dict(await consumer.beginning_offsets(partitions))
    # Before the look-up by time, or a record written between the two would be passed over.
    ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
    if start == "end":
        return ends
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, start))
    return {tp: at.offset if (at := found.get(tp)) else ends[tp] for tp in partitions}
