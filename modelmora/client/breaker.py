"""A circuit breaker as a value: closed, open, or half open while one call probes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class State(StrEnum):
    """Whether calls go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Breaker:
    """Opens after `limit` failures in a row; `rest_s` later one call may probe.

    Times are seconds of a monotonic clock.
    """

    limit: int = 3
    rest_s: float = 1.0
    state: State = State.CLOSED
    failures: int = 0
    opened_s: float = 0.0

    def asked(self, now_s: float) -> Breaker | None:
        """The breaker once a call has gone through; None where none may."""
        if self.state is State.CLOSED:
            return self
        if self.state is State.OPEN and now_s - self.opened_s >= self.rest_s:
            return replace(self, state=State.HALF_OPEN)
        return None

    def succeeded(self) -> Breaker:
        """After a call that was answered."""
        return Breaker(self.limit, self.rest_s)

    def failed(self, now_s: float) -> Breaker:
        """After a call that nobody answered; what was under way as it opened adds nothing."""
        if self.state is State.OPEN:
            return self
        failures = self.failures + 1
        if self.state is State.CLOSED and failures < self.limit:
            return replace(self, failures=failures)
        return replace(self, state=State.OPEN, failures=failures, opened_s=now_s)

    def abandoned(self) -> Breaker:
        """After a call whose caller left before it ended: the next may probe at once."""
        return replace(self, state=State.OPEN) if self.state is State.HALF_OPEN else self
