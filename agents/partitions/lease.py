"""For how long nobody else can own what this node owns, whatever has stopped the node meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

MARGIN_S = 1.0


class Lease:
    """Held from each commit that the group confirms: it proves that we were a member then.

    A member is believed dead a session after its last heartbeat, so for one session from the
    moment of asking nobody else gets our partitions. Of that the first half is ours to hand
    outcomes to the producer; the producer gives up what it could not write within the second
    (`write_s`). So a process that was frozen, or cut off, writes nothing after its time.
    """

    def __init__(self, session_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._half_s = session_s / 2
        self._now = monotonic
        self._asked_at = float("-inf")

    def confirmed(self, asked_at: float) -> None:
        """The group has taken a commit that was asked for then (monotonic seconds)."""
        self._asked_at = max(self._asked_at, asked_at)

    def lapse(self) -> None:
        """The group does not know us any more."""
        self._asked_at = float("-inf")

    def holds(self) -> bool:
        """Whether an outcome may be handed over now."""
        return self._now() < self._asked_at + self._half_s

    @property
    def is_due(self) -> bool:
        """Whether it is time to have it confirmed anew."""
        return self._now() >= self._asked_at + self._half_s / 2

    @property
    def write_s(self) -> float:
        """How long the producer may take over an outcome that was handed to it."""
        return max(self._half_s - MARGIN_S, self._half_s / 2)
