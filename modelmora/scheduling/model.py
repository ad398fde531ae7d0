"""What a model is to the scheduler: its specification, its states, and the reasons to end it."""

from __future__ import annotations

from collections.abc import Mapping
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

    `max_inputs` is how many inputs' outputs fit one result; None where nobody knows.
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

    COLD -> LOADING -> READY -> DRAINING -> LEAVING -> COLD; a failed load leads to FAILED, which
    ends by itself when the back-off has passed.
    """

    COLD = "cold"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    """Finishes the groups it has, gets no more, then leaves."""
    LEAVING = "leaving"
    """Killed; its memory counts until its exit is reported."""
    FAILED = "failed"
    """The last load failed; requests are refused until the back-off has passed."""


class KillReason(StrEnum):
    """Why a child is ended."""

    UNLOAD = "unload"
    ROOM = "room"
    REMOVED = "removed"
    LOAD_FAILED = "load_failed"
    LOAD_TIMEOUT = "load_timeout"
    RUN_TIMEOUT = "run_timeout"


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model as metrics, health and `modelmora ps` show it; bytes 0 = nothing in memory.

    `idle_s` is how long it has had nothing to do in memory, None while it has or is not there.
    """

    key: ModelKey
    state: State
    waiting: int
    started: int
    bytes: int
    idle_s: float | None = None
