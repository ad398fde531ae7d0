"""Where the client's requests lie: it follows the registry, which says which models are spread."""

from __future__ import annotations

import asyncio
import contextlib

from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError

from modelmora.errors import Undecodable
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.reading.tail import Tail
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.topics import LANE_TOPICS, Topic
from modelmora.messages import Lane
from modelmora.records import Registry
from modelmora.settings import Settings
from modelmora.wire import decode_registry

READ_S = 10.0


class Placing:
    """Follows the registry where it may; else all requests lie where their model's name does.

    There they are served all the same, only by fewer nodes.
    """

    def __init__(self, settings: Settings, pulse: Pulse, schemas: Schemas | None) -> None:
        """`pulse` must be asking for the registry and the lanes."""
        self._namespace = settings.namespace
        self._topic = Topic.REGISTRY.full(settings.namespace)
        self._pulse = pulse
        self._state = Registry()
        self._tail = Tail(
            settings, pulse, self._take, schemas, on_anew=lambda _: self._state.anew()
        )

    async def start(self) -> None:
        """Read all there is, if that can be read within `READ_S`, and follow."""
        if self._topic not in self._pulse.shapes:
            return
        with contextlib.suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(READ_S):
                await self._tail.start({self._topic: [0]}, "beginning")
                await self._tail.caught_up()

    async def stop(self) -> None:
        """Follow no more."""
        await self._tail.stop()

    def partition(self, model: str, request_id: str, lane: Lane) -> int | None:
        """On which partition of its lane a request lies; None where its key decides."""
        shape = self._pulse.shapes.get(LANE_TOPICS[lane].full(self._namespace))
        return self._state.place(model, request_id, shape.partitions if shape else 0)

    def _take(self, record: ConsumerRecord) -> None:
        with contextlib.suppress(Undecodable):
            fact = None if record.value is None else decode_registry(record.value)
            self._state.take(record.key or b"", fact, record.offset, record.timestamp)
