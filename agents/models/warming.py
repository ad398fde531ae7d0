"""Models that are loaded before their requests come: by who joins, and when one leaves by the rest.

Requests move with partitions, and the model's process does not. So a node that starts loads what
others have in use before it becomes a member of the group, which only then takes partitions from
them; and a node that leaves goes on serving until those that stay have loaded what it has in use.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Protocol

import structlog

from modelmora.errors import NotFound
from modelmora.kafka.leases import Leases, NodeLease
from modelmora.messages import Health, State
from modelmora.scheduling import ModelKey, ModelStatus

log = structlog.get_logger(__name__)
LOOK_S = 0.05
RECENT_S = 60.0
"""A model that was idle for longer is not in use."""
ANSWER_S = 2.0
"""For so long a node that leaves waits until another says that it loads."""


def in_use(nodes: Iterable[NodeLease]) -> list[str]:
    """What these nodes have in memory and in use, as name@version, the busiest first.

    How busy a model is, is how many of its requests run or wait there.
    """
    busy: Counter[str] = Counter()
    for node in nodes:
        for model, state in node.states.items():
            held = node.holds(model)
            if state == State.READY and (held.idle_s or 0.0) <= RECENT_S:
                busy[model] += held.waiting + held.running
    return sorted(busy, key=lambda model: (-busy[model], model))


def awaited(mine: Iterable[str], others: Sequence[NodeLease], asked_s: float) -> list[str]:
    """Those of this node's models for which it still waits, so long after it said that it leaves.

    (1) Those that another node loads,
    (2) and at first those that another could load: it may not have heard yet.
    """
    # (1), (2)
    states = {State.LOADING} if asked_s > ANSWER_S else {State.LOADING, State.COLD}
    return [each for each in mine if any(node.states.get(each) in states for node in others)]


class Fleet(Protocol):
    """This node's models; see `modelmora.serving.Service`."""

    def status(self) -> Sequence[ModelStatus]:
        """All models as they stand."""

    def load(self, key: ModelKey, *, ahead: bool = False) -> Health:
        """Load one, `ahead` only where nobody loses by that. Raises NotFound."""


class Warming:
    """Of one node."""

    def __init__(self, node: str, leases: Leases, fleet: Fleet) -> None:
        self._node = node
        self._leases = leases
        self._fleet = fleet
        self._joined = False
        leases.on_left = self._on_left

    async def join(self, most_s: float) -> list[str]:
        """Load what others have in use, and wait for that, `most_s` at most; what was loaded.

        With 0 nothing is loaded ahead, now or when another leaves.
        """
        models = self._warm(self._others()) if most_s else []
        await self._until(lambda: not self._loading().intersection(models), most_s)
        self._joined = most_s > 0
        return models

    async def leave(self, most_s: float) -> None:
        """Wait until others have loaded what is in use here, `most_s` at most.

        They are to have been told that this node leaves. Nothing, where it has not joined.
        """
        if not self._joined:
            return
        self._joined = False
        began = asyncio.get_running_loop().time()
        mine = ["@".join(each.key) for each in self._fleet.status() if is_in_use(each)]

        def is_over() -> bool:
            asked_s = asyncio.get_running_loop().time() - began
            return not awaited(mine, self._others(), asked_s)

        await self._until(is_over, most_s)

    def _on_left(self, lease: NodeLease) -> None:
        """A node that ran has said that it leaves."""
        if self._joined and lease.node != self._node:
            self._warm([lease])

    def _warm(self, nodes: Iterable[NodeLease]) -> list[str]:
        """Load what is in use there and served here; what of it loads now."""
        models = in_use(nodes)
        for model in models:
            name, _, version = model.rpartition("@")
            with suppress(NotFound):
                self._fleet.load((name, version), ahead=True)
        loading = self._loading()
        found = [each for each in models if each in loading]
        if found:
            log.info("models are loaded before their requests come", models=found)
        return found

    def _loading(self) -> set[str]:
        statuses = self._fleet.status()
        return {"@".join(each.key) for each in statuses if each.health.state is State.LOADING}

    def _others(self) -> list[NodeLease]:
        return [each for each in self._leases.living() if each.node != self._node]

    async def _until(self, holds: Callable[[], bool], most_s: float) -> None:
        until = asyncio.get_running_loop().time() + most_s
        while True:
            if holds() or asyncio.get_running_loop().time() >= until:
                return
            await asyncio.sleep(LOOK_S)


def is_in_use(status: ModelStatus) -> bool:
    """Whether a model is in memory, and was asked for not long ago."""
    return status.health.state is State.READY and (status.idle_s or 0.0) <= RECENT_S
