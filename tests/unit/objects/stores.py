"""Objects on stores for tests, with a clock that is set, and waiting for what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from modelmora.objects import Objects, Store
from modelmora.settings.objects import ObjectSettings
from modelmora.testing.fakes import UNIX_MS


class Clock:
    """Unix ms that move when they are told to."""

    def __init__(self) -> None:
        self.ms = float(UNIX_MS)

    def __call__(self) -> float:
        return self.ms


def objects_on(store: Store, clock: Clock | None = None, **settings: Any) -> Objects:
    """Objects there."""
    return Objects(store, ObjectSettings(**settings), clock or Clock())


async def until(seen: Callable[[], bool]) -> None:
    """Wait until it is seen; fails where it never is."""
    async with asyncio.timeout(30):
        while not seen():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
