"""Looking back for outcomes that were written before their caller came."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from modelmora.kafka.background import background
from modelmora.kafka.connection import aiokafka_config
from modelmora.kafka.reading.closing import close
from modelmora.kafka.reading.tail import Handler, give
from modelmora.kafka.reading.unreadable import PARSE_FAULTS, step_over
from modelmora.kafka.schema_registry import Schemas
from modelmora.settings import Settings
from modelmora.wire import time_of

log = structlog.get_logger(__name__)
MARGIN_MS = 5 * 60_000  # how far the clock that made an id may be ahead of the broker's
AHEAD_MS = 60_000  # of one that is further ahead the time says nothing
NOTICED_MS = 60_000  # within this, everybody writes by a new partition count
STANDSTILL_S = 10.0
PAUSE_S = 0.5
"""Behind a pass that failed; who comes meanwhile shares the next one."""


class LookBackFailed(Exception):
    """What there is could not be read; the message is for the log."""


@dataclass(slots=True, eq=False)
class _Search:
    partition: int
    partitions: int
    start: int  # Unix ms
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
            "isolation_level": "read_committed",
        }
        self._topic = topic
        self._handle = handle
        self._schemas = schemas
        self._consumer: AIOKafkaConsumer | None = None
        self._open: list[_Search] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopped = self._is_failing = False

    async def search(
        self, request_id: str, partition: int, partitions: int, since_ms: int | None = None
    ) -> None:
        """Hand every record that may be this id's outcome to `handle`; return when all were.

        `partition` is the id's own, of the `partitions` there are. Starts at `since_ms` (Unix ms),
        or five minutes before the time in a UUIDv7, for other ids (and for a time that is still to
        come) at the beginning, and ends at the newest record there was. Raises LookBackFailed.
        """
        if self._stopped:
            raise LookBackFailed("it was stopped")
        if since_ms is None:
            made = time_of(request_id) or 0
            known = made < time.time() * 1000 + AHEAD_MS
            since_ms = made - MARGIN_MS if known else 0
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open.append(_Search(partition, partitions, max(since_ms, 0), done))
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = background(self._run(), "look-back")
        try:
            await done
        finally:
            # What it raises would hold this frame, and this frame what it raises: who asked, and
            # the requests that wait there, would stay until the collector comes.
            del done

    async def stop(self) -> None:
        """Give up what is being searched; nothing is searched from now on."""
        self._stopped = True
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._drop()

    async def _run(self) -> None:
        try:
            await self._go_on()
        finally:
            await self._drop()

    async def _go_on(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            searches, self._open = self._open, []
            failure: str | None = None
            try:
                await self._pass(searches)
            except Exception as error:  # noqa: BLE001 - each who waits is told, also of our faults
                if not self._is_failing:
                    log.warning("looking back fails", error=repr(error))
                failure = repr(error)
                await self._drop()
            for search in searches:
                if search.done.done():
                    continue
                if failure:
                    search.done.set_exception(LookBackFailed(failure))
                else:
                    search.done.set_result(None)
            self._is_failing = failure is not None
            if failure:
                await asyncio.sleep(PAUSE_S)

    async def _pass(self, searches: list[_Search]) -> None:
        async with asyncio.timeout(STANDSTILL_S) as patience:
            consumer = await self._connected()
            _moved(patience)
            consumer.assign([TopicPartition(self._topic, search.partition) for search in searches])
            stretches = await self._stretches(consumer, searches)
            _moved(patience)
            consumer.assign(list(stretches))
            for tp, (start, _) in stretches.items():
                consumer.seek(tp, start)
            await self._read(consumer, stretches, patience)
            consumer.unsubscribe()

    async def _stretches(
        self, consumer: AIOKafkaConsumer, searches: list[_Search]
    ) -> dict[TopicPartition, tuple[int, int]]:
        """The offsets to read from and to.

        An id's own partition is read to its end. By another partition count its outcome lies on
        any, but was written before the last partition that was added had its first record.
        """
        partitions = max(search.partitions for search in searches)
        every = [TopicPartition(self._topic, number) for number in range(partitions)]
        ends = await consumer.end_offsets(every)
        grown_ms = await self._grown_ms(consumer, every[-1])
        earliest = min(search.start for search in searches)
        from_ms = dict.fromkeys(every, earliest) if earliest < grown_ms else {}
        to_ms = {tp: int(grown_ms) for tp in from_ms if grown_ms < math.inf}
        for search in searches:
            own = TopicPartition(self._topic, search.partition)
            from_ms[own] = min(search.start, from_ms.get(own, search.start))
            to_ms.pop(own, None)
        starts = await consumer.offsets_for_times(from_ms)
        stops = await consumer.offsets_for_times(to_ms) if to_ms else {}
        found = {
            tp: (at.offset, until.offset if (until := stops.get(tp)) else ends[tp])
            for tp, at in starts.items()
            if at
        }
        return {tp: (start, stop) for tp, (start, stop) in found.items() if start < stop}

    async def _grown_ms(self, consumer: AIOKafkaConsumer, last: TopicPartition) -> float:
        """Until when outcomes may have been written by fewer partitions, in Unix ms.

        From the last partition retention may have taken records already: then whatever was
        written before there was such a partition is gone, too.
        """
        if (await consumer.beginning_offsets([last]))[last]:
            return 0.0
        first = (await consumer.offsets_for_times({last: 0}))[last]
        return first.timestamp + NOTICED_MS if first else math.inf

    async def _read(
        self,
        consumer: AIOKafkaConsumer,
        stretches: dict[TopicPartition, tuple[int, int]],
        patience: asyncio.Timeout,
    ) -> None:
        positions = {tp: start for tp, (start, _) in stretches.items()}
        while positions:
            try:
                batches = await consumer.getmany(timeout_ms=100)
            except PARSE_FAULTS:
                batches = await step_over(consumer, positions)
            for tp, records in batches.items():
                for record in records:
                    if record.offset < stretches[tp][1]:
                        await give(record, self._handle, self._schemas)
            now = {tp: await consumer.position(tp) for tp in positions}
            if now != positions:
                _moved(patience)
            positions = {tp: at for tp, at in now.items() if at < stretches[tp][1]}
            consumer.pause(*(now.keys() - positions.keys()))

    async def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            self._consumer = AIOKafkaConsumer(**self._config)
            await self._consumer.start()
        return self._consumer

    async def _drop(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer:
            await close(consumer)


def _moved(patience: asyncio.Timeout) -> None:
    """Something came: who is slow may still come to the end."""
    patience.reschedule(asyncio.get_running_loop().time() + STANDSTILL_S)
