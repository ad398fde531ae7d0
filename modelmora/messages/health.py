"""Where a model stands, in the one vocabulary of nodes, gateways and people."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
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


@dataclass(frozen=True, slots=True)
class Holding:
    """What a model holds on a node, and what waits for it there.

    `idle_s` is how long it has had nothing to do in memory, `leaves_s` in how long it leaves for
    that; None where it does not.
    """

    device: str | None = None
    pid: int | None = None
    memory_bytes: int = 0
    gpu_bytes: int = 0
    waiting: int = 0
    running: int = 0
    idle_s: float | None = None
    leaves_s: float | None = None
    pinned: bool = False

    @property
    def text(self) -> str:
        """As it travels: a JSON object of what is not as in a model that is not there."""
        told = {
            name: round(value, 1) if isinstance(value, float) else value
            for name in _KINDS
            if (value := getattr(self, name)) != getattr(NOTHING, name)
        }
        return json.dumps(told, separators=(",", ":")) if told else ""

    @classmethod
    def read(cls, text: str) -> Holding:
        """What a text tells; what cannot be read of it counts as not told."""
        try:
            told = json.loads(text) if text else {}
        except (ValueError, RecursionError):
            return NOTHING
        if not isinstance(told, dict):
            return NOTHING
        return cls(**{name: value for name, value in told.items() if _fits(name, value)})


NOTHING = Holding()
_KINDS = {each.name: str(each.type) for each in fields(Holding)}


def _fits(name: str, value: object) -> bool:
    """Whether a stranger's value is one of that field."""
    kind = _KINDS.get(name, "").partition(" ")[0]
    if kind in ("int", "float"):
        number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
        return number and value < 1 << 60 and (kind == "float" or isinstance(value, int))  # type: ignore[operator]
    return type(value).__name__ == kind
