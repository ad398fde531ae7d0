"""What a work is expected to take of its model's child, learned from those that ran."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from modelmora.scheduling.means import ewma
from modelmora.scheduling.work import Work

_MOST_MEANS = 2
"""What is charged ahead, in mean runs: who asks for more than it uses waits for no more than that,
and what was used beyond is charged once it is measured."""
_UNMEASURED_MS = 1.0


class Prices:
    """Milliseconds of one model's child, by what is asked."""

    __slots__ = ("_asked", "_took_ms", "most", "per_ask")

    def __init__(self) -> None:
        self._asked: float | None = None
        self._took_ms: float | None = None
        self.per_ask = inf
        self.most = _UNMEASURED_MS

    def expect(self, works: Sequence[Work]) -> float:
        """Set what each is expected to cost, all alike before any was measured; their sum."""
        per_ask, most, total = self.per_ask, self.most, 0.0
        for work in works:
            cost = work.asks * per_ask
            work.cost = cost = min(most, cost)
            total += cost
        return total

    def learn(self, works: Sequence[Work], run_ms: float) -> None:
        """A group of these works took so long.

        What is asked and what it takes have a mean each, so that one who asks for next to nothing
        does not make dear what others ask.
        """
        self._asked = ewma(self._asked, sum([work.asks for work in works]) / len(works))
        self._took_ms = ewma(self._took_ms, run_ms / len(works))
        self.per_ask = self._took_ms / self._asked if self._asked else inf
        self.most = _MOST_MEANS * self._took_ms
