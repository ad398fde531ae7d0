"""Ending consumers of aiokafka: one may wait for its own tasks, or a broker, for ever."""

from __future__ import annotations

import asyncio

import structlog
from aiokafka import AIOKafkaConsumer

log = structlog.get_logger(__name__)
CLOSE_S = 5.0
_closing: set[asyncio.Task[None]] = set()


async def close(consumer: AIOKafkaConsumer) -> None:
    """Stop it. Raises nothing, and one that does not end in time is left to itself."""
    task = asyncio.create_task(_stop(consumer), name="closing")
    _closing.add(task)
    task.add_done_callback(_closed)
    await asyncio.wait({task}, timeout=CLOSE_S)
    if not task.done():
        log.warning("a reader does not end, it is left to itself")
        task.cancel()


async def _stop(consumer: AIOKafkaConsumer) -> None:
    try:
        await consumer.stop()
    finally:
        # A fetch that fails, or waits before the next, ends `stop` before it comes to this: then
        # connections and the task that asks for metadata would stay for as long as the process.
        await consumer._client.close()  # no public name reaches it


def _closed(task: asyncio.Task[None]) -> None:
    _closing.discard(task)
    if not task.cancelled() and (error := task.exception()):
        log.debug("a reader did not end well", error=repr(error))
