"""Many pieces of work at once, their results in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def in_order(work: Iterable[Coroutine[Any, Any, T]], window: int) -> AsyncIterator[T]:
    """The results in the order of the work, of which at most `window` is begun and not handed over.

    What the work, or making it, raises comes in its place: all before it is handed over first.
    """
    begun: deque[asyncio.Task[T]] = deque()
    coming = iter(work)
    fault: Exception | None = None
    try:
        while True:
            while fault is None and len(begun) < window:
                try:
                    begun.append(asyncio.ensure_future(next(coming)))
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001 - raised below, in its turn
                    fault = error
            if not begun:
                break
            yield await begun[0]
            begun.popleft()
        if fault:
            raise fault
    finally:
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
