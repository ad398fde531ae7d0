"""Commits of partitions, also where a dead node has left a transaction open over them."""

from __future__ import annotations

from collections.abc import Set

import structlog
from confluent_kafka import KafkaException

from modelmora.agents.partitions.ledger import read_metadata
from modelmora.kafka.batches import Partition
from modelmora.kafka.reading.standing import Standing

log = structlog.get_logger(__name__)
PATIENCE_S = 1.0


def bearer_of(group: str, node: str) -> str:
    """The transactional id of a node."""
    return f"{group}.{node}"


def committed(standing: Standing, partitions: Set[Partition]) -> dict[Partition, tuple[int, str]]:
    """What the group has committed; an open transaction of a node that is gone is ended first.

    Such a transaction would hold up its partitions, and the readers of its outcomes, until it times
    out. Its bearer is known by the commit before; a member of the group ends its own.
    Raises KafkaException.
    """
    try:
        return standing.committed(partitions, wait_s=PATIENCE_S)
    except KafkaException:
        before = standing.committed(partitions, hasty=True)
    bearers = {read_metadata(*each).bearer for each in before.values()}
    group = standing.group
    living = {bearer_of(group, each.client_id) for each in standing.members(group).members}
    for bearer in sorted(
        each for each in bearers if each and each.startswith(bearer_of(group, ""))
    ):
        if bearer not in living:
            log.warning("a transaction that a node may have left open is ended", bearer=bearer)
            standing.end_transaction(bearer)
    return standing.committed(partitions)
