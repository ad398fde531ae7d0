"""The outcomes of names that a canary is judged by, read from `results` since its step began."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import closing

from aiokafka import ConsumerRecord, TopicPartition

from modelmora.kafka.pulse import Pulse
from modelmora.kafka.reading.standing import Standing
from modelmora.kafka.reading.tail import Tail
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.topics import Topic
from modelmora.routing.sampling import Sampling
from modelmora.settings import Settings
from modelmora.wire import SKEW_MS, decode_result_head, time_of

HEAD_BYTES = 512
"""The name of the model stands within so many bytes of an outcome."""


class Outcomes:
    """Reads `results` while there is anything to be judged, and only then."""

    def __init__(self, settings: Settings, pulse: Pulse, schemas: Schemas | None) -> None:
        self._settings = settings
        self._pulse = pulse
        self._schemas = schemas
        self._topic = Topic.RESULTS.full(settings.namespace)
        self._tail: Tail | None = None
        self._read: asyncio.Task[None] | None = None
        self._of: dict[str, str] = {}
        self._partitions = 0
        self._samplings: dict[str, Sampling] = {}

    async def follow(self, wanted: Mapping[str, tuple[str, int]]) -> None:
        """Have the outcomes of these names by now: of each the id of its canary, and since when.

        All is read anew where there is one more, for its past may not have been looked at. Raises
        KafkaError, KafkaException, Unreachable.
        """
        shape = self._pulse.shapes.get(self._topic)
        ids = {name: each for name, (each, _) in wanted.items()}
        grown = shape is not None and shape.partitions != self._partitions
        if self._tail and (not ids or grown or ids.items() - self._of.items()):
            await self.stop()
        self._of = ids
        if ids and shape and self._tail is None:
            since_ms = min(since_ms for _, since_ms in wanted.values())
            await self._begin(shape.partitions, max(since_ms, 0))

    def of(self, name: str) -> Sampling | None:
        """What was seen of a name; None before all that there was has been read."""
        read = self._read is not None and self._read.done() and not self._read.cancelled()
        return self._samplings.get(name) if read else None

    async def stop(self) -> None:
        """Read no more, and forget what was read."""
        tail, self._tail = self._tail, None
        read, self._read = self._read, None
        if read:
            read.cancel()
        if tail:
            await tail.stop()
        self._samplings = {}

    async def _begin(self, partitions: int, since_ms: int) -> None:
        numbers = range(partitions)
        starts = await asyncio.to_thread(self._starts, numbers, since_ms)
        tail = Tail(self._settings, self._pulse, self._take, self._schemas)
        self._samplings = {name: Sampling(name) for name in self._of}
        await tail.start({self._topic: numbers}, "beginning", starts)
        self._tail, self._partitions = tail, partitions
        self._read = asyncio.create_task(tail.caught_up())

    def _starts(self, numbers: range, since_ms: int) -> dict[TopicPartition, int]:
        places = [(self._topic, number) for number in numbers]
        with closing(Standing(self._settings)) as standing:
            ends = standing.bounds(places)
            found = standing.at(dict.fromkeys(places, since_ms))
        return {TopicPartition(*each): found.get(each, ends[each][1]) for each in places}

    def _take(self, record: ConsumerRecord) -> None:
        value = record.value
        head = value[:HEAD_BYTES] if value else b""
        named = [each for each in self._samplings.values() if each.name.encode() in head]
        if not named:
            return  # most are not of these names, and are not looked at further
        result = decode_result_head(value)
        made_ms = time_of(result.request_id)
        if made_ms is None or made_ms > record.timestamp + SKEW_MS:
            made_ms = round(record.timestamp - result.timings.total_ms)
        for each in named:
            each.take(result, made_ms)
