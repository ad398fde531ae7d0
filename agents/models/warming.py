"""Models that are loaded before their requests come: by who joins, and when one leaves by the rest.

Requests move with partitions, and the model's process does not. So a node that starts loads what
others have in use before it becomes a member of the group, which only then takes partitions from
them; and a node that leaves goes on serving until those that stay have loaded what it has in use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from modelmora.errors import NotFound
from modelmora.kafka.leases import Leases, NodeLease
from modelmora.messages import Health, State
from modelmora.scheduling import ModelKey, ModelStatus, Policy

log = structlog.get_logger(__name__)
LOOK_S = 0.05
RECENT_S = 60.0
"""A model that was idle for longer is not in use."""
ANSWER_S = 2.0
"""For so long a node that leaves waits until another says that it loads."""
_THERE = frozenset({State.READY, State.FAILED, State.QUARANTINED})


@dataclass(frozen=True, slots=True)
class Want:
    """A model that others have in use, and what it takes there (bytes)."""

    model: str
    ram: int
    gpu: int
    busy: int
    """How many requests run or wait there."""


def in_use(nodes: Iterable[NodeLease]) -> list[Want]:
    """What these nodes have in memory and in use, the busiest first."""
    found: dict[str, Want] = {}
    for node in nodes:
        for model, state in node.states.items():
            held = node.holds(model)
            if state == State.READY and (held.idle_s or 0.0) <= RECENT_S:
                one = found.get(model, Want(model, 0, 0, 0))
                found[model] = Want(
                    model,
                    max(one.ram, held.memory_bytes),
                    max(one.gpu, held.gpu_bytes),
                    one.busy + held.waiting + held.running,
                )
    return sorted(found.values(), key=lambda want: (-want.busy, want.model))


def that_fit(wants: Iterable[Want], here: Mapping[str, State], ram: int, gpu: int) -> list[Want]:
    """Those that are served here, not in memory, and fit beside each other into what is free."""
    chosen: list[Want] = []
    for want in wants:
        if here.get(want.model) is State.COLD and want.ram <= ram and want.gpu <= gpu:
            ram, gpu = ram - want.ram, gpu - want.gpu
            chosen.append(want)
    return chosen


def awaited(mine: Iterable[str], others: Sequence[NodeLease], asked_s: float) -> list[str]:
    """Those of the models here for which who leaves still waits, `asked_s` after it said so.

    (1) Those that another loads,
    (2) and at first those that another could load: it may not have heard yet.
    """
    # (1), (2)
    states = {State.LOADING} if asked_s > ANSWER_S else {State.LOADING, State.COLD}
    return [each for each in mine if any(node.states.get(each) in states for node in others)]


class Fleet(Protocol):
    """This node's models; see `modelmora.serving.Service`."""

    def status(self) -> Sequence[ModelStatus]:
        """All models as they stand."""

    def load(self, key: ModelKey) -> Health:
        """Load one. Raises NotFound."""


class Warming:
    """Of one node."""

    def __init__(self, node: str, leases: Leases, fleet: Fleet, policy: Policy) -> None:
        self._node = node
        self._leases = leases
        self._fleet = fleet
        self._policy = policy
        self._joined = False
        leases.on_left = self._on_left

    async def join(self, most_s: float) -> list[str]:
        """Load what others have in use, and wait for that, `most_s` at most; what was loaded."""
        self._joined = True
        models = self._warm(in_use(self._others())) if most_s else []
        await self._until(lambda: all(self._here().get(m) in _THERE for m in models), most_s)
        return models

    async def leave(self, most_s: float) -> None:
        """Wait until others have loaded what is in use here, `most_s` at most.

        They are to have been told that this node leaves.
        """
        self._joined = False
        began = asyncio.get_running_loop().time()
        mine = ["@".join(each.key) for each in self._fleet.status() if _is_in_use(each)]

        def is_over() -> bool:
            asked_s = asyncio.get_running_loop().time() - began
            return not awaited(mine, self._others(), asked_s)

        await self._until(is_over, most_s)

    def _on_left(self, lease: NodeLease) -> None:
        """A node that ran has said that it leaves."""
        if self._joined and lease.node != self._node:
            self._warm(in_use([lease]))

    def _warm(self, wants: Iterable[Want]) -> list[str]:
        statuses, policy = self._fleet.status(), self._policy
        ram = policy.budget_bytes - sum(each.bytes for each in statuses)
        gpu = sum(each.budget_bytes for each in policy.gpus)
        gpu -= sum(one.gpu_bytes for each in statuses for one in each.replicas)
        chosen = [want.model for want in that_fit(wants, self._here(), ram, gpu)]
        for model in chosen:
            name, _, version = model.rpartition("@")
            try:
                self._fleet.load((name, version))
            except NotFound:
                continue
        if chosen:
            log.info("models are loaded before their requests come", models=chosen)
        return chosen

    def _here(self) -> dict[str, State]:
        return {"@".join(each.key): each.health.state for each in self._fleet.status()}

    def _others(self) -> list[NodeLease]:
        return [each for each in self._leases.living() if each.node != self._node]

    async def _until(self, holds: Callable[[], bool], most_s: float) -> None:
        until = asyncio.get_running_loop().time() + most_s
        while True:
            if holds() or asyncio.get_running_loop().time() >= until:
                return
            await asyncio.sleep(LOOK_S)


def _is_in_use(status: ModelStatus) -> bool:
    return status.health.state is State.READY and (status.idle_s or 0.0) <= RECENT_S
