"""What a model is to the scheduler: its specification, its states, and the reasons to end it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from modelmora.messages import DeviceKind, Health, State
from modelmora.scheduling.device import Need

__all__ = ["KillReason", "ModelKey", "ModelSpec", "ModelStatus", "ReplicaStatus", "State"]

ModelKey = tuple[str, str]
"""(name, version)."""

_MIB = 1 << 20
_ESTIMATE_FACTOR = 1.2
_ESTIMATE_BASE = 64 * _MIB
# A CUDA context, the kernels of the libraries, and their work space; and what the same takes of
# RAM beside it. Guesses that no GPU has confirmed, replaced by the first measurement.
_CUDA_BASE = 768 * _MIB
_CUDA_RAM = 1024 * _MIB


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model as it is to be loaded; `engine` is "module:Class", `path` its folder.

    `max_inputs` is how many inputs' outputs fit one result; None where nobody knows. `slots` is
    how many requests a child steps at once; None where it computes groups in batches. `files` is
    what tells one state of its files from another, `fault` what is wrong with them. `devices` are
    the kinds it may be on, the preferred one first; `model_bytes` are its weights and caches,
    `declared` is what its definition says it needs. It has up to `max_replicas` children, and
    `min_replicas` while it has any.
    """

    name: str
    version: str
    task: str
    engine: str
    path: str
    model_bytes: int
    needs_cores: bool
    options: Mapping[str, object] = field(default_factory=dict)
    max_inputs: int | None = None
    slots: int | None = None
    files: Hashable = None
    unchanged: tuple[tuple[str, int, int, int], ...] = field(default=(), compare=False)
    fault: str | None = None
    runtime: str | None = None
    """Which other Python environment its child runs in."""
    devices: tuple[DeviceKind, ...] = (DeviceKind.CPU,)
    declared: Need | None = None
    min_replicas: int = 1
    max_replicas: int = 1
    # What follows is no reason to load it anew.
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

    def estimated(self, kind: DeviceKind) -> Need:
        """What is reserved until a child has been measured on such a device.

        What is declared, 0 being nothing; else `model_bytes` * 1.2, and what their libraries take.
        """
        declared = self.declared or Need(0)
        own = int(self.model_bytes * _ESTIMATE_FACTOR)
        if kind is DeviceKind.CPU:
            return Need(declared.ram or own + _ESTIMATE_BASE)
        return Need(declared.ram or _CUDA_RAM, declared.gpu or own + _CUDA_BASE)


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
    SPARE = "spare"
    """Its model has others, which are enough."""
    NOBODY_WAITS = "nobody_waits"
    """All that it ran was cancelled or has expired, and it did not stop by itself."""


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One child of a model: where it is, what it holds there, how many works it has started."""

    id: int
    state: State
    device: str
    ram_bytes: int
    gpu_bytes: int
    started: int


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model as metrics, health and `modelmora ps` show it.

    `idle_s` is how long it has had nothing to do in memory, None while it has or is not there;
    `leaves_s` in how long it leaves for that, None where it does not.
    """

    key: ModelKey
    health: Health
    waiting: int
    started: int
    replicas: tuple[ReplicaStatus, ...] = ()
    idle_s: float | None = None
    leaves_s: float | None = None
    pinned: bool = False

    @property
    def bytes(self) -> int:
        """RAM that its children hold."""
        return sum(one.ram_bytes for one in self.replicas)
