"""One call's time, and when it is tried again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from modelmora.client.deadline import Deadline
from modelmora.client.errors import CallError, GatewayUnreachable
from modelmora.client.options import Options

FIRST_S, LONGEST_S = 0.1, 2.0
LEAST_PATIENCE_S = 0.5  # with less, a gateway that is busy for a moment is taken for a silent one


class Budget:
    """How often gateways that refuse may be asked again: one in five calls, after a first hundred.

    So many callers of a cluster that is full do not fill it with repetitions. Going from a gateway
    that does not answer to another costs nothing.
    """

    MOST, EARNED = 100.0, 0.2

    def __init__(self) -> None:
        self._left = self.MOST

    def earn(self) -> None:
        """A call begins."""
        self._left = min(self.MOST, self._left + self.EARNED)

    def spend(self) -> bool:
        """Whether one may be repeated."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Course:
    """One call: its time over all attempts, and what is tried again. `timeout_s` may be inf.

    Raises Invalid for a time that is none.
    """

    def __init__(
        self,
        options: Options,
        timeout_s: float | None,
        budget: Budget,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._deadline = Deadline(options, timeout_s, clock)
        self._options = options
        self._budget = budget
        self._chance = chance
        self._failures = 0
        self.patience_s = min(options.patience_s, max(LEAST_PATIENCE_S, self._deadline.whole_s / 4))
        budget.earn()

    def left_s(self) -> float:
        """Seconds until its end. Raises DeadlineExceeded."""
        return self._deadline.left_s()

    def heard(self) -> None:
        """A gateway has told something: what fails from now on is counted anew."""
        self._failures = 0

    def pause_s(self, error: CallError) -> float | None:
        """Seconds until the next attempt; None where it cannot help, or none is left.

        As the gateway says, else twice as long each time; always a part of that by chance, so that
        those who failed together do not come again together.
        """
        self._failures += 1
        if not error.again or self._failures >= self._options.attempts:
            return None
        if not isinstance(error, GatewayUnreachable) and not self._budget.spend():
            return None
        if error.retry_after_ms:
            pause = error.retry_after_ms / 1000 * (1 + self._chance() / 4)
        else:
            pause = min(LONGEST_S, FIRST_S * 2 ** (self._failures - 1)) * self._chance()
        return pause if self._deadline.allows(pause) else None
