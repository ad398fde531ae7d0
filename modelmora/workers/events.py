"""What the supervisor is given and what it reports, as values and Protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from modelmora.errors import Code
from modelmora.messages import DeviceKind
from modelmora.workers.batches import Batches
from modelmora.workers.chunks import Chunk, Told
from modelmora.workers.protocol import ItemResult


class SpecLike(Protocol):
    """The model to load; `engine` is `module:Class`, `path` its folder ("" for test engines)."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def version(self) -> str:
        """Its version."""

    @property
    def task(self) -> str:
        """Its task."""

    @property
    def engine(self) -> str:
        """Its engine, `module:Class`."""

    @property
    def path(self) -> str:
        """Its folder."""

    @property
    def adapter(self) -> str | None:
        """Where the adapter lies that is put on it; None: it has none."""

    @property
    def warm_up(self) -> bytes | None:
        """A request (Avro) that the child runs before it counts as loaded; None: nothing."""

    @property
    def options(self) -> Mapping[str, object]:
        """Options of the engine."""

    @property
    def unchanged(self) -> Sequence[tuple[str, int, int, int]]:
        """Files that must be as they were checked: path, inode, ctime in ns, size of each."""

    @property
    def runtime(self) -> str | None:
        """Which other Python environment its child runs in; None = the node's."""


class DeviceLike(Protocol):
    """What a child computes on; `id` is "cpu", or the UUID of the one GPU that it sees."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def kind(self) -> DeviceKind:
        """Its kind."""


class PlaceLike(Protocol):
    """Where a child loads its model, and what is known of the model there."""

    @property
    def device(self) -> DeviceLike:
        """Its device."""

    @property
    def safe_cost(self) -> int | None:
        """The largest batch to try there, None where no batch has run out of memory."""


class MetaLike(Protocol):
    """What travels beside a request; `parameters` are equal in all works of a group."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Parameters of the request."""

    @property
    def principal(self) -> str:
        """Who sent it."""

    @property
    def traceparent(self) -> str | None:
        """W3C trace context, if any."""

    @property
    def told(self) -> Told:
        """What it has told in children that died."""


class WorkLike(Protocol):
    """One request; `value` is the original record value, `meta` is a MetaLike."""

    @property
    def request_id(self) -> str:
        """The id given by the caller."""

    @property
    def value(self) -> bytes:
        """The original record value."""

    @property
    def meta(self) -> Any:
        """A MetaLike."""


class GroupLike(Protocol):
    """Requests that run together on one replica; `id` is unique among the groups of a node."""

    @property
    def id(self) -> int:
        """Number of the group."""

    @property
    def replica(self) -> int:
        """The replica it is for."""

    @property
    def threads(self) -> int:
        """CPU threads to compute with."""

    @property
    def works(self) -> Sequence[WorkLike]:
        """The requests, in the order of their indices."""


_NOISE_BYTES = 64 << 20
"""What node and zygote may give back meanwhile; beyond that another process has ended too."""


class ExitReason(StrEnum):
    """Why a child is gone."""

    KILLED = "killed"  # by kill() or stop()
    CRASHED = "crashed"  # it ended by itself, whatever its exit code
    LIED = "lied"  # it broke the frame protocol and was killed
    LOAD_FAILED = "load_failed"  # it reported so and ended
    NOT_STARTED = "not_started"  # there never was a process


@dataclass(frozen=True, slots=True)
class ExitReport:
    """The end of one child. Bytes; 0 where nothing was measured.

    `private_bytes` is the child's private memory just before the kill (the last sample, if it
    crashed). `tree_before` and `tree_after` are the summed Pss of node, zygote and all children
    around a kill: their difference is what came back, where `alone` says that no other child took
    or gave memory meanwhile; not measured where that is known before. `gpu_bytes` is what it held
    of its GPU, `gpu_kept` what the driver still had not given back when nobody waited any longer.
    `exit_code` is negative for a signal.
    """

    reason: ExitReason
    detail: str
    exit_code: int | None
    private_bytes: int = 0
    tree_before: int = 0
    tree_after: int = 0
    alone: bool = True
    gpu_bytes: int = 0
    gpu_kept: int = 0

    @property
    def returned_share(self) -> float | None:
        """Of the child's private memory, the share (0 to 1) seen to be back.

        None where it was not measured, or what others did meanwhile shows in it.
        """
        if not (self.alone and self.private_bytes and self.tree_before):
            return None
        returned = self.tree_before - self.tree_after
        if not 0 <= returned <= self.private_bytes + _NOISE_BYTES:
            return None
        return min(1.0, returned / self.private_bytes)


@dataclass(frozen=True, slots=True)
class Held:
    """The most that a child was seen to hold, bytes; 0 where nothing was measured.

    `cost` is that of the largest batch it has begun; None where this says nothing of what its model
    takes. `safe_cost` is the largest it will try, since one above it ran out of memory; None where
    none has.
    """

    private_bytes: int = 0
    gpu_bytes: int = 0
    cost: int | None = 0
    safe_cost: int | None = None


class WorkerEvents(Protocol):
    """The supervisor's reports, called on the loop's thread.

    Each load() is followed by at most one of on_loaded and on_load_failed, and by exactly one
    on_exited, its last event. Each index of a group is answered at most once: exactly once
    before on_group_done (a cancelled one by the code `cancelled`, unless it was computed).
    """

    def on_loaded(self, replica: int, info: Mapping[str, object], load_ms: float) -> None:
        """The model is ready; `info` holds `private_bytes` and what the engine tells."""

    def on_load_failed(self, replica: int, code: Code, message: str) -> None:
        """The model cannot be loaded; the child ends by itself."""

    def on_started(self, replica: int, group: int) -> None:
        """The child begins with a group."""

    def on_results(self, replica: int, group: int, results: Sequence[ItemResult]) -> None:
        """Some requests of a group are answered."""

    def on_chunk(self, replica: int, group: int, chunk: Chunk) -> None:
        """A request that is not answered yet tells something, if only that its child lives."""

    def on_batches(self, replica: int, batches: Batches) -> None:
        """What the batches of a group were like that is about to be done."""

    def on_group_done(self, replica: int, group: int, run_ms: float) -> None:
        """All requests of a group are answered; it took `run_ms` in the child."""

    def on_exited(self, replica: int, report: ExitReport) -> None:
        """The child is gone."""

    def on_memory(self, replica: int, held: Held) -> None:
        """What a child held that has worked since the last sample, or has learned something."""
