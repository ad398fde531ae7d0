"""Which nodes run and what each serves, by the leases that they renew on `registry`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from modelmora.messages import Health, Holding, RegistryKind, RegistryRecord, RequestHead, State

_STATES = frozenset(State)
HELD_BACK = "held back"
"""Stands in `holding` where models do, for which it is no name: partitions that a node keeps from
being read for a while, on purpose. Nodes of a release that knows no probes do not tell it."""
FORGOTTEN = 10  # lease times after which nobody remembers a node


@dataclass(frozen=True, slots=True)
class NodeLease:
    """A node's last word: the task of each model that it serves, the lane partitions it reads."""

    node: str
    serves: Mapping[str, str]
    """By name@version."""
    partitions: tuple[int, ...]
    told_ms: int
    lease_ms: int
    failed: Mapping[str, str]
    """Why a model cannot be loaded there, by name@version; it may be tried again."""
    states: Mapping[str, str]
    """Where each model stands there, by name@version."""
    holding: Mapping[str, str] = field(default_factory=dict)
    """What each holds there and what waits for it, as text."""

    def health(self, model: str) -> Health | None:
        """How name@version is there; None where it is neither served nor known as failed."""
        reason = self.failed.get(model)
        if model not in self.serves and reason is None:
            return None
        told = self.states.get(model, State.FAILED if reason else State.COLD)
        return Health(State(told) if told in _STATES else State.COLD, reason)

    def models(self) -> Mapping[str, Health]:
        """How each model is there, by name@version."""
        named = self.serves.keys() | self.failed.keys()
        return {model: health for model in named if (health := self.health(model))}

    def offers(self, other: NodeLease) -> bool:
        """Whether each model is there as another lease tells of it."""
        mine, theirs = ((each.serves, each.failed, each.states) for each in (self, other))
        return mine == theirs

    def holds(self, model: str) -> Holding:
        """What name@version holds there, and what waits for it."""
        return Holding.read(self.holding.get(model, ""))

    @property
    def held_back(self) -> frozenset[tuple[str, int]]:
        """The partitions that it kept from being read since the word before, on purpose."""
        try:
            told = json.loads(self.holding.get(HELD_BACK) or "{}")
            return frozenset((str(each), int(n)) for each, ns in told.items() for n in ns)
        except (AttributeError, RecursionError, TypeError, ValueError):
            return frozenset()

    @property
    def knows_probes(self) -> bool:
        """Whether it answers probes; to another they are requests for a model that is not there."""
        return HELD_BACK in self.holding

    def has(self, head: RequestHead) -> bool:
        """Whether the node serves what the request asks for: a model, or any model of a task."""
        if not head.model:
            return head.task in self.serves.values()
        if "@" in head.model:
            return head.model in self.serves
        return any(model.partition("@")[0] == head.model for model in self.serves)


def held_back_text(partitions: Iterable[tuple[str, int]]) -> str:
    """These partitions as a lease tells them."""
    told: dict[str, list[int]] = {}
    for topic, number in sorted(partitions):
        told.setdefault(topic, []).append(number)
    return json.dumps(told, separators=(",", ":"))


class Leases:
    """The leases as the log has them, in its own time: that of its latest record.

    A lease holds until a record comes that is newer by more than the lease says. So every reader
    judges alike, no clock is compared with another, and a reader that was frozen or cut off, or
    a broker that was, makes nobody dead by its silence.
    """

    def __init__(self) -> None:
        self._leases: dict[bytes, NodeLease] = {}
        self._latest_ms = 0
        self.on_left: Callable[[NodeLease], None] = lambda _: None
        """Told of each node that has run until now and says that it leaves."""

    def take(self, key: bytes, record: RegistryRecord | None, timestamp_ms: int) -> bool:
        """Take a record of the registry, in the log's order; whether it is (or was) a lease."""
        self._latest_ms = timestamp_ms
        known = self._leases.pop(key, None)
        if record is None or record.kind is not RegistryKind.NODE:
            if known and self._age_ms(known) <= known.lease_ms:
                self.on_left(known)
            return known is not None
        if record.present:
            self._leases[key] = NodeLease(
                record.name,
                record.serves,
                record.partitions,
                timestamp_ms,
                record.lease_ms or 0,
                record.failed,
                record.states,
                record.holding,
            )
        return True

    def living(self) -> tuple[NodeLease, ...]:
        """The nodes that run."""
        return tuple(each for each in self._leases.values() if self._age_ms(each) <= each.lease_ms)

    def lapsed(self) -> tuple[NodeLease, ...]:
        """The nodes that ended without saying so, and are not forgotten yet."""
        return tuple(each for each in self._leases.values() if self._age_ms(each) > each.lease_ms)

    def forgotten(self) -> list[bytes]:
        """The keys of leases that lapsed long ago: whoever sees one may remove it."""
        return [
            key
            for key, each in self._leases.items()
            if self._age_ms(each) > FORGOTTEN * each.lease_ms
        ]

    def _age_ms(self, lease: NodeLease) -> int:
        return self._latest_ms - lease.told_ms
