"""Where models can be: devices with budgets, what a replica takes of them, what was learned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from modelmora.messages import DeviceKind
from modelmora.messages.device import step
from modelmora.records.measured import Taken, tried


class Need(NamedTuple):
    """Bytes that a replica holds: of RAM, and of the GPU that it is on, if it is on one."""

    ram: int
    gpu: int = 0


@dataclass(frozen=True, slots=True)
class Device:
    """One memory with its budget; `id` is "cpu", or the GPU's UUID, `label` is for people."""

    id: str
    kind: DeviceKind
    budget_bytes: int
    label: str

    def bytes_of(self, need: Need, device: Device) -> int:
        """What a replica with this need on `device` takes of this memory."""
        if self.kind is DeviceKind.CPU:
            return need.ram
        return need.gpu if device.id == self.id else 0


def ram(budget_bytes: int) -> Device:
    """The device that every machine has."""
    return Device("cpu", DeviceKind.CPU, budget_bytes, "cpu")


@dataclass(slots=True)
class Learned:
    """What a model's children were seen to hold on one kind of device.

    `peaks` has the most bytes by the cost of the batch that was running, rounded up to a power of
    two; under 0 what was sampled whatever ran. A batch above `safe_cost` has run out of memory and
    is not tried again, so what it took need not be reserved.
    """

    peaks: dict[int, Need] = field(default_factory=dict)
    safe_cost: int | None = None

    def see(self, held: Need, cost: int = 0) -> None:
        """A child held this while it ran a batch of this cost."""
        cost = step(cost)
        self.peaks[cost] = most_of((held, self.peaks.get(cost, held)))

    def limit(self, safe_cost: int) -> None:
        """A batch above this cost has run out of memory."""
        self.safe_cost = min(safe_cost, self.safe_cost or safe_cost)
        self.peaks = tried(self.peaks, safe_cost)

    @classmethod
    def of(cls, taken: Taken) -> Learned:
        """Go on from what was learned before."""
        return cls({cost: Need(*held) for cost, held in taken.peaks.items()}, taken.safe_cost)

    @property
    def taken(self) -> Taken:
        """What was learned, to be told."""
        return Taken({cost: (*held,) for cost, held in self.peaks.items()}, self.safe_cost)

    def keep_within(self, most: Need) -> None:
        """No device has more than this: batches that took more are not to be tried again.

        Nothing where the model takes more whatever it runs: then it is too large.
        """
        over = [cost for cost, (ram, gpu) in self.peaks.items() if ram > most.ram or gpu > most.gpu]
        if over and min(over) > 1:
            self.limit(min(over) // 2)

    @property
    def need(self) -> Need:
        """The most that was seen, per memory; 0 where nothing was."""
        return most_of((Need(0), *self.peaks.values()))


def most_of(needs: Iterable[Need]) -> Need:
    """The most of each memory."""
    rams, gpus = zip(*needs, strict=True)
    return Need(max(rams), max(gpus))
