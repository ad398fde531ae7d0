"""Many requests of one call: so many under way at once, and which of them failed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import quote

from modelmora.gateway.outcomes import Refusal
from modelmora.text import counted, shorten

T = TypeVar("T")
M = TypeVar("M")
IN_FLIGHT = 16
"""Of one call: what was begun and is not yet taken by its caller."""
FAILED = "modelmora-failed-items"
MOST_TOLD, SHOWN = 50, 64
"""Names in that metadata, and characters of each: all of them fit into what gRPC takes."""


class Failures:
    """The items that failed, each by the name that its caller has for it."""

    def __init__(self) -> None:
        self.first: Refusal | None = None
        self._items: list[tuple[str, Refusal]] = []

    def add(self, name: str, refusal: Refusal) -> None:
        """One more."""
        self.first = self.first or refusal
        self._items.append((name, refusal))

    def told(self) -> tuple[Refusal, tuple[tuple[str, str], ...]]:
        """The refusal that ends the call, the first one's, and the metadata that names all."""
        assert self.first  # noqa: S101  (whoever tells of failures has seen one)
        first, count = self.first, len(self._items)
        refusal = Refusal(
            first.code,
            f"{counted(count, 'item')} failed, the first: {first.message}",
            retry_after_ms=first.retry_after_ms,
            request_id=first.request_id,
        )
        names = (
            f"{shorten(quote(name, safe=''), SHOWN)}={each.code}"
            for name, each in self._items[:MOST_TOLD]
        )
        return refusal, ((FAILED, ",".join(names)),)


async def in_order(
    requests: Iterable[T], answer: Callable[[T], Awaitable[M]], failures: Failures
) -> AsyncGenerator[M]:
    """The answers in the order of their requests; those that fail are noted by their number."""
    coming = enumerate(requests)
    tasks: deque[tuple[int, asyncio.Future[M]]] = deque()

    def begin(most: int) -> None:
        for number, request in islice(coming, most):
            tasks.append((number, asyncio.ensure_future(answer(request))))

    try:
        begin(IN_FLIGHT)
        while tasks:
            number, task = tasks[0]
            try:
                yield await task
            except Refusal as refusal:
                failures.add(str(number), refusal)
            tasks.popleft()
            begin(1)
    finally:
        await _end(task for _, task in tasks)


async def in_parallel(
    requests: AsyncIterator[T],
    answer: Callable[[T], Awaitable[M]],
    name: Callable[[T], str],
    failures: Failures,
) -> AsyncGenerator[M]:
    """The answers as they come. Behind one that fails nothing more is begun.

    No more is read than is under way, so that a caller who does not take its answers is not read.
    """
    running: dict[asyncio.Future[M], str] = {}
    reading: asyncio.Future[T | None] | None = None
    ended = False
    try:
        while True:
            if not (reading or ended or failures.first or len(running) >= IN_FLIGHT):
                reading = asyncio.ensure_future(_next(requests))
            waiting: set[asyncio.Future[Any]] = {*running}
            if reading and not failures.first:
                waiting.add(reading)
            if not waiting:
                return
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if reading and reading.done():
                request, reading = reading.result(), None
                if request is None:
                    ended = True
                else:
                    running[asyncio.ensure_future(answer(request))] = name(request)
            for task in [task for task in running if task.done()]:
                named = running.pop(task)
                try:
                    found = task.result()
                except Refusal as refusal:
                    failures.add(named, refusal)
                else:
                    yield found
    finally:
        await _end([*running, *([reading] if reading else [])])


async def _next(requests: AsyncIterator[T]) -> T | None:
    return await anext(requests, None)


async def _end(tasks: Iterable[asyncio.Future[Any]]) -> None:
    ended = [*tasks]
    for task in ended:
        task.cancel()
    await asyncio.gather(*ended, return_exceptions=True)
