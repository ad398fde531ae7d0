"""Whether any node tells that it runs, judged by how long none has been heard."""

from __future__ import annotations

STALL_S = 2.0  # looks come oftener, unless this process stood still


class NodeWatch:
    """All times are the loop's, in seconds.

    The log alone cannot tell that its last node has died, for then nothing comes any more.
    """

    def __init__(self, now: float) -> None:
        self._until = self._looked = now

    def told(self, lease_s: float | None, now: float) -> None:
        """A node has told that it runs, for so long; None: the last one has left."""
        self._until = min(self._until, now) if lease_s is None else now + lease_s

    def look(self, hearing: bool, now: float) -> None:
        """To be called twice a second at least: what could not be heard counts for nothing."""
        passed = now - self._looked
        self._looked = now
        if not hearing or passed > STALL_S:
            self._until += passed

    def absent_s(self, now: float) -> float:
        """How long no node has run; 0 while one does."""
        return max(0.0, now - self._until)
