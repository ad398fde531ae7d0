"""Pure packing of texts into padded-token batches, and the learning of their best size.

A batch costs its longest text times its number of texts. Batches in arrival order pad every text
to the longest; sorting by length inside a group and limiting the padded tokens wastes least.
"""

from __future__ import annotations

from collections.abc import Sequence

BUDGETS = (512, 1024, 2048, 4096)
START = 1024

# A batch says something about its budget only if it came near to filling it.
_FULL = 0.6
_SAMPLES = 6
_MARGIN = 1.05
_REST = 512


def pack(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices of texts in batches of at most `budget` padded tokens, the shortest texts first.

    A text longer than the budget is a batch of its own. Equal lengths keep their order.
    """
    batches: list[list[int]] = []
    current: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        # Ascending, so this text is the longest of the batch it joins.
        if current and (len(current) + 1) * lengths[index] > budget:
            batches.append(current)
            current = []
        current.append(index)
    if current:
        batches.append(current)
    return batches


class Budget:
    """Learns the padded-token budget of one model on one device by hill climbing.

    `current` is the budget to use now. Of the full batches observed, tokens per second (padding
    not counted) are averaged at the best budget known, then at a neighbour; the neighbour is kept
    if it is 5 % faster. It rests for `rest` batches first, and again after a try that failed in
    both directions, so that what trying costs stays small and a change of the machine is noticed.
    """

    def __init__(
        self, start: int = START, choices: Sequence[int] = BUDGETS, rest: int = _REST
    ) -> None:
        self._choices = sorted({*choices, start})
        self._best = self._trying = self._choices.index(start)
        self._rate = 0.0
        self._failed = 0
        self._rest = self._pause = rest
        self._tokens = self._seconds = 0.0
        self._samples = 0
        self._direction = 1

    @property
    def current(self) -> int:
        """Padded tokens per batch."""
        return self._choices[self._trying]

    @property
    def best(self) -> int:
        """The best budget found so far."""
        return self._choices[self._best]

    def observe(self, tokens: int, padded: int, seconds: float) -> None:
        """Learn from one batch: its real tokens, its padded tokens and how long it took."""
        if self._rest:
            self._rest -= 1
            return
        if seconds <= 0 or not _FULL * self.current <= padded <= self.current:
            return
        self._tokens += tokens
        self._seconds += seconds
        self._samples += 1
        if self._samples == _SAMPLES:
            self._judge(self._tokens / self._seconds)
            self._tokens = self._seconds = 0.0
            self._samples = 0

    def _judge(self, rate: float) -> None:
        if self._trying == self._best:
            self._rate = rate
        elif rate > self._rate * _MARGIN:
            self._best, self._rate, self._failed = self._trying, rate, 0
        else:
            self._failed += 1
            self._direction = -self._direction
            self._trying = self._best
        self._step()

    def _step(self) -> None:
        """Try the next neighbour, or rest at the best when both have been tried."""
        for _ in range(2):
            neighbour = self._best + self._direction
            if self._failed < 2 and 0 <= neighbour < len(self._choices):
                self._trying = neighbour
                return
            self._failed += 1
            self._direction = -self._direction
        self._trying, self._failed, self._rest = self._best, 0, self._pause
