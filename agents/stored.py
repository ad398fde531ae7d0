"""The outcome that an id has already, read from `results`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import NamedTuple

from aiokafka import ConsumerRecord

from modelmora.errors import Code, Undecodable
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.reading.lookback import LookBack
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.topics import Topic
from modelmora.messages import InferenceResult
from modelmora.messages.headers import CONTENT
from modelmora.settings import Settings
from modelmora.wire import decode_result, partition_of

AT_ONCE = 128
"""Ids that are looked for at a time: each may have an outcome of a MiB."""


class Outcome(NamedTuple):
    """An outcome as it lies on `results`."""

    result: InferenceResult
    content: str
    """What was asked, see `wire.content_digest`; "" where that could not be read."""
    written_ms: int


@dataclass(slots=True)
class _Search:
    found: Outcome | None = None
    rank: tuple[int, int, int] = (0, 0, 0)


class Stored:
    """Finds outcomes by id: the highest run holds, and of one run the first record.

    What is looked for at a time is read in one pass.
    """

    def __init__(self, settings: Settings, pulse: Pulse, schemas: Schemas | None = None) -> None:
        self._topic = Topic.RESULTS.full(settings.namespace)
        self._pulse = pulse
        self._back = LookBack(settings, self._topic, self._take, schemas)
        self._searches: dict[bytes, _Search] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def find(self, request_id: str, since_ms: int) -> Outcome | None:
        """The outcome of an id that was written since then (Unix ms). Raises LookBackFailed.

        One search at a time for an id.
        """
        shape = self._pulse.shapes.get(self._topic)
        if shape is None:
            return None
        key = request_id.encode()
        async with self._turns:
            search = self._searches[key] = _Search()
            try:
                place = partition_of(key, shape.partitions)
                await self._back.search(request_id, place, shape.partitions, since_ms)
            finally:
                del self._searches[key]
        return search.found

    async def stop(self) -> None:
        """Find nothing more."""
        await self._back.stop()

    def _take(self, record: ConsumerRecord) -> None:
        search = self._searches.get(record.key)
        if search is None:
            return
        try:
            result = decode_result(record.value)
        except (Undecodable, ValueError):
            return  # not ours
        rank = -result.run, record.timestamp, record.offset
        if result.error and result.error.code is Code.ID_REUSED:
            return  # it says nothing of who had the id first
        if search.found is None or rank < search.rank:
            content = (dict(record.headers).get(CONTENT) or b"").decode(errors="replace")
            search.found, search.rank = Outcome(result, content, record.timestamp), rank
