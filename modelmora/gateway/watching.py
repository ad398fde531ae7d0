"""Requests watched while they run: what is told of them as it comes, then their outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from modelmora.gateway.hall import Ask, Hall
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import InferenceResult, ProgressEvent

QUIET_S = 15.0  # proxies cut a connection on which nothing is said for long


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of the request at this index; its outcome is the last of it."""

    index: int
    what: ProgressEvent | InferenceResult


async def watch(hall: Hall, asks: Sequence[Ask]) -> AsyncGenerator[Told | None]:
    """Run all of them, until each has its outcome; None after each while of silence.

    Leaving it cancels those that run. Raises the first Refusal.
    """
    queue: asyncio.Queue[Told | Refusal] = asyncio.Queue()

    async def run(index: int, ask: Ask) -> None:
        try:
            result = await hall.infer(ask, lambda event: queue.put_nowait(Told(index, event)))
            queue.put_nowait(Told(index, result))
        except Refusal as refusal:
            queue.put_nowait(refusal)

    # No task group: who begins a stream is often not the task that ends it.
    tasks = [asyncio.create_task(run(index, ask)) for index, ask in enumerate(asks)]
    left = len(tasks)
    try:
        while left:
            told = await _next(queue)
            if isinstance(told, Refusal):
                raise told
            left -= told is not None and isinstance(told.what, InferenceResult)
            yield told
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def outcomes(hall: Hall, asks: Sequence[Ask]) -> list[InferenceResult]:
    """The outcomes of all, in their order; where one fails the others are cancelled.

    Raises Refusal.
    """
    found: dict[int, InferenceResult] = {}
    async with aclosing(watch(hall, asks)) as watched:
        async for told in watched:
            if told and isinstance(told.what, InferenceResult):
                found[told.index] = told.what
    return [found[index] for index in range(len(asks))]


async def _next(queue: asyncio.Queue[Told | Refusal]) -> Told | Refusal | None:
    try:
        async with asyncio.timeout(QUIET_S):
            return await queue.get()
    except TimeoutError:
        return None
