"""How often, and how far apart, a store that does not answer is asked again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator

WAIT_S = (0.1, 5.0)
"""The first and the longest wait."""


async def tries(limit_s: float) -> AsyncIterator[bool]:
    """One try after the other, with longer and longer waits between; True for the last one."""
    end, wait_s = time.monotonic() + limit_s, WAIT_S[0]
    while (now := time.monotonic()) < end:
        yield False
        left_s = max(0.0, end - max(now, time.monotonic()))
        await asyncio.sleep(min(wait_s * random.uniform(0.5, 1), left_s))  # noqa: S311
        wait_s = min(2 * wait_s, WAIT_S[1])
    yield True
