"""What a model is to the scheduler: its specification, its states, and the reasons to end it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from modelmora.messages import Health, State

__all__ = ["KillReason", "ModelKey", "ModelSpec", "ModelStatus", "State"]

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
    fault: str | None = None
    # What follows is no reason to load it anew.
    default: bool = field(default=True, compare=False)
    """Whether it may answer for its name alone."""
    keep_alive_s: float | None = field(default=None, compare=False)
    """How long it stays with nothing to do; negative: until memory is needed; None: as set."""
    pinned: bool = field(default=False, compare=False)
    """Loaded at all times, and never sent away."""
    preload: bool = field(default=False, compare=False)
    """Loaded as soon as it is known."""
    warm_up: bytes | None = field(default=None, compare=False)
    """A request (Avro) that its child runs before it counts as loaded."""

    @property
    def key(self) -> ModelKey:
        """(name, version)."""
        return self.name, self.version

    @property
    def estimated_bytes(self) -> int:
        """Private memory assumed until a child has been measured: weights * 1.2 + 64 MiB."""
        return int(self.weight_bytes * _ESTIMATE_FACTOR) + _ESTIMATE_BASE


class KillReason(StrEnum):
    """Why a child is ended."""

    UNLOAD = "unload"
    ROOM = "room"
    IDLE = "idle"
    """It had nothing to do for as long as it may be kept."""
    REMOVED = "removed"
    CHANGED = "changed"
    """Its definition or its files are others now."""
    LOAD_FAILED = "load_failed"
    LOAD_TIMEOUT = "load_timeout"
    RUN_TIMEOUT = "run_timeout"
    QUARANTINED = "quarantined"
    NOBODY_WAITS = "nobody_waits"
    """All that it ran was cancelled or has expired, and it did not stop by itself."""


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model as metrics, health and `modelmora ps` show it; bytes 0 = nothing in memory.

    `idle_s` is how long it has had nothing to do in memory, None while it has or is not there;
    `leaves_s` in how long it leaves for that, None where it does not.
    """

    key: ModelKey
    health: Health
    waiting: int
    started: int
    bytes: int
    idle_s: float | None = None
    leaves_s: float | None = None
    pinned: bool = False
