"""Requests under a schema id that this node has not met: kept until the registry has been asked."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Set
from typing import Protocol

import structlog

from modelmora.errors import Code, RequestError
from modelmora.kafka.batches import Partition
from modelmora.serving import Record
from modelmora.wire import id_of

log = structlog.get_logger(__name__)
_BREATH = 250  # records between two looks at the rest of the event loop


class Registry(Protocol):
    """Where ids are asked for; see `modelmora.kafka.schema_registry`."""

    async def learn(self, value: bytes) -> RequestError | None:
        """Ask for the id of this value, for a bounded time; why there is no answer."""


class Unresolved:
    """Only these records wait; those behind them go on.

    They are open in the ledger all the while, so no commit passes them and the partition's limits
    bound them. `resolved` gets each with None, or with why the registry has not answered.
    """

    def __init__(
        self, registry: Registry, resolved: Callable[[Record, RequestError | None], None]
    ) -> None:
        self._registry = registry
        self._resolved = resolved
        self._waiting: dict[int, deque[Record]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, record: Record) -> None:
        """Keep a record and see to it that its id is asked for."""
        value = record.value or b""
        schema_id = id_of(value)
        if schema_id in self._waiting:
            self._waiting[schema_id].append(record)
            return
        self._waiting[schema_id] = deque([record])
        task = asyncio.create_task(self._resolve(schema_id, value), name="schema-id")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def drop(self, partitions: Set[Partition]) -> list[Record]:
        """Forget the records of these partitions; returns them."""
        dropped: list[Record] = []
        for schema_id, records in self._waiting.items():
            ours = deque[Record]()
            for record in records:
                gone = (record.topic, record.partition) in partitions
                (dropped if gone else ours).append(record)
            self._waiting[schema_id] = ours
        return dropped

    async def _resolve(self, schema_id: int, value: bytes) -> None:
        while self._waiting[schema_id]:
            error = await self._learn(value)
            # What is added from here on is asked for anew; what is dropped is not here any more.
            for number in range(1, len(self._waiting[schema_id]) + 1):
                if self._waiting[schema_id]:
                    self._give(self._waiting[schema_id].popleft(), error)
                if number % _BREATH == 0:
                    await asyncio.sleep(0)
        del self._waiting[schema_id]

    def _give(self, record: Record, error: RequestError | None) -> None:
        try:
            self._resolved(record, error)
        except Exception:
            log.exception("a request was not taken", topic=record.topic, offset=record.offset)

    async def _learn(self, value: bytes) -> RequestError | None:
        try:
            return await self._registry.learn(value)
        except Exception:
            log.exception("a schema id was not resolved", id=id_of(value))
            message = "the node failed to resolve the schema id; its log says why"
            return RequestError(Code.INFERENCE_FAILED, message)
