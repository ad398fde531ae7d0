"""The broker's clock as this node knows it: no client's and no node's wall clock decides."""

from __future__ import annotations

import time
from collections.abc import Callable


class BrokerClock:
    """The newest broker timestamp seen, plus the monotonic time since.

    All topics carry LogAppendTime, so every fetched record and every acknowledged write tells the
    broker's time of some moment in the past; the largest difference to our monotonic clock is the
    best estimate. Before the first there is no time, and nothing expires.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._ahead_ms = float("-inf")

    def heard(self, unix_ms: int) -> None:
        """A broker timestamp, Unix milliseconds."""
        ahead = unix_ms - self._monotonic() * 1000
        if ahead > self._ahead_ms:
            self._ahead_ms = ahead

    def now_ms(self) -> float:
        """The broker's time, Unix milliseconds; minus infinity before the first timestamp."""
        return self._ahead_ms + self._monotonic() * 1000

    def monotonic_at(self, unix_ms: float) -> float:
        """When, in monotonic seconds, the broker's clock shows that time."""
        return (unix_ms - self._ahead_ms) / 1000
