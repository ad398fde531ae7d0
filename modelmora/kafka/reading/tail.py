"""Reading partitions without a consumer group: replies, the registry, control."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, TopicAuthorizationFailedError

from modelmora.kafka.acls import Operation
from modelmora.kafka.background import background
from modelmora.kafka.connection import aiokafka_config
from modelmora.kafka.denied import not_allowed, on_topic
from modelmora.kafka.pulse import Pulse, Shape
from modelmora.kafka.reading.closing import close
from modelmora.kafka.reading.unreadable import PARSE_FAULTS, Unreadable, step_over
from modelmora.kafka.schema_registry import Schemas
from modelmora.settings import Settings

log = structlog.get_logger(__name__)
Start = Literal["beginning", "end"]
Handler = Callable[[ConsumerRecord], None]
RETRY_S = 0.5
_NOWHERE: Mapping[TopicPartition, int] = {}
READ_S = 0.1
QUIET_S = 5.0
HUNG_S = 20.0
"""A client that gives no answer for so long gives none, and another takes its place."""


class Stuck(Exception):
    """Records wait, and none are fetched."""


class Tail:
    """Reads whole partitions and calls `handle` for each record, in order, on the loop.

    `handle` gets values in single-object encoding where `schemas` knows them in Confluent's, and
    only what was committed. What cannot be read or handled is logged and passed. Reading goes on
    through the broker's deaths, and at the beginning of a topic that was deleted and made anew,
    where a record may be handed over twice: `pulse` must be asking for the topics. `on_anew` is
    told of such a topic before its first record.
    """

    def __init__(
        self,
        settings: Settings,
        pulse: Pulse,
        handle: Handler,
        schemas: Schemas | None = None,
        *,
        on_anew: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._config = aiokafka_config(settings) | {
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "fetch_max_wait_ms": 500,
            "metadata_max_age_ms": 30_000,
            "isolation_level": "read_committed",
        }
        self._pulse = pulse
        self._handle = handle
        self._schemas = schemas
        self._on_anew = on_anew
        self._consumer: AIOKafkaConsumer | None = None
        self._next: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._waiting: dict[TopicPartition, int] = {}
        self._shapes: Mapping[str, Shape] = {}
        self._ids: dict[str, str] = {}
        self._quiet_since = 0.0
        self._caught_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failure: str | None = None

    async def start(
        self,
        partitions: Mapping[str, Iterable[int]],
        start: Start,
        since: Mapping[TopicPartition, int] = _NOWHERE,
    ) -> Mapping[TopicPartition, int]:
        """Connect, go to `start`, and read from then on; where that is. Raises KafkaError.

        Or go to `since` where the log has that place.
        """
        wanted = [TopicPartition(topic, n) for topic, ns in partitions.items() for n in ns]
        consumer = AIOKafkaConsumer(**self._config)
        try:
            await consumer.start()
            self._ends = await consumer.end_offsets(wanted)
            first = await consumer.beginning_offsets(wanted) if start == "beginning" else self._ends
        except BaseException:
            await close(consumer)
            raise
        known = {tp: at for tp, at in since.items() if first[tp] <= at <= self._ends[tp]}
        begin = {**first, **known}
        self._next = dict(begin)
        self._consumer = consumer
        self._assign(consumer)
        self._task = background(self._read(), "tail")
        return begin

    @property
    def fault(self) -> str | None:
        """Why nothing is read, None while it is."""
        ended = self._task is None or self._task.done()
        if not ended and self._failure is None:
            return None
        topics = ", ".join(sorted({tp.topic for tp in self._next}))
        return f"{topics} is not read" if ended else f"{topics} cannot be read: {self._failure}"

    async def caught_up(self) -> None:
        """Wait until everything that was there at the start has been handled."""
        await self._caught_up.wait()

    async def read_all(self, topic: str) -> None:
        """Wait until all that lies on a topic by now was handed over."""
        ends: dict[TopicPartition, int] | None = None
        while True:
            consumer = self._consumer
            if consumer and not self._failure:
                with contextlib.suppress(Exception):  # it may be closed meanwhile
                    asked = [tp for tp in self._assigned() if tp.topic == topic]
                    ends = ends or await consumer.end_offsets(asked)
                    if all([await consumer.position(tp) >= end for tp, end in ends.items()]):
                        return
            await asyncio.sleep(READ_S)

    async def stop(self) -> None:
        """Stop reading; whoever gives up waiting for that does not keep it from happening."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._close()

    async def _read(self) -> None:
        try:
            await self._go_on()
        finally:
            await self._close()

    async def _go_on(self) -> None:
        while True:
            try:
                if self._consumer is None:
                    await self._reopen()
                else:
                    await self._round(self._consumer)
                    self._failure = None
            except Exception as error:  # noqa: BLE001 - whoever stops reading is silent for ever
                if self._failure is None:
                    log.warning("reading failed, trying again", error=_told(error))
                self._failure = _told(error)
                await self._close()
                await asyncio.sleep(RETRY_S)

    async def _round(self, consumer: AIOKafkaConsumer) -> None:
        """Hand over what has come by now."""
        if self._pulse.shapes is not self._shapes:
            self._assign(consumer)
        try:
            async with asyncio.timeout(HUNG_S):  # what was fetched by then is fetched again
                if not self._caught_up.is_set():
                    await self._check_caught_up(consumer)
                try:
                    batches = await consumer.getmany(timeout_ms=500)
                except PARSE_FAULTS:
                    batches = await step_over(consumer, self._assigned())
        except OffsetOutOfRangeError as error:
            await self._start_again(consumer, error.args[0])
            return
        for tp, records in batches.items():
            for record in records:
                self._next[tp] = record.offset + 1
                await give(record, self._handle, self._schemas)
        await self._watch(consumer, quiet=not batches)

    # Where to read -------------------------------------------------------------------------------

    def _assign(self, consumer: AIOKafkaConsumer) -> None:
        """Read what there is: aiokafka asks for a missing topic without a pause."""
        self._shapes = self._pulse.shapes
        for topic in {tp.topic for tp in self._next} & self._shapes.keys():
            new = self._shapes[topic].id
            if self._ids.get(topic, new) != new:
                log.warning("a topic was made anew, reading from its beginning", topic=topic)
                ours = [tp for tp in self._next if tp.topic == topic]
                self._next |= dict.fromkeys(ours, 0)
                self._ends |= dict.fromkeys(ours, 0)
                self._on_anew(topic)
            self._ids[topic] = new
        assigned = self._assigned()
        consumer.assign(list(assigned))
        for tp, offset in assigned.items():
            consumer.seek(tp, offset)

    def _assigned(self) -> dict[TopicPartition, int]:
        shapes = self._shapes
        return {
            tp: offset
            for tp, offset in self._next.items()
            if tp.topic in shapes and tp.partition < shapes[tp.topic].partitions
        }

    async def _start_again(
        self, consumer: AIOKafkaConsumer, lost: Mapping[TopicPartition, int]
    ) -> None:
        """These positions are not in the log: it ends before them, or retention has passed them."""
        first, end = await consumer.beginning_offsets(lost), await consumer.end_offsets(lost)
        for tp, position in lost.items():
            log.warning(
                "reading starts again at the beginning",
                topic=tp.topic,
                partition=tp.partition,
                position=position,
                first=first[tp],
                end=end[tp],
            )
        self._next |= first
        self._ends |= first
        # The failed fetch has thrown away records of other partitions too.
        self._assign(consumer)

    async def _check_caught_up(self, consumer: AIOKafkaConsumer) -> None:
        for tp in self._assigned():
            end = self._ends[tp]
            if end and await consumer.position(tp) < end:
                return
        self._caught_up.set()

    # Connection ----------------------------------------------------------------------------------

    async def _watch(self, consumer: AIOKafkaConsumer, *, quiet: bool) -> None:
        """Raise Stuck where a second look, QUIET_S after the first, finds the same records wait."""
        now = asyncio.get_running_loop().time()
        if not quiet:
            self._quiet_since, self._waiting = now, {}
        elif now - self._quiet_since >= QUIET_S and self._pulse.alive:
            before, waiting = self._waiting, await self._behind(consumer)
            if stuck := [tp for tp, position in waiting.items() if before.get(tp) == position]:
                raise Stuck(f"records wait on {stuck[0]} at {waiting[stuck[0]]}")
            self._quiet_since, self._waiting = now, waiting

    async def _behind(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
        """Our position on each partition that has something behind it."""
        try:
            async with asyncio.timeout(QUIET_S):
                ends = await consumer.end_offsets(self._assigned())
                positions = {tp: await consumer.position(tp) for tp in ends}
        except (TimeoutError, KafkaError):
            return {}
        return {tp: at for tp, at in positions.items() if at < ends[tp]}

    async def _reopen(self) -> None:
        consumer = AIOKafkaConsumer(**self._config)
        try:
            await consumer.start()
            self._assign(consumer)
        except BaseException:
            await close(consumer)
            raise
        self._waiting = {}
        self._consumer = consumer

    async def _close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer:
            await close(consumer)


def _told(error: Exception) -> str:
    """What is said of a failure: what to grant, where that is it."""
    if isinstance(error, TopicAuthorizationFailedError):
        return str(not_allowed(on_topic(Operation.READ, str(error.args[0] if error.args else ""))))
    return type(error).__name__


async def give(
    record: ConsumerRecord | Unreadable, handle: Handler, schemas: Schemas | None
) -> None:
    """Hand one record over; whatever is wrong with it or the handler is logged, and no more."""
    if isinstance(record, Unreadable):
        log.warning("a record cannot be read", topic=record.topic, offset=record.offset)
        return
    try:
        if schemas:
            record.value = await schemas.readable(record.value)
        handle(record)
    except Exception:
        log.exception("a record was not handled", topic=record.topic, offset=record.offset)
