"""Notices a consumer that fetches nothing although there is something to fetch.

Consumers of this kind have been seen to rejoin their group and then sit idle for ever; only a new
process helps, so the node ends itself and is started anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelmora.agents.ledger import Partition

EXIT_CODE = 70


@dataclass(slots=True)
class Watchdog:
    """Pure: is told what lies on the partitions, and says which one is stuck.

    A partition is stuck when records have been waiting on it for `limit_s` and the next offset to
    read has not moved, although it is not gated.
    """

    limit_s: float
    _since: dict[Partition, tuple[int, float]] = field(default_factory=dict)

    def stuck(
        self,
        readable: Mapping[Partition, tuple[int, int]],
        positions: Mapping[Partition, int],
        gated: set[Partition],
        now: float,
    ) -> Partition | None:
        """The first stuck partition, if any.

        `readable` is first and end offset of what lies on each partition, `positions` where the
        consumer stands; `now` in monotonic seconds.
        """
        waiting: dict[Partition, tuple[int, float]] = {}
        for partition, (first, end) in readable.items():
            position = max(positions[partition], first)
            if partition in gated or position >= end:
                continue
            before = self._since.get(partition)
            waiting[partition] = before if before and before[0] == position else (position, now)
        self._since = waiting
        return next((p for p, (_, since) in waiting.items() if now - since >= self.limit_s), None)
