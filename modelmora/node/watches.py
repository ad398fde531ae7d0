"""What a node does over and over beside its requests; where one of that ends, so does the node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)


class Watches:
    """Tasks without an end; `fail` is told where one has ended all the same."""

    def __init__(self, fail: Callable[[str], None]) -> None:
        self._fail = fail
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, **watches: Coroutine[Any, Any, None]) -> None:
        """Run these, by their names."""
        for name, each in watches.items():
            task = asyncio.create_task(each, name=name)
            task.add_done_callback(self._ended)
            self._tasks.append(task)

    async def end(self) -> None:
        """Run them no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            log.error("a watch has ended", watch=task.get_name(), exc_info=error)
            self._fail(f"nobody watches the {task.get_name()} any more")
