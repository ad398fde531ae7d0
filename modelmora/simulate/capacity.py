"""How many nodes a trace needs: each plays what lies on its partitions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from modelmora.scheduling import Policy
from modelmora.simulate.node import TIMEOUT_MS, Played, Simulation
from modelmora.simulate.report import rank
from modelmora.simulate.trace import Asked, Trace
from modelmora.wire import place_of


@dataclass(frozen=True, slots=True)
class Goal:
    """So large a share of all requests is answered within so many seconds."""

    within_s: float
    share: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What so many nodes with so much memory for models each (bytes) make of a trace.

    Times (s) are from when a request was asked until it was answered, the greatest of so large a
    share of all; None where fewer were answered. `most_held` bytes are those of the node that held
    most; `busiest` is the share of requests that the node with most of them gets. `latest` is the
    model of which most requests are late, with how many.
    """

    nodes: int
    memory: int
    requests: int
    answered: int
    in_time: float
    p50: float | None
    p95: float | None
    p99: float | None
    loads: int
    most_held: int
    busiest: float
    latest: tuple[str, int] | None
    enough: bool

    def as_json(self) -> dict[str, Any]:
        """All of it, under the names that `simulate` uses."""
        model, late = self.latest or (None, 0)
        return {
            "nodes": self.nodes,
            "memory_bytes": self.memory,
            "requests": self.requests,
            "answered": self.answered,
            "in_time_share": self.in_time,
            "p50": self.p50,
            "p95": self.p95,
            "p99": self.p99,
            "loads": self.loads,
            "most_held_bytes": self.most_held,
            "busiest_share": self.busiest,
            "latest_model": model,
            "latest_requests": late,
            "enough": self.enough,
        }


def owner_of(partition: int, partitions: int, nodes: int) -> int:
    """The node that has a partition, by the range assignor: the first ones have one more."""
    each, more = divmod(partitions, nodes)
    whole = more * (each + 1)
    return partition // (each + 1) if partition < whole else more + (partition - whole) // each


def shared(trace: Trace, nodes: int, partitions: int) -> list[Trace]:
    """What each of the nodes reads of a trace, from the first to the last."""
    read: list[list[Asked]] = [[] for _ in range(nodes)]
    for number, asked in enumerate(trace.requests):
        name = asked.model.rpartition("@")[0] or asked.model
        spread = trace.models[asked.model].spread
        place = place_of(name, str(number), spread, partitions)
        read[owner_of(place, partitions, nodes)].append(asked)
    return [Trace(trace.models, each) for each in read]


def plans(
    trace: Trace,
    policy: Policy,
    nodes: Sequence[int],
    goal: Goal,
    partitions: int,
    timeout_ms: int = TIMEOUT_MS,
) -> Iterator[Plan]:
    """What these numbers of nodes make of a trace, up to the first that is enough.

    `policy` is that of each, with its memory.
    """
    here = replace(policy, gpus=())
    for count in nodes:
        parts = shared(trace, count, partitions)
        played = [Simulation(part, here, timeout_ms=timeout_ms).play() for part in parts]
        plan = _plan(parts, played, here.budget_bytes, goal)
        yield plan
        if plan.enough:
            return


def _plan(parts: Sequence[Trace], played: Sequence[Played], memory: int, goal: Goal) -> Plan:
    took = [
        (asked.model, inf if wait is None else wait)
        for part, each in zip(parts, played, strict=True)
        for asked, wait in zip(part.requests, each.took, strict=True)
    ]
    times = sorted(each for _, each in took)
    late = Counter(model for model, each in took if each > goal.within_s)
    in_time = 1 - late.total() / len(took)
    p50, p95, p99 = (_finite(rank(times, share)) for share in (0.5, 0.95, 0.99))
    return Plan(
        len(parts),
        memory,
        len(took),
        sum(each < inf for each in times),
        in_time,
        p50,
        p95,
        p99,
        sum(len(each.loads) for each in played),
        max(each.most_held for each in played),
        max(len(part.requests) for part in parts) / len(took),
        late.most_common(1)[0] if late else None,
        in_time >= goal.share,
    )


def _finite(seconds: float) -> float | None:
    return None if seconds == inf else seconds
