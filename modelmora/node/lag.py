"""How far the group is behind on each topic that it reads, as this node has last seen it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from modelmora.kafka.batches import Partition
from modelmora.node.path import Look


@dataclass(frozen=True, slots=True)
class Lag:
    """Records behind what the group has done, by topic: of our partitions, and of nobody's."""

    own: Mapping[str, int] = field(default_factory=dict)
    unowned: Mapping[str, int] = field(default_factory=dict)


def lag(seen: Look, done: Mapping[Partition, int], topics: frozenset[str]) -> Lag:
    """Of what the broker has said; `done` is the first offset of ours that is not done.

    Each topic is told, if only by 0. Where nothing was committed the first record kept counts.
    """
    found = Counter(dict.fromkeys(topics, 0)), Counter(dict.fromkeys(topics, 0))
    for partition, (first, end) in seen.bounds.items():
        topic, _ = partition
        if partition in done:
            found[0][topic] += max(0, end - max(first, done[partition]))
        elif partition in seen.unowned:
            found[1][topic] += max(0, end - max(first, seen.committed.get(partition, first)))
    return Lag(*found)
