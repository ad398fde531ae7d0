"""One admitted request (Work), and those that were handed to a child together (Group)."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from modelmora.messages import Lane
from modelmora.scheduling.model import ModelKey

if TYPE_CHECKING:
    from modelmora.scheduling.strands import Preset, Strand


@dataclass(slots=True, eq=False)
class Work:
    """One admitted request as the node holds it; times are monotonic seconds, `size` is bytes.

    The caller fills the first part and reads the second; the third belongs to the scheduler.
    """

    request_id: str
    model: ModelKey
    lane: Lane
    batch_key: Hashable
    """Only works with equal keys (version, task, parameters) may share a group."""
    size: int
    arrived: float
    deadline: float | None
    value: bytes
    source: Hashable
    partition: Hashable
    meta: object = None
    keep_alive_s: float | None = None
    """How long its model is to stay behind it with nothing to do; see `life.stays_until`."""
    principal: str = ""
    """Who asks; those who wait in one lane of a model share it, see `turns`. "" is one of them."""
    asks: float = 1.0
    """How much it asks for, in a measure of its model's own: tokens, pixels by steps, bytes."""

    attempt: int = 1
    """1 + how often it was started anew because its child died while working on its group."""
    started_at: float | None = None
    load_ms: float = 0.0
    """The part of its waiting that was spent on loading its model."""
    cost: float = 0.0
    """Time of its child (ms): expected once it is handed over, measured once it is done."""

    order: int = 0
    queued_at: float = 0.0
    place: Strand | Preset | None = None
    group: int | None = None
    index: int = 0
    cohort: int = 0
    """Of a stepped model: it is started beside works of the same number only."""
    solo_crashes: int = 0
    returns: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """Works handed to one child at once; `threads` is how many CPU threads it may use."""

    id: int
    model: ModelKey
    replica: int
    works: tuple[Work, ...]
    threads: int


class Cancelled(Enum):
    """What a cancel found."""

    NOT_FOUND = auto()
    WAITING = auto()
    RUNNING = auto()


@dataclass(frozen=True, slots=True)
class Position:
    """What an admitted request is told: works ahead of it, seconds to wait (None = no measure)."""

    ahead: int
    wait_s: float | None
