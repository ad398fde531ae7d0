"""A topic read from a time on, while there is anything to be learned from it."""

from __future__ import annotations

import asyncio
from contextlib import closing

from aiokafka import TopicPartition

from modelmora.kafka.pulse import Pulse
from modelmora.kafka.reading.standing import Standing
from modelmora.kafka.reading.tail import Handler, Tail
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.topics import Topic
from modelmora.settings import Settings


class Since:
    """Hands each record of a topic to `take`, from the time that `follow` is told on."""

    def __init__(
        self,
        settings: Settings,
        topic: Topic,
        pulse: Pulse,
        schemas: Schemas | None,
        take: Handler,
    ) -> None:
        """`pulse` must be asking for the topic."""
        self._settings = settings
        self._topic = topic.full(settings.namespace)
        self._pulse = pulse
        self._schemas = schemas
        self._take = take
        self._tail: Tail | None = None
        self._read: asyncio.Task[None] | None = None
        self._partitions = 0

    @property
    def runs(self) -> bool:
        """Whether the topic is read, with all partitions that it has by now."""
        shape = self._pulse.shapes.get(self._topic)
        grown = shape is not None and shape.partitions != self._partitions
        return self._tail is not None and not grown

    @property
    def caught_up(self) -> bool:
        """Whether all that there was has been handed over."""
        return self._read is not None and self._read.done() and not self._read.cancelled()

    async def begin(self, since_ms: int) -> None:
        """Read from then on (Unix ms); not at all while there is no such topic.

        Raises KafkaError, KafkaException, Unreachable.
        """
        shape = self._pulse.shapes.get(self._topic)
        if shape is None:
            return
        numbers = range(shape.partitions)
        starts = await asyncio.to_thread(self._starts, numbers, max(since_ms, 0))
        tail = Tail(self._settings, self._pulse, self._take, self._schemas)
        await tail.start({self._topic: numbers}, "beginning", starts)
        self._tail, self._partitions = tail, shape.partitions
        self._read = asyncio.create_task(tail.caught_up())

    async def stop(self) -> None:
        """Read no more."""
        tail, self._tail = self._tail, None
        read, self._read = self._read, None
        if read:
            read.cancel()
        if tail:
            await tail.stop()

    def _starts(self, numbers: range, since_ms: int) -> dict[TopicPartition, int]:
        places = [(self._topic, number) for number in numbers]
        with closing(Standing(self._settings)) as standing:
            ends = standing.bounds(places)
            found = standing.at(dict.fromkeys(places, since_ms))
        return {TopicPartition(*each): found.get(each, ends[each][1]) for each in places}
