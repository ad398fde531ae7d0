"""Looking back for outcomes that were written before their caller came."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from modelmora.kafka.connection import aiokafka_config
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.tail import Handler
from modelmora.settings import Settings
from modelmora.wire import time_of

MARGIN_MS = 5 * 60_000  # how far the clock that made an id may be ahead of the broker's


@dataclass(slots=True, eq=False)
class _Search:
    partition: TopicPartition
    start: int | None  # Unix ms; None = the beginning
    done: asyncio.Future[None]


class LookBack:
    """Reads stretches of `results` once more; one pass at a time serves all who wait for one.

    Not a Tail: its consumer is kept between passes and waits for nothing when it has read all.
    """

    def __init__(
        self, settings: Settings, topic: str, handle: Handler, schemas: Schemas | None = None
    ) -> None:
        self._config = aiokafka_config(settings) | {
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "fetch_max_wait_ms": 1,
        }
        self._topic = topic
        self._handle = handle
        self._schemas = schemas
        self._consumer: AIOKafkaConsumer | None = None
        self._open: list[_Search] = []
        self._task: asyncio.Task[None] | None = None

    async def search(self, request_id: str, partition: int) -> None:
        """Hand every record that may be this id's outcome to `handle`; return when all were.

        Starts five minutes before the time in a UUIDv7, for other ids at the beginning of the
        partition, and ends at the newest record there was. Raises KafkaError.
        """
        made = time_of(request_id)
        start = None if made is None else max(made - MARGIN_MS, 0)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open.append(_Search(TopicPartition(self._topic, partition), start, done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="look-back")
        await done

    async def stop(self) -> None:
        """Give up what is being searched."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._drop()

    async def _run(self) -> None:
        while self._open:
            searches, self._open = self._open, []
            try:
                await self._pass(await self._connected(), searches)
            except (KafkaError, OSError) as error:
                await self._drop()
                for search in searches:
                    if not search.done.done():
                        search.done.set_exception(error)
            for search in searches:
                if not search.done.done():
                    search.done.set_result(None)

    async def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            self._consumer = AIOKafkaConsumer(**self._config)
            await self._consumer.start()
        return self._consumer

    async def _drop(self) -> None:
        if self._consumer:
            await self._consumer.stop()
        self._consumer = None

    async def _pass(self, consumer: AIOKafkaConsumer, searches: list[_Search]) -> None:
        starts: dict[TopicPartition, int] = {}
        for search in searches:
            start = search.start or 0
            starts[search.partition] = min(start, starts.get(search.partition, start))
        consumer.assign(list(starts))
        ends = await consumer.end_offsets(list(starts))
        found = await consumer.offsets_for_times(dict(starts))
        for partition in starts:
            at = found.get(partition)
            consumer.seek(partition, at.offset if at else ends[partition])
        while [tp for tp, end in ends.items() if await consumer.position(tp) < end]:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                for record in records:
                    if self._schemas:
                        record.value = await self._schemas.readable(record.value)
                    self._handle(record)
        consumer.unsubscribe()
