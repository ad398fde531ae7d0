"""Which nodes a cluster has, and what each says that it holds, as the topic `registry` tells it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from modelmora.kafka.leases import Leases, NodeLease
from modelmora.kafka.reading.shown import Reader
from modelmora.kafka.topics import Topic
from modelmora.messages import Health, State
from modelmora.records import Registry
from modelmora.settings import Settings
from modelmora.wire import decode_registry


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes that run, those that ended without a word, and the models of the registry."""

    living: tuple[NodeLease, ...]
    lapsed: tuple[NodeLease, ...]
    registered: Mapping[str, str]
    """The task of each model, by name@version."""
    spreads: Mapping[str, int]
    """Over how many partitions the requests of a name lie now, where those are several."""

    @property
    def models(self) -> list[str]:
        """The names of what nodes serve, or, while none runs, of what the registry has."""
        served = [model for node in self.living for model in node.serves]
        found = served if self.living else self.registered
        return sorted({model.partition("@")[0] for model in found})

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each model of each node that runs: where it stands, what it holds, what waits for it."""
        for node in sorted(self.living, key=lambda each: each.node):
            for model, health in sorted(node.models().items()):
                name, _, version = model.partition("@")
                yield {
                    "node": node.node,
                    "name": name,
                    "version": version,
                    "task": node.serves.get(model) or self.registered.get(model),
                    "state": health.state.value,
                    **asdict(node.holds(model)),
                    "reason": health.reason,
                }

    def health(self, model: str) -> dict[str, Health]:
        """How name@version is, by node."""
        found = ((node.node, node.health(model)) for node in self.living)
        return {name: health for name, health in found if health}


def read_registry(reader: Reader, settings: Settings) -> tuple[Leases, Registry]:
    """The topic as it is now. Raises Unreachable, NotFound, Undecodable."""
    places = reader.places(Topic.REGISTRY.full(settings.namespace))
    leases, state = Leases(), Registry()
    for record in reader.read(reader.since(places, None)):
        fact = decode_registry(record.plain) if record.value else None
        if not leases.take(record.key or b"", fact, record.timestamp):
            state.take(record.key or b"", fact, record.offset, record.timestamp)
    return leases, state


def read_nodes(reader: Reader, settings: Settings) -> Nodes:
    """What the registry tells now. Raises Unreachable, NotFound, Undecodable."""
    leases, state = read_registry(reader, settings)
    registered = {f"{each.name}@{each.version}": each.task for each in state.models()}
    now_ms = time.time_ns() // 1_000_000
    spreads = {each.name: state.spread(each.name, now_ms) for each in state.models()}
    several = {name: spread for name, spread in spreads.items() if spread > 1}
    return Nodes(leases.living(), leases.lapsed(), registered, several)


def loaded(node: NodeLease) -> int:
    """How many models are in memory there."""
    return sum(health.state is State.READY for health in node.models().values())
