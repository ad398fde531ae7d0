"""One admitted request (Work), and those that were handed to a child together (Group)."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from modelmora.messages import Lane
from modelmora.scheduling.model import ModelKey

if TYPE_CHECKING:
    from modelmora.scheduling.line.strands import Preset, Strand


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
    shape: Hashable = None
    """Works of one model and an equal shape take about as long; see `expected.shape_of`."""
    behind: bool = False
    """Whether nobody waits for it: a copy, which is run behind all else; see `behind`."""

    attempt: int = 1
    """1 + how often it was started anew because its child died while working on its group."""
    started_at: float | None = None
    load_ms: float = 0.0
    """The part of its waiting that was spent on loading its model."""
    cost: float = 0.0
    """Device ms: expected, 0 while nobody knows; measured, once it has run."""

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
    """What a request that waits is told: works ahead of it, and the estimated seconds to its start.

    `wait_s` is None where something on the way was never measured; `loading`: its model is.
    """

    ahead: int
    wait_s: float | None
    loading: bool = False


Meant = Callable[[Work], bool] | None
"""Which works of an id are meant; None: all."""
