"""Where partitions stand on the broker: what a group has committed, what lies on them, since when.

Blocking: call it from a thread, and only from one at a time. Every question raises KafkaException
or Unreachable where the broker does not answer it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from functools import cached_property
from typing import Any, Self, TypeVar

from aiokafka import TopicPartition as AioTopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError as AioKafkaError
from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType

from modelmora.errors import NotFound, Unreachable
from modelmora.kafka.acls import Grant, Operation
from modelmora.kafka.batches import Partition
from modelmora.kafka.connection import aiokafka_config, confluent_config
from modelmora.kafka.denied import is_denial, not_allowed, on_group, on_topic
from modelmora.kafka.topics import Topic
from modelmora.settings import Settings
from modelmora.text import printable

ANSWER_S = 10.0
LOADING_S = 0.2
LEFT_S = 3_600.0  # as long as librdkafka allows
UNSETTLED = {
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}
"""What a broker says for a moment after a topic was created or its leader has changed."""
LOADING = {KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.NOT_COORDINATOR}
READ_RECORDS = 1000

Found = TypeVar("Found")


class Standing:
    """Asks about a group's partitions without being a member of the group."""

    def __init__(self, settings: Settings, group: str | None = None) -> None:
        """Connects with the first question; the group is that of the nodes unless named.

        Raises NotFound for a name that no group has: it would end the process in the client.
        """
        self._settings = settings
        self.group = group or settings.group
        try:
            self.group.encode()
        except UnicodeEncodeError:
            what = f"there is no group {printable(self.group)}; see `modelmora groups list`"
            raise NotFound(what) from None
        self._unanswered: list[tuple[Future[Any], AdminClient]] = []

    @cached_property
    def _admin(self) -> AdminClient:
        return AdminClient(confluent_config(self._settings))

    @cached_property
    def _consumer(self) -> Consumer:
        return self._made("read_committed")

    @cached_property
    def _hasty(self) -> Consumer:
        return self._made("read_uncommitted")

    def _made(self, isolation: str) -> Consumer:
        return Consumer(
            confluent_config(self._settings)
            | {
                "group.id": self.group,
                "enable.auto.commit": False,
                "isolation.level": isolation,
                "fetch.wait.max.ms": 50,
                "queued.max.messages.kbytes": 16_384,
            }
        )

    def renew(self) -> None:
        """Connect anew with the next question."""
        self.close()
        for client in ("_admin", "_consumer", "_hasty"):
            self.__dict__.pop(client, None)

    def close(self) -> None:
        """Ask no more."""
        for consumer in ("_consumer", "_hasty"):
            if consumer in self.__dict__:
                getattr(self, consumer).close()

    def patiently(self, look: Callable[[Self], Found]) -> Found:
        """What `look` finds; looks anew, for a while, where partitions have no leader yet."""
        until = time.monotonic() + ANSWER_S
        while True:
            try:
                return look(self)
            except KafkaException as error:
                if error.args[0].code() not in UNSETTLED or time.monotonic() > until:
                    raise
            time.sleep(LOADING_S)
            # A client clings to the leaders that it knows.
            self.renew()

    def committed(
        self, partitions: Iterable[Partition], *, wait_s: float = ANSWER_S, hasty: bool = False
    ) -> dict[Partition, tuple[int, str]]:
        """Offset and metadata of what the group has committed.

        Waits for open transactions with commits of these, unless it is `hasty`.
        """
        wanted = [TopicPartition(*each) for each in partitions]
        try:
            consumer = self._hasty if hasty else self._consumer
            found = consumer.committed(wanted, wait_s) if wanted else []
        except UnicodeDecodeError:
            # Its Python part looks for the NUL that it puts behind metadata, and others do not.
            return asyncio.run(_committed(self._settings, self.group, wanted))
        if faults := [each.error for each in found if each.error]:
            raise KafkaException(faults[0])
        return {
            (each.topic, each.partition): (each.offset, each.metadata or "")
            for each in found
            if each.offset >= 0
        }

    def committed_anywhere(self) -> dict[Partition, tuple[int, str]]:
        """All that the group has committed, of whatever topic."""
        return asyncio.run(_committed(self._settings, self.group, None))

    def bounds(
        self, partitions: Iterable[Partition], *, committed: bool = False
    ) -> dict[Partition, tuple[int, int]]:
        """First and end offset of each partition that there is, aborted and open records included.

        With `committed` the end is that of what a reader of committed records gets.
        """
        wanted = list(partitions)
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        first = self._offsets(dict.fromkeys(wanted, OffsetSpec.earliest()), level)
        end = self._offsets(dict.fromkeys(wanted, OffsetSpec.latest()), level)
        if any(offset < 0 for offset in (*first.values(), *end.values())):
            raise Unreachable("a broker did not say where its partitions end")
        return {each: (first[each], end[each]) for each in wanted}

    def at(self, times: Mapping[Partition, int]) -> dict[Partition, int]:
        """The first offset of each partition at or after its time (Unix ms), where there is one."""
        asked = {each: OffsetSpec.for_timestamp(ms) for each, ms in times.items()}
        found = self._offsets(asked, IsolationLevel.READ_UNCOMMITTED)
        return {each: offset for each, offset in found.items() if offset >= 0}

    def _offsets(
        self, asked: Mapping[Partition, OffsetSpec], level: IsolationLevel
    ) -> dict[Partition, int]:
        if not asked:
            return {}
        specs = {TopicPartition(*each): spec for each, spec in asked.items()}
        answers = self._admin.list_offsets(specs, isolation_level=level, request_timeout=ANSWER_S)
        return {
            (each.topic, each.partition): _result(answer, _reading(each.topic)).offset
            for each, answer in answers.items()
        }

    def partitions(self, topic: str) -> list[Partition]:
        """The partitions of a topic, none where there is no such topic."""
        found = self._consumer.list_topics(topic, ANSWER_S).topics[topic]
        if found.error and is_denial(found.error):
            raise not_allowed(_reading(topic))
        return [] if found.error else [(topic, number) for number in found.partitions]

    def logs(self, topics: Iterable[str]) -> dict[str, str]:
        """What tells a topic from another that was made anew under its name (KIP-516)."""
        if not (wanted := [*topics]):
            return {}
        asked = TopicCollection(wanted)
        answers = self._admin.describe_topics(asked, request_timeout=ANSWER_S)
        return {
            topic: str(_result(each, _reading(topic)).topic_id) for topic, each in answers.items()
        }

    def read(self, topic: str, since_ms: int, take: Callable[[Message], None]) -> None:
        """Give every committed record of a topic since a time (Unix ms), up to its present end.

        Unreachable also where the end is not reached.
        """
        partitions = self.partitions(topic)
        began = self.at(dict.fromkeys(partitions, since_ms))
        ends = self.bounds(began, committed=True)
        left = {each: ends[each][1] for each, at in began.items() if at < ends[each][1]}
        if not left:
            return
        self._consumer.assign([TopicPartition(*each, began[each]) for each in left])
        try:
            for message in self._messages(left):
                take(message)
        finally:
            self._consumer.unassign()

    def _messages(self, left: dict[Partition, int]) -> Iterator[Message]:
        """Records up to the ends in `left`, which is used up."""
        heard = time.monotonic()
        while left:
            for message in self._consumer.consume(READ_RECORDS, 0.05):
                if (error := message.error()) is None:
                    heard = time.monotonic()
                    yield message
                elif is_denial(error):
                    raise not_allowed(_reading(message.topic()))
            for each in self._consumer.position([TopicPartition(*each) for each in left]):
                if each.offset >= left[each.topic, each.partition]:
                    del left[each.topic, each.partition]
            if time.monotonic() - heard > ANSWER_S:
                raise Unreachable("the end of a topic is not reached; is a transaction left open?")

    def waiting(self, since: Mapping[Partition, int]) -> set[Partition]:
        """Where a reader of committed records gets one from its offset on; markers are none.

        Unreachable also where neither a record comes nor the end.
        """
        ends = self.bounds(since, committed=True)
        begin = {each: max(offset, ends[each][0]) for each, offset in since.items()}
        left = {each: end for each, (_, end) in ends.items() if begin[each] < end}
        found = set[Partition]()
        if not left:
            return found
        self._consumer.assign([TopicPartition(*each, begin[each]) for each in left])
        try:
            for message in self._messages(left):
                partition = message.topic(), message.partition()
                found.add(partition)
                left.pop(partition, None)
        finally:
            self._consumer.unassign()
        return found

    def end_transaction(self, transactional_id: str) -> None:
        """Abort what the bearer of the id has left open; it cannot go on."""
        config = confluent_config(self._settings) | {"transactional.id": transactional_id}
        Producer(config).init_transactions(ANSWER_S)

    def pace(self, group: str) -> tuple[int, int] | None:
        """Session and heartbeat (ms) that the broker keeps for a group on its own protocol.

        None where it has no such protocol. KafkaException also where it may not be asked.
        """
        found = self._configs(ConfigResource(ResourceType.GROUP, group))
        session, heartbeat = (
            found.get(f"consumer.{name}.ms") for name in ("session.timeout", "heartbeat.interval")
        )
        return (int(session), int(heartbeat)) if session and heartbeat else None

    def least_session_ms(self) -> int | None:
        """The shortest session that every broker allows its groups; None where none says.

        KafkaException also where it may not be asked.
        """
        brokers = self._consumer.list_topics(timeout=ANSWER_S).brokers
        found = [self._configs(ConfigResource(ResourceType.BROKER, str(each))) for each in brokers]
        told = [each.get("group.consumer.min.session.timeout.ms") for each in found]
        return max((int(each) for each in told if each), default=None)

    def _configs(self, resource: ConfigResource) -> dict[str, str | None]:
        asked = self._admin.describe_configs([resource], request_timeout=ANSWER_S)
        found = _result(asked[resource])
        return {name: entry.value for name, entry in found.items()}

    def members(self, group: str, to: Operation = Operation.DESCRIBE) -> Any:
        """The group as the broker describes it, once that has read what it kept of it.

        NotAllowed names what is to be done with it.
        """
        until = time.monotonic() + ANSWER_S
        while True:
            try:
                return self._described(group, to)
            except KafkaException as error:
                if error.args[0].code() not in LOADING or time.monotonic() > until:
                    raise
            time.sleep(LOADING_S)

    def _described(self, group: str, to: Operation) -> Any:
        """Asks no coordinator while no broker answers, and leaves one behind that does not.

        A coordinator that answers after librdkafka has given up a question ends the process
        (https://github.com/confluentinc/librdkafka/issues/4605), so it must not give up. So does
        `describe_cluster` (2.16) where a broker that has just started knows none yet.
        """
        # Each of them has threads and sockets of its own.
        self._unanswered = [each for each in self._unanswered if not each[0].done()]
        admin = self._admin
        # Whoever asks for a group may see this one.
        admin.list_topics(Topic.NORMAL.full(self._settings.namespace), ANSWER_S)
        answer = admin.describe_consumer_groups([group], request_timeout=LEFT_S)[group]
        try:
            return _result(answer, on_group(to, group))
        except Unreachable:
            if not answer.done():
                self._unanswered.append((answer, admin))
            raise


