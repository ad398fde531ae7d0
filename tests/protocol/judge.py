"""Whether what happened was right: invariants I1, I2 and I3 of docs/architecture.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from modelmora.agents.partitions.ledger import read_metadata
from modelmora.agents.partitions.places import unsigned
from modelmora.agents.partitions.suspects import FREE_DEATHS, MOST_TRIES
from modelmora.kafka.batches import Partition
from modelmora.serving.request import place_read
from tests.protocol.broker import LANE, POISON, Broker, Key, Stored

Place = tuple[int, int]
"""Partition and offset of the lane."""


MOST_KILLED = FREE_DEATHS + 2 + MOST_TRIES
"""Those before less is begun at a time, one of a few, and those of the one alone."""


class Violation(Exception):
    """Something happened that must not."""


@dataclass
class Judge:
    """Looks at each outcome and at each commit as the broker takes them."""

    broker: Broker
    ended: set[Key] = field(default_factory=set)
    first: dict[tuple[Key, Place], tuple[str, str]] = field(default_factory=dict)
    repeated: int = 0
    killed: Counter[Place] = field(default_factory=Counter)
    """How many nodes the record of a place has ended."""

    def committed(self, partition: Partition) -> set[int]:
        """The offsets that the group has as done."""
        if partition not in self.broker.commits:
            return set()
        ours, _ = unsigned(*self.broker.commits[partition])
        return {*range(ours.offset), *read_metadata(*ours).finished}

    def has_ended(self, record: Stored) -> bool:
        """Whether it has its outcome, or its dead letter, or lies once more elsewhere."""
        return record.buried or record.handed_on or record.name in self.ended

    def on_outcome(self, stored: Stored, known: Mapping[Partition, set[int]]) -> None:
        """I1 and I3 of an outcome; `known` is what its writer knew as committed."""
        found, name = stored.outcome, stored.name
        assert found
        assert name
        at = place_read(stored.headed) or found.source
        place = at.partition, at.offset
        how = found.status.value, found.error.code.value if found.error else ""
        before = self.first.setdefault((name, place), how)
        if name in self.ended and not self.broker.lanes[LANE, place[0]].was_cut:
            self.repeated += 1
            if before != how:
                raise Violation(f"contradicting: {name} of {place} is {before} and {how}")
            if place[1] in known.get((LANE, place[0]), ()):
                raise Violation(f"repeated: {name} of {place} was committed before it was begun")
        if found.error and "nodes ended" in found.error.message and POISON not in str(name):
            raise Violation(f"blamed: {name} of {place} was set aside and had ended no node")
        if how[1] == "inference_failed":
            raise Violation(f"raised: {name} was not taken, see the node's log")
        self.ended.add(name)

    def on_killed(self, place: Place) -> None:
        """A node has decoded what ends it; where no log was cut, it is found soon."""
        self.killed[place] += 1
        if self.killed[place] > MOST_KILLED and not self.broker.lanes[LANE, place[0]].was_cut:
            raise Violation(f"untamed: {place} has ended {self.killed[place]} nodes")

    def on_commit(self, partition: Partition) -> None:
        """I2 of a commit."""
        log = self.broker.lanes[partition]
        if log.unseen:
            return
        for offset in self.committed(partition):
            if offset < log.end and not self.has_ended(log.records[offset]):
                raise Violation(f"passed: {partition[1]}:{offset} is committed and has no outcome")

    def unanswered(self) -> list[str]:
        """I1: what the broker has and nobody answered."""
        return [
            f"{partition[1]}:{record.offset}"
            for partition, log in self.broker.lanes.items()
            for record in log.records
            if not self.has_ended(record)
        ]
