"""Whether what is open for reading is fetched, also where nothing lies there to be old."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from modelmora.kafka.batches import Partition

TOLD_MS = 2_000
"""How often librdkafka tells its statistics."""
FETCHED = "active"


class Fetches:
    """Pure: is told librdkafka's statistics, and says since when something is not fetched.

    A partition counts that is open: read, and neither gated nor waiting for its beginning.
    """

    def __init__(self) -> None:
        self.since: float | None = None
        """Since when (monotonic s) the last answer or a partition is missed; None: nothing is open.

        Any thread may read it. It is a moment ago where all is well.
        """
        self._count = -1
        self._answered = 0.0
        self._still: dict[Partition, float] = {}

    def saw(self, told: Mapping[str, Any], opened: Collection[Partition], now: float) -> None:
        """Take in what was told at a moment (monotonic s).

        (1) Each fetch waits for the answer of the one before, so while they go on brokers answer.
            None is owed while what was fetched waits here.
        (2) A partition whose fetcher does not run is in none of them.
        """
        # (1)
        brokers = told.get("brokers", {}).values()
        count = sum(each.get("req", {}).get("Fetch", 0) for each in brokers)
        of = {each: _told_of(told.get("topics", {}), each) for each in opened}
        waits = any(each.get("fetchq_cnt") for each in of.values())
        if count != self._count or waits or not opened:
            self._count, self._answered = count, now
        # (2)
        stopped = (each for each, found in of.items() if found.get("fetch_state") != FETCHED)
        still = {each: self._still.get(each, now) for each in stopped}
        self._still = still
        self.since = min([self._answered, *still.values()]) if opened else None

    def idle_s(self, now: float) -> float:
        """For how long something is not fetched; a moment where all is well."""
        since = self.since
        return 0.0 if since is None else max(0.0, now - since)


def _told_of(topics: Mapping[str, Any], partition: Partition) -> Mapping[str, Any]:
    """What was told of a partition; nothing where that is unknown."""
    topic, number = partition
    found: Mapping[str, Any] = topics.get(topic, {}).get("partitions", {}).get(str(number), {})
    return found
