"""Requests watched while they run: what is told of them as it comes, then their outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from modelmora.gateway.hall import Ask, Hall
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import InferenceResult, ProgressEvent
from modelmora.web.problems import DoorCode

QUIET_S = 15.0  # proxies cut a connection on which nothing is said for long
MOST_WAITING = 1000
"""Events that wait for a slow reader, of each request; what is beyond is left out as if lost."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of the request at this index; its outcome is the last of it."""

    index: int
    what: ProgressEvent | InferenceResult


async def watch(hall: Hall, asks: Sequence[Ask]) -> AsyncGenerator[Told | None]:
    """Run all of them, until each has its outcome; None after each while of silence.

    Leaving it cancels those that run. Raises the first Refusal, or whatever else one ended with.
    """
    queue: asyncio.Queue[Told | Exception] = asyncio.Queue()
    most = MOST_WAITING * len(asks)

    def hear(index: int, event: ProgressEvent) -> None:
        if queue.qsize() < most:
            queue.put_nowait(Told(index, event))

    async def run(index: int, ask: Ask) -> None:
        try:
            queue.put_nowait(Told(index, await hall.infer(ask, partial(hear, index))))
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            queue.put_nowait(error)

    # No task group: who begins a stream is often not the task that ends it.
    tasks = [asyncio.create_task(run(index, ask)) for index, ask in enumerate(asks)]
    left = len(tasks)
    try:
        while left:
            told = await _next(queue)
            if isinstance(told, Exception):
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


async def _next(queue: asyncio.Queue[Told | Exception]) -> Told | Exception | None:
    try:
        async with asyncio.timeout(QUIET_S):
            return await queue.get()
    except TimeoutError:
        return None


def failed() -> Refusal:
    """What a caller is told of a fault of ours, once it is too late for a status."""
    return Refusal(DoorCode.INTERNAL, "this process failed; its log says why")
