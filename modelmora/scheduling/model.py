"""What a model is to the scheduler: its specification, its states, and the reasons to end it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

ModelKey = tuple[str, str]
"""(name, version)."""

_MIB = 1 << 20
_ESTIMATE_FACTOR = 1.2
_ESTIMATE_BASE = 64 * _MIB


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model as it is to be loaded; `engine` is "module:Class", `path` its folder.

    `max_inputs` is how many inputs' outputs fit one result; None where nobody knows. `files` is
    what tells one state of its files from another, `fault` what is wrong with them.
    """

    name: str
    version: str
    task: str
    engine: str
    path: str
    weight_bytes: int
    needs_cores: bool
    options: Mapping[str, object] = field(default_factory=dict)
    max_inputs: int | None = None
    files: Hashable = None
    unchanged: tuple[tuple[str, int, int, int], ...] = field(default=(), compare=False)
    fault: str | None = None
    default: bool = field(default=True, compare=False)
    """Whether it may answer for its name alone; no reason to load it anew."""

    @property
    def key(self) -> ModelKey:
        """(name, version)."""
        return self.name, self.version

    @property
    def estimated_bytes(self) -> int:
        """Private memory assumed until a child has been measured: weights * 1.2 + 64 MiB."""
        return int(self.weight_bytes * _ESTIMATE_FACTOR) + _ESTIMATE_BASE


class State(StrEnum):
    """Where a model stands; it has a replica (a child process) in all but COLD and FAILED.

    COLD -> LOADING -> READY -> DRAINING -> LEAVING -> COLD; a failed load leads to FAILED, and
    from there to LOADING again: by the first request after the back-off, or, where the model's
    files are broken, once they have changed.
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


class KillReason(StrEnum):
    """Why a child is ended."""

    UNLOAD = "unload"
    ROOM = "room"
    REMOVED = "removed"
    CHANGED = "changed"
    """Its definition or its files are others now."""
    LOAD_FAILED = "load_failed"
    LOAD_TIMEOUT = "load_timeout"
    RUN_TIMEOUT = "run_timeout"
    NOBODY_WAITS = "nobody_waits"
    """All that it ran was cancelled or has expired, and it did not stop by itself."""


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model as metrics, health and `modelmora ps` show it; bytes 0 = nothing in memory.

    `idle_s` is how long it has had nothing to do in memory, None while it has or is not there.
    `reason` is why it cannot be loaded, or could not be when that was last tried; `retry_after_ms`
    how long requests are refused for that, None where only other files or more memory help.
    """

    key: ModelKey
    state: State
    waiting: int
    started: int
    bytes: int
    idle_s: float | None = None
    reason: str | None = None
    retry_after_ms: int | None = None
