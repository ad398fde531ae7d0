"""Work that goes on until it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)


def background(
    work: Coroutine[Any, Any, None], name: str, *, ends: bool = False
) -> asyncio.Task[None]:
    """Start it as a task; that it ends is logged, unless it is cancelled.

    Where it `ends` once there is nothing to do, only what it raises is.
    """

    def tell(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (task.exception() or not ends):
            log.error("a background task has ended", task=name, exc_info=task.exception())

    task = asyncio.create_task(work, name=name)
    task.add_done_callback(tell)
    return task