def _reading(topic: str) -> Grant:
    """To see a topic less is needed, but whoever asks here reads it."""
    return on_topic(Operation.READ, topic)


def _result(future: Future[Any], needed: Grant | None = None) -> Any:
    """What was answered; `needed` is the right without which it is denied."""
    try:
        error = future.exception(ANSWER_S)
    except TimeoutError:
        raise Unreachable("the broker does not answer in time") from None
    if error is None:
        return future.result()
    if needed and isinstance(error, KafkaException) and is_denial(error):
        raise not_allowed(needed)
    # Not the one that the future holds: with the frames that hold the future it would be a cycle,
    # and keep the client with its threads until the collector comes, which is seldom in a node.
    raise type(error)(*error.args)


async def _committed(
    settings: Settings, group: str, wanted: list[TopicPartition] | None
) -> dict[Partition, tuple[int, str]]:
    """Of these partitions, or of all; librdkafka's own way to ask for all may crash it."""
    client = AIOKafkaAdminClient(**aiokafka_config(settings))
    await client.start()
    try:
        asked = wanted and [AioTopicPartition(each.topic, each.partition) for each in wanted]
        found = await client.list_consumer_group_offsets(group, partitions=asked)
    except AioKafkaError as error:
        raise Unreachable(f"what was committed is not known: {error!r}") from None
    finally:
        await client.close()
    return {
        (each.topic, each.partition): (at.offset, at.metadata)
        for each, at in found.items()
        if at.offset >= 0
    }
