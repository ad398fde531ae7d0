"""The outcomes of names that a canary is judged by, read from `results` since its step began."""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka import ConsumerRecord

from modelmora.agents.models.since import Since
from modelmora.kafka.pulse import Pulse
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
        self._since = Since(settings, Topic.RESULTS, pulse, schemas, self._take)
        self._of: dict[str, str] = {}
        self._samplings: dict[str, Sampling] = {}

    async def follow(self, wanted: Mapping[str, tuple[str, int]]) -> None:
        """Have the outcomes of these names by now: of each the id of its canary, and since when.

        All is read anew where there is one more, for its past may not have been looked at. Raises
        KafkaError, KafkaException, Unreachable.
        """
        ids = {name: each for name, (each, _) in wanted.items()}
        if self._since.runs and ids and not ids.items() - self._of.items():
            self._of = ids
            return
        await self.stop()
        if ids:
            self._of = ids
            self._samplings = {name: Sampling(name) for name in ids}
            await self._since.begin(min(since_ms for _, since_ms in wanted.values()))

    def of(self, name: str) -> Sampling | None:
        """What was seen of a name; None before all that there was has been read."""
        return self._samplings.get(name) if self._since.caught_up else None

    async def stop(self) -> None:
        """Read no more, and forget what was read."""
        await self._since.stop()
        self._of, self._samplings = {}, {}

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
