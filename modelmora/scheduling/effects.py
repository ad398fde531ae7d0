"""The only way out of the scheduler: what it asks of the world."""

from __future__ import annotations

from typing import Protocol

from modelmora.errors import RequestError
from modelmora.messages import Health
from modelmora.scheduling.line.work import Group, Work
from modelmora.scheduling.model import KillReason, ModelKey, ModelSpec
from modelmora.scheduling.placement import Placement


class ItemResult(Protocol):
    """What a child says about one item of a group; only the index matters to scheduling."""

    @property
    def index(self) -> int:
        """Place in the group's works, from 0."""


class Chunk(Protocol):
    """What a child tells of one item while it runs; only these matter to scheduling."""

    @property
    def index(self) -> int:
        """Place in the group's works, from 0."""

    @property
    def tells(self) -> bool:
        """False: only that the child lives."""


class Effects(Protocol):
    """Orders to the workers, and outcomes of requests.

    Effects return at once, never raise, and never call the scheduler: what comes of them is
    reported later as an event (`Scheduler.on_...`). An order may name a child that has died a
    moment ago; it is then without effect. Each submitted work gets exactly one `answered` or
    `failed`, unless it was dropped.
    """

    def load(self, replica: int, spec: ModelSpec, place: Placement) -> None:
        """Start a child and load the model there; answered by on_loaded or on_load_failed."""

    def run(self, group: Group) -> None:
        """Hand the group to its replica; answered by on_started, on_results, on_group_done."""

    def threads(self, replica: int, count: int) -> None:
        """Have a child that runs something compute with so many CPU threads from now on."""

    def cancel(self, group: int, index: int) -> None:
        """Tell the child that nobody waits for this item any more."""

    def kill(self, replica: int, reason: KillReason) -> None:
        """End the child now; answered by on_exited when its memory has been given back."""

    def turned(self, model: ModelKey, was: Health, health: Health) -> None:
        """The model stands elsewhere now, or has failed for another reason."""

    def started(self, work: Work) -> None:
        """The child has begun to work on it."""

    def progressed(self, work: Work, chunk: Chunk) -> None:
        """It has more of its output, or has come so many steps further."""

    def answered(self, work: Work, result: ItemResult) -> None:
        """Outcome: what the child said, be it an output or an error of this item."""

    def failed(self, work: Work, error: RequestError) -> None:
        """Outcome: everything else (refused, expired, cancelled, crashed); `error.code` says."""
