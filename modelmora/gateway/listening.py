"""Who waits for what becomes of an order, and the partitions of events that are read for them."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from aiokafka import ConsumerRecord

from modelmora.errors import Undecodable
from modelmora.kafka.orders import HEARD_S, Order
from modelmora.kafka.reading.tail import Handler, Tail
from modelmora.messages import LifecycleEvent
from modelmora.wire import decode_event

EARLY = 1000


class Waiter:
    """One who waits; what is told before the order has its offset is kept, the last EARLY of it."""

    def __init__(self) -> None:
        self._order: Order | None = None
        self._early: deque[LifecycleEvent] = deque(maxlen=EARLY)
        self._told = asyncio.Event()

    def hear(self, event: LifecycleEvent) -> None:
        """Take an event."""
        if self._order is None:
            self._early.append(event)
        else:
            self._order.take(event)
            self._told.set()

    async def follow(self, order: Order, wait_s: float) -> None:
        """Wait until nothing more is to come of the order, for as long as the caller does."""
        self._order = order
        for event in self._early:
            order.take(event)
        began = asyncio.get_running_loop().time()
        while not order.done:
            limit = max(wait_s, HEARD_S) if order.heard else HEARD_S
            try:
                async with asyncio.timeout_at(began + limit):
                    await self._told.wait()
            except TimeoutError:
                return
            self._told.clear()


class Listening:
    """Reads a partition of events, from its end, while anybody waits for what it tells.

    So all who wait share one reader for each partition; `tail` starts it.
    """

    def __init__(self, tail: Callable[[int, Handler], Awaitable[Tail]]) -> None:
        self._tail = tail
        self._tails: dict[int, Tail] = {}
        self._waiters: dict[int, set[Waiter]] = defaultdict(set)
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def to(self, partition: int) -> AsyncIterator[Waiter]:
        """One who hears all that is written there from now on. Raises KafkaError."""
        waiter, waiters = Waiter(), self._waiters[partition]
        waiters.add(waiter)
        try:
            async with self._turn:
                if partition not in self._tails:
                    hear = partial(self._hear, waiters)
                    self._tails[partition] = await self._tail(partition, hear)
            yield waiter
        finally:
            waiters.discard(waiter)
            # Whoever is sent away while leaving leaves all the same.
            await asyncio.shield(asyncio.create_task(self._leave(partition), name="leaving"))

    async def _leave(self, partition: int) -> None:
        async with self._turn:
            if not self._waiters[partition] and (tail := self._tails.pop(partition, None)):
                await tail.stop()

    @staticmethod
    def _hear(waiters: set[Waiter], record: ConsumerRecord) -> None:
        try:
            event = decode_event(record.value)
        except Undecodable:
            return  # the event of somebody else
        for waiter in waiters:
            waiter.hear(event)
