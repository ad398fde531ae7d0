"""How far a candidate's answers to copies of requests agree with what callers were answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from aiokafka import ConsumerRecord

from modelmora.agents.models.since import Since
from modelmora.agents.stored import Stored
from modelmora.comparing import agreement
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.reading.lookback import LookBackFailed
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.topics import Topic
from modelmora.messages import InferenceResult, ObjectRef
from modelmora.messages.headers import SHADOW_OF, header_of
from modelmora.records.canaries import Canary
from modelmora.settings import Settings
from modelmora.wire import decode_result, time_of

log = structlog.get_logger(__name__)
AT_ONCE = 20
"""Pairs that are worked out in one look."""
KEPT_MS = 3_600_000
"""For so long `results` are kept, at least."""


@dataclass(slots=True)
class _Pairs:
    """Of one canary: outcomes of the candidate that wait for the other, and what was found."""

    id: str
    baseline: str
    candidate: str
    most: int
    waiting: dict[str, tuple[InferenceResult, int]] = field(default_factory=dict)
    found: dict[str, float | None] = field(default_factory=dict)

    @property
    def values(self) -> list[float]:
        return [each for each in self.found.values() if each is not None]


class Agreements:
    """Reads `compare` while a canary asks for agreement, and finds the other outcome on `results`.

    Pictures and other bytes are passed over: this process opens none that a model has made.
    """

    def __init__(
        self,
        settings: Settings,
        pulse: Pulse,
        schemas: Schemas | None,
        stored: Stored,
    ) -> None:
        """`stored` is nobody else's, and is stopped with this."""
        self._since = Since(settings, Topic.COMPARE, pulse, schemas, self._take)
        self._stored = stored
        self._pairs: dict[str, _Pairs] = {}

    async def follow(self, wanted: Mapping[str, tuple[Canary, int]]) -> None:
        """Have the pairs of these names by now: of each its canary, and since when (Unix ms).

        Raises KafkaError, KafkaException, Unreachable.
        """
        asked = {name: each for name, each in wanted.items() if each[0].plan.agreement is not None}
        before, known = self._pairs, {name: each.id for name, each in self._pairs.items()}
        self._pairs = {name: before[name] for name in before if name in asked}
        news = {n: c for n, (c, _) in asked.items() if known.get(n) != c.id}
        for name, canary in news.items():
            plan = canary.plan
            self._pairs[name] = _Pairs(canary.id, canary.baseline, plan.candidate, plan.samples)
        if news or not asked or not self._since.runs:
            await self._since.stop()
            if asked:
                await self._since.begin(min(since_ms for _, since_ms in asked.values()))
        for each in self._pairs.values():
            await self._settle(each)

    def of(self, name: str) -> list[float]:
        """How far the pairs of a name agree, each from 0 to 1."""
        return self._pairs[name].values if name in self._pairs else []

    async def stop(self) -> None:
        """Read no more, for good."""
        await self._since.stop()
        await self._stored.stop()
        self._pairs = {}

    def _take(self, record: ConsumerRecord) -> None:
        original = header_of(record.headers, SHADOW_OF)
        if not (original and record.value and self._pairs):
            return
        result = decode_result(record.value)
        pairs, request_id = self._pairs.get(result.model), original.decode(errors="replace")
        if pairs is None or result.version != pairs.candidate or request_id in pairs.found:
            return
        if len(pairs.values) + len(pairs.waiting) < pairs.most and not _has_bytes(result):
            pairs.waiting[request_id] = result, record.timestamp

    async def _settle(self, pairs: _Pairs) -> None:
        """Find the other outcome of what waits; what was answered by no baseline is no pair."""
        for request_id in [*pairs.waiting][:AT_ONCE]:
            result, at_ms = pairs.waiting[request_id]
            since_ms = time_of(request_id) or at_ms - KEPT_MS
            try:
                other = await self._stored.find(request_id, min(since_ms, at_ms))
            except LookBackFailed as error:
                log.info("an outcome is looked for again", why=str(error))
                return
            del pairs.waiting[request_id]
            told = other.result if other else None
            is_pair = told is not None and told.version == pairs.baseline
            if told is None or not is_pair or _has_bytes(told):
                pairs.found[request_id] = None
                continue
            # Long texts take their time.
            pairs.found[request_id] = await asyncio.to_thread(agreement, told, result)


def _has_bytes(result: InferenceResult) -> bool:
    return any(isinstance(each, bytes | ObjectRef) for each in result.outputs)
