"""Parts that are stopped at once, and within a time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)
_STOP_S = 12


async def all_within(**parts: Coroutine[Any, Any, None]) -> None:
    """Stop parts at once; one that takes too long, or does not heed its cancellation, is left."""
    tasks = {asyncio.create_task(part, name=name) for name, part in parts.items()}
    done, late = await asyncio.wait(tasks, timeout=_STOP_S)
    for task in late:
        task.cancel()
        log.warning("did not stop in time", part=task.get_name())
    for task in done:
        if not task.cancelled() and (error := task.exception()):
            log.warning("did not stop cleanly", part=task.get_name(), error=repr(error))
