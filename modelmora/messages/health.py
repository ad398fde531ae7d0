"""Where a model stands, in the one vocabulary of nodes, gateways and people."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a model stands on a node.

    COLD -> LOADING -> READY -> DRAINING -> LEAVING -> COLD. A load that fails leads to FAILED, and
    children that die too often to QUARANTINED; from both to LOADING again: by the first request
    after the pause, at once by an order, or, where its files are broken, once they have changed.
    """

    COLD = "cold"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    """Finishes the groups it has, gets no more, then leaves."""
    LEAVING = "leaving"
    """Killed; its memory counts until its exit is reported."""
    FAILED = "failed"
    """It cannot be loaded: its files are broken, memory is too small, or the last load failed."""
    QUARANTINED = "quarantined"
    """Its processes died again and again, and answered nothing in between."""


@dataclass(frozen=True, slots=True)
class Health:
    """A model's state, why it cannot be served, and for how long (ms) requests are refused.

    `reason` is there too while a load is tried again; `retry_after_ms` is None where nothing has
    failed, and where only other files or more memory help.
    """

    state: State
    reason: str | None = None
    retry_after_ms: int | None = None

    @property
    def hopeless(self) -> bool:
        """Whether waiting is in vain."""
        return self.reason is not None and self.retry_after_ms is None
