"""Which node obeys an order to load a model, where several could."""

from __future__ import annotations

from modelmora.kafka.leases import NodeLease
from modelmora.scheduling import ModelKey
from modelmora.wire import partition_of


def is_ours(key: ModelKey, node: str, living: tuple[NodeLease, ...]) -> bool:
    """Whether this node, which serves the model, is to load it; `living` are all that run.

    (1) The node that reads the partition on which requests of the model's name lie as a key,
        where it serves the model.
    (2) Else the first by name of those that serve it.
    """
    name = "@".join(key)
    serving = sorted(
        (each for each in living if name in each.serves or each.node == node),
        key=lambda each: each.node,
    )
    numbers = {number for each in living for number in each.partitions}
    home = partition_of(key[0].encode(), max(numbers) + 1) if numbers else None
    # (1) At home.
    for each in serving:
        if home in each.partitions:
            return each.node == node
    # (2) Anywhere.
    return not serving or serving[0].node == node
