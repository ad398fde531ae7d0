"""What a part that is asked only when it is needed has said last."""

from __future__ import annotations

import time
from collections.abc import Callable

from modelmora.text import duration

FRESH_S = 60.0
"""What was heard longer ago says nothing of now."""


class LastWord:
    """Whether somebody answered the last time; any thread may say and ask."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._now = monotonic
        self._failed: tuple[float, str] | None = None

    def answered(self) -> None:
        """It did, whatever it said."""
        self._failed = None

    def silent(self, why: str) -> None:
        """It did not."""
        self._failed = self._now(), why

    @property
    def fault(self) -> str | None:
        """Why it did not answer, and when; None where it did, or was not asked of late."""
        failed = self._failed
        if failed is None or (ago_s := self._now() - failed[0]) > FRESH_S:
            return None
        return f"{failed[1]} ({duration(1000 * ago_s)} ago)"
