"""What a simulation says: waits per model and lane, loads beside those of others, memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil
from statistics import fmean
from typing import Any, Self

from modelmora.errors import Code
from modelmora.messages import Lane
from modelmora.scheduling import Policy
from modelmora.simulate.node import TIMEOUT_MS, Played, Simulation
from modelmora.simulate.reference import first_in_first_out, in_turn
from modelmora.simulate.trace import Trace


@dataclass(frozen=True, slots=True)
class Waits:
    """How long requests waited until they were computed (s); None where none was answered."""

    requests: int
    answered: int
    expired: int
    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None

    @classmethod
    def of(cls, waits: Sequence[float | None], codes: Sequence[Code | None]) -> Self:
        """Of requests by their waits, None where there was no answer, and why there was none."""
        told = sorted(wait for wait in waits if wait is not None)
        expired = sum(code is Code.EXPIRED for code in codes)
        if not told:
            return cls(len(waits), 0, expired)
        ranks = (rank(told, share) for share in (0.5, 0.95, 0.99))
        return cls(len(waits), len(told), expired, fmean(told), *ranks)


def rank(told: Sequence[float], share: float) -> float:
    """The nearest rank: the least of them that so large a share does not exceed."""
    return told[ceil(share * len(told)) - 1]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What so much memory for models (bytes) makes of a trace.

    `loads` beside those of one who answers the same requests in turn: first in, first out, and
    with knowledge of the future (Belady).
    """

    memory: int
    waits: Waits
    by_model: Mapping[tuple[str, Lane], Waits]
    """By model and lane."""
    loads: int
    fifo_loads: int
    belady_loads: int
    most_held: int
    mean_held: int
    seconds: float
    played: Played

    def as_json(self) -> dict[str, Any]:
        """All but what happened when."""
        return {
            "memory_bytes": self.memory,
            **asdict(self.waits),
            "loads": self.loads,
            "fifo_loads": self.fifo_loads,
            "belady_loads": self.belady_loads,
            "most_held_bytes": self.most_held,
            "mean_held_bytes": self.mean_held,
            "seconds": self.seconds,
            "models": [
                {"model": model, "lane": lane.label, **asdict(waits)}
                for (model, lane), waits in self.by_model.items()
            ],
        }


def outlook(trace: Trace, policy: Policy, memory: int, timeout_ms: int = TIMEOUT_MS) -> Outlook:
    """Play the trace on a node with so much memory for models (bytes)."""
    here = replace(policy, budget_bytes=memory, gpus=())
    played = Simulation(trace, here, timeout_ms=timeout_ms).play()
    numbers: defaultdict[tuple[str, Lane], list[int]] = defaultdict(list)
    for number, asked in enumerate(trace.requests):
        numbers[asked.model, asked.lane].append(number)
    sizes = {name: cost.bytes or 0 for name, cost in trace.models.items()}
    stream = [asked.model for asked in trace.requests if sizes[asked.model] <= memory]
    return Outlook(
        memory,
        _waits(played, range(len(trace.requests))),
        {key: _waits(played, found) for key, found in sorted(numbers.items())},
        len(played.loads),
        first_in_first_out(stream, sizes, memory),
        in_turn(stream, sizes, memory),
        played.most_held,
        round(played.mean_held),
        played.end,
        played,
    )


def _waits(played: Played, numbers: Sequence[int]) -> Waits:
    return Waits.of(
        [played.waits[number] for number in numbers],
        [played.codes.get(number) for number in numbers],
    )
