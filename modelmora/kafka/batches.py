"""What a member of a group hands over, and to whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import methodcaller
from typing import NamedTuple, Protocol

from confluent_kafka import Message, TopicPartition

from modelmora.kafka.reading.unreadable import Unreadable

Partition = tuple[str, int]
"""(topic, number)."""
Commits = Mapping[Partition, tuple[int, str]]
"""Offset and metadata to commit for each partition."""


def offsets_of(commits: Commits) -> list[TopicPartition]:
    """Commits as librdkafka takes them."""
    return [
        TopicPartition(topic, number, offset, metadata)
        for (topic, number), (offset, metadata) in commits.items()
    ]


@dataclass(slots=True, eq=False)
class Record:
    """A record of a partition of ours; `timestamp` is the broker's, in Unix ms."""

    topic: str
    partition: int
    offset: int
    epoch: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Batch(NamedTuple):
    """What one fetch has brought of one partition, in offset order; never empty."""

    partition: Partition
    epoch: int
    after: int
    """The offset behind the batch before it."""
    records: Sequence[Record | Unreadable]


class Owner(Protocol):
    """Whoever works on the partitions; all of it is called on the loop."""

    def on_assigned(self, epochs: Mapping[Partition, int]) -> None:
        """These are ours now; each is read from when `Member.read` says where."""

    async def on_revoked(self, partitions: set[Partition]) -> Commits:
        """These go to another member. What is returned in time is committed before they do."""

    def on_lost(self, partitions: set[Partition]) -> None:
        """These belong to another member already."""

    def on_batches(self, batches: Sequence[Batch]) -> None:
        """What one fetch has brought; `Member.taken` is to be called once for all of it."""

    def on_stuck(self, partition: Partition, epoch: int, offset: int, reason: str) -> None:
        """There is nothing to read where the partition's reading stands, at this offset."""

    def on_committed(self, commits: Commits, asked_at: float, error: str | None) -> None:
        """The group has confirmed a commit that was asked for at a monotonic time, or not."""

    def on_failed(self, reason: str) -> None:
        """The member has ended for good."""


# confluent-kafka returns headers and leaves an exception set where a name is no UTF-8. A plain call
# that has become hot does not look, and the exception comes up anywhere later; this one looks.
_headers = methodcaller("headers")


def headers_of(message: Message) -> Sequence[tuple[str, bytes | None]] | None:
    """The headers of a message; None where the name of one is no UTF-8."""
    try:
        return _headers(message) or ()
    except (UnicodeDecodeError, SystemError):  # the second is how confluent-kafka says the first
        return None


def record_of(message: Message, topic: str, number: int, epoch: int) -> Record | Unreadable:
    """The record of a message; only its place where that is all that can be handed over."""
    headers = headers_of(message)
    if headers is None:
        return Unreadable(topic, number, message.offset(), epoch)
    return Record(
        topic,
        number,
        message.offset(),
        epoch,
        message.timestamp()[1],
        message.key(),
        message.value(),
        headers,
    )
