"""One admitted request (Work), those that may share a group (Batch), those that do (Group)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum, auto

from modelmora.messages import Lane
from modelmora.scheduling.model import ModelKey


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
    shape: Hashable = None
    """Works of one model and an equal shape take about as long; see `expected.shape_of`."""

    attempt: int = 1
    """1 + how often it was started anew because its child died while working on its group."""
    started_at: float | None = None
    load_ms: float = 0.0
    """The part of its waiting that was spent on loading its model."""
    cost: float = 0.0
    """Device ms that it is expected to take; 0 while nobody knows."""

    order: int = 0
    queued_at: float = 0.0
    place: Batch | None = None
    group: int | None = None
    index: int = 0
    cohort: int = 0
    """Of a stepped model: it is started beside works of the same number only."""
    solo_crashes: int = 0
    returns: int = 0


class Batch:
    """Waiting works that may share a group, oldest first; any of them leaves in O(1)."""

    __slots__ = ("bytes", "preset", "works")

    def __init__(self, works: tuple[Work, ...] = (), *, preset: bool = False) -> None:
        self.works: OrderedDict[int, Work] = OrderedDict()
        self.bytes = 0
        self.preset = preset
        for work in works:
            self.add(work)

    def add(self, work: Work) -> None:
        """Put the work last."""
        self.works[work.order] = work
        self.bytes += work.size
        work.place = self

    def remove(self, work: Work) -> None:
        """Take the work out, wherever it stands."""
        del self.works[work.order]
        self.bytes -= work.size
        work.place = None

    def head(self) -> Work:
        """The oldest work; the batch is not empty."""
        return next(iter(self.works.values()))


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
