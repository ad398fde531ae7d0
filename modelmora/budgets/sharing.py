"""The topic by which processes that share budgets tell each other what they have used."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

import structlog
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError

from modelmora.access.budgets import Buckets, Spent
from modelmora.errors import Undecodable
from modelmora.kafka.background import background
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.reading.tail import Tail
from modelmora.kafka.requests import nothing
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.publisher import Answer, Record, Written
from modelmora.messages import BudgetRecord
from modelmora.settings import Settings
from modelmora.settings.budgets import Budget
from modelmora.wire import decode_budget, encode_budget

log = structlog.get_logger(__name__)
TELL_S = 1.0
"""What was used is told so soon,"""
SOON_S = 0.02
"""and so soon where somebody waits for that."""
HELLO_S = 3.0
"""Who uses nothing tells so often that it runs,"""
LIVING_S = 10.0
"""and is counted for so long."""
READ_S = 10.0


class Sharing:
    """Tells what was used of these buckets here, and takes from them what others tell.

    Without budgets it does nothing; without the topic this process counts for itself alone.
    """

    def __init__(
        self,
        settings: Settings,
        buckets: Buckets,
        pulse: Pulse,
        send: Callable[[Record], None],
        writer: str,
        schemas: Schemas | None = None,
        budgets: Callable[[], Mapping[str, Budget]] | None = None,
    ) -> None:
        """`budgets` are those that count by now; without it those of the buckets do for good."""
        self._budgets = budgets or (lambda: buckets.budgets)
        self._topic = Topic.BUDGETS.full(settings.namespace)
        self._buckets = buckets
        self._pulse = pulse
        self._send = send
        self._writer = writer
        self._tail = Tail(settings, pulse, self.handle, schemas, on_anew=self._on_anew)
        self._heard: dict[str, float] = {}
        """When each other process was heard of last (monotonic s)."""
        self._beginning = True
        self._spoke_at = -math.inf
        self._hurry = asyncio.Event()
        self._landed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._begun = False

    async def start(self) -> None:
        """Read what is owed by now, then tell and hear. Raises KafkaError.

        Without any budget both begin within a second of the first that counts.
        """
        if self.counts:
            await self._begin()
        self._task = background(self._run(), "budgets")

    @property
    def counts(self) -> bool:
        """Whether there is any budget by now: the buckets follow what is told."""
        told = self._budgets()
        if told is not self._buckets.budgets:
            self._buckets.replace(told, time.monotonic())
        return bool(told)

    @property
    def _shared(self) -> bool:
        """Whether others are told and heard."""
        return not self._beginning

    async def _begin(self) -> None:
        self._begun = True
        if self._topic not in self._pulse.shapes:
            log.error("budgets count in this process alone: there is no topic", topic=self._topic)
            return
        try:
            await self._tail.start({self._topic: [0]}, "beginning")
        except KafkaError:
            self._begun = False
            raise
        try:
            async with asyncio.timeout(READ_S):
                await self._tail.caught_up()
        except TimeoutError:
            log.warning("what is owed of budgets was not read in time", topic=self._topic)
        self._beginning = False

    def leave(self) -> None:
        """Tell what is left to tell, and that this process ends."""
        if self._task is None:
            return
        self._task.cancel()
        self._task = None
        if self._shared:
            self._tell()
            self._send(Record(self._topic, self._writer.encode(), None, nothing))

    async def stop(self) -> None:
        """Hear no more."""
        await self._tail.stop()

    async def told(self, most_s: float) -> None:
        """Wait, not long, until others know what was used here."""
        self._hurry.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                await self._landed.wait()

    def handle(self, record: ConsumerRecord) -> None:
        """Take one record, ours too: what we read others have read, or are about to."""
        now = time.monotonic()
        if record.value is None:
            self._heard.pop((record.key or b"").decode(errors="replace"), None)
            self._count(now)
            return
        try:
            told = decode_budget(record.value)
        except Undecodable as error:
            log.warning("budget record skipped", offset=record.offset, code=error.code)
            return
        if not (math.isfinite(told.spent) and math.isfinite(told.owed)):
            return
        if told.writer == self._writer:
            self._buckets.landed(told.bucket, told.spent)
            self._landed.set()
            self._landed = asyncio.Event()
            return
        age_s = max(0.0, time.time() - record.timestamp / 1000) if self._beginning else 0.0
        if told.bucket and self._beginning:
            self._buckets.found(told.bucket, told.owed, age_s, now)
        elif told.bucket:
            self._buckets.heard(told.bucket, told.spent, now)
        self._heard[told.writer] = now - age_s
        self._count(now)

    def _on_anew(self, _: str) -> None:
        self._buckets.forget_told()

    def _count(self, now: float) -> None:
        for writer in [each for each, at in self._heard.items() if now - at > LIVING_S]:
            del self._heard[writer]
        self._buckets.others = len(self._heard)

    async def _run(self) -> None:
        while True:
            try:
                if self.counts and not self._begun:
                    await self._begin()
            except KafkaError as error:
                log.warning("budgets are not shared yet, trying again", error=repr(error))
            if self._shared:
                self._tell()
            await asyncio.sleep(SOON_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(TELL_S):
                    await self._hurry.wait()
            self._hurry.clear()

    def _tell(self) -> None:
        now = time.monotonic()
        self._count(now)
        told = self._buckets.tell(now)
        for each in told:
            record = BudgetRecord(self._writer, each.bucket, each.spent, each.owed)
            self._write(each.bucket, record, partial(self._answered, each))
        if not told and now - self._spoke_at < HELLO_S:
            return
        self._spoke_at = now
        if not told:
            self._write(self._writer, BudgetRecord(self._writer, "", 0.0, 0.0), nothing)

    def _write(self, key: str, record: BudgetRecord, done: Callable[[Answer], None]) -> None:
        self._send(Record(self._topic, key.encode(), encode_budget(record), done))

    def _answered(self, spent: Spent, answer: Answer) -> None:
        if not isinstance(answer, Written):
            self._buckets.untell(spent.bucket, spent.spent)
