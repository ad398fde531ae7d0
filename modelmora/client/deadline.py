"""When a call must have ended, with all its attempts, uploads and downloads."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from modelmora.client.errors import DeadlineExceeded
from modelmora.client.options import Options
from modelmora.errors import Invalid


class Deadline:
    """In `timeout_s` from now, which may be inf; None: as in the options.

    Raises Invalid for a time that is none.
    """

    def __init__(
        self,
        options: Options,
        timeout_s: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.whole_s = options.timeout_s if timeout_s is None else timeout_s
        if not self.whole_s > 0:
            raise Invalid("timeout_s: more than 0 seconds are needed")
        self._clock = clock
        self._end_s = clock() + self.whole_s

    def left_s(self) -> float:
        """Seconds until then. Raises DeadlineExceeded."""
        left = self._end_s - self._clock()
        if left <= 0:
            raise self._over()
        return left

    def allows(self, pause_s: float) -> bool:
        """Whether so long a pause ends before it."""
        return self._clock() + pause_s < self._end_s

    @asynccontextmanager
    async def bounds(self) -> AsyncGenerator[None]:
        """What is done within is ended by then. Raises DeadlineExceeded."""
        left = self.left_s()
        try:
            async with asyncio.timeout(left if left < math.inf else None):
                yield
        except TimeoutError:
            raise self._over() from None

    def _over(self) -> DeadlineExceeded:
        return DeadlineExceeded("expired", f"no answer within {round(self.whole_s, 2):g} s")
