"""The topic of files and batches, read from its beginning and written to."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from modelmora.gateway.batches.register import Register
from modelmora.gateway.calls.writing import Writer
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.shelf import Shelf
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.reading.tail import Tail
from modelmora.kafka.requests import nothing
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.publisher import Record
from modelmora.messages import BatchRecord
from modelmora.settings import Settings
from modelmora.web.problems import DoorCode
from modelmora.wire import encode_batch

READ_S = 5.0


class Following:
    """Keeps a register by the topic; where there is none, nothing is taken."""

    def __init__(
        self,
        settings: Settings,
        pulse: Pulse,
        writer: Writer,
        shelf: Shelf,
        schemas: Schemas | None = None,
    ) -> None:
        self._topic = Topic.BATCHES.full(settings.namespace)
        self._pulse = pulse
        self._writer = writer
        self.register = Register(shelf, self._write, self._catch_up)
        self._tail = Tail(settings, pulse, self.register.on_record, schemas)
        self._begun = False

    async def start(self) -> None:
        """Read it from its beginning, and follow it. Raises KafkaError."""
        if self._topic in self._pulse.shapes:
            await self._tail.start({self._topic: [0]}, "beginning")
            self._begun = True

    def fault(self) -> str | None:
        """Why files and batches are not followed, None while they are."""
        return self._tail.fault if self._begun else f"there is no topic {self._topic}"

    async def stop(self) -> None:
        """Read no more."""
        await self._tail.stop()

    async def _write(self, record: BatchRecord) -> None:
        if not self._begun:
            message = f"there is no topic {self._topic}; make it, and start the gateway anew"
            raise Refusal(DoorCode.BROKER_UNREACHABLE, message)
        value = encode_batch(record)
        await self._writer.write(Record(self._topic, record.id.encode(), value, nothing))

    async def _catch_up(self) -> None:
        if self._begun:
            with suppress(TimeoutError):
                async with asyncio.timeout(READ_S):
                    await self._tail.read_all(self._topic)
