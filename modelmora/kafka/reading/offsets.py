"""Where a group without members is to read on: set by a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from modelmora.errors import Conflict, NotFound
from modelmora.kafka.acls import Operation
from modelmora.kafka.admin import WAIT_S, explain
from modelmora.kafka.batches import Partition
from modelmora.kafka.connection import bootstrap_servers, confluent_config
from modelmora.kafka.denied import is_denial, not_allowed, on_group, on_topic
from modelmora.kafka.reading.standing import Standing
from modelmora.kafka.topics import read_topics
from modelmora.settings import Settings
from modelmora.text import counted

EARLIEST, LATEST = "earliest", "latest"


def plan(
    settings: Settings, group: str, to: str | int, topic: str | None = None
) -> dict[Partition, int]:
    """The offset of each partition of the group, or of those of one topic.

    `to` is `earliest`, `latest` or an offset, which is brought into the log; `at:` and Unix ms is
    the first record from then on. Of the nodes' group all that nodes read belongs to it.
    Raises NotFound, Conflict while it has members, Unreachable, WrongCredentials.
    """
    try:
        with closing(Standing(settings, group)) as standing:
            refuse_members(standing, group)
            known = set(standing.committed_anywhere())
            topics = set(read_topics(settings)) if group == settings.group else set[str]()
            known |= {each for name in topics for each in standing.partitions(name)}
            there = {
                each for name in {name for name, _ in known} for each in standing.partitions(name)
            }
            meant = {each for each in known & there if topic in (None, each[0])}
            if not meant:
                raise NotFound(f"{group} reads no {topic or 'topic'}; see `modelmora groups list`")
            return _offsets(standing, meant, to)
    except KafkaException as error:
        raise explain(error, bootstrap_servers(settings)) from None


def _offsets(standing: Standing, meant: Iterable[Partition], to: str | int) -> dict[Partition, int]:
    bounds = standing.bounds(meant)
    if to == EARLIEST:
        return {each: first for each, (first, _) in bounds.items()}
    if to == LATEST:
        return {each: end for each, (_, end) in bounds.items()}
    if isinstance(to, int):
        return {each: min(max(to, first), end) for each, (first, end) in bounds.items()}
    found = standing.at(dict.fromkeys(bounds, int(to.removeprefix("at:"))))
    return {each: found.get(each, end) for each, (_, end) in bounds.items()}


def refuse_members(standing: Standing, group: str) -> None:
    """Raises Conflict while somebody reads: who does would commit over it."""
    if members := standing.members(group, Operation.READ).members:
        names = ", ".join(sorted({each.client_id for each in members})[:3])
        raise Conflict(f"{group} has {counted(len(members), 'member')} ({names}); stop them first")


def reset(settings: Settings, group: str, offsets: Mapping[Partition, int]) -> None:
    """Have the group read on from there.

    Raises Conflict where somebody has joined meanwhile, NotAllowed.
    """
    client = AdminClient(confluent_config(settings))
    places = [TopicPartition(*each, offset) for each, offset in offsets.items()]
    asked = client.alter_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group, places)], request_timeout=WAIT_S
    )
    try:
        found = asked[group].result(WAIT_S)
    except KafkaException as error:
        if is_denial(error):
            raise not_allowed(on_group(Operation.READ, group)) from None
        raise Conflict(f"{group} was not reset: {error.args[0].str()}") from None
    for each in found.topic_partitions:
        if each.error and is_denial(each.error):
            raise not_allowed(on_topic(Operation.READ, each.topic))
        if each.error:
            raise Conflict(f"{group} was not reset everywhere: {each.error.str()}")
