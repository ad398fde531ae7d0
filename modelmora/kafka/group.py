"""One member of a consumer group: librdkafka in a thread of its own, batches handed to the loop.

The group's protocol is the broker's own (KIP-848) with the range assignor, which keeps partition n
of all lanes together and leaves kept partitions alone; or the classic protocol with the same
assignor, where every rebalance takes all partitions for a moment.

Each partition has an epoch, new at each assignment. Whatever is known of a partition is known of
one epoch, so nothing of an earlier one can be taken for the present.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from functools import partial
from typing import Any

import orjson
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from modelmora.errors import ConfigurationError
from modelmora.kafka.acls import Operation
from modelmora.kafka.batches import Batch, Commits, Owner, Partition, Record, offsets_of, record_of
from modelmora.kafka.connection import group_config
from modelmora.kafka.denied import on_group, reason
from modelmora.kafka.reading.fetches import TOLD_MS, Fetches
from modelmora.kafka.reading.unreadable import Unreadable
from modelmora.settings import Settings

log = structlog.get_logger(__name__)
POLL_S = 0.02
BATCH_RECORDS = 1000
HANDED_OVER = 8  # fetches that may lie between this thread and the loop
REVOKE_S = 2.0  # the most that letting go of a partition may hold up those that stay
OUT_OF_RANGE = (
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError.OFFSET_OUT_OF_RANGE,
    KafkaError._LOG_TRUNCATION,
)
# A fatal error hides its cause's code, so its text must do.
UNSUPPORTED = "API version not supported"


class Member:
    """A member of the nodes' group. Only its own thread touches the consumer."""

    def __init__(self, settings: Settings, name: str, topics: Iterable[str], owner: Owner) -> None:
        self._settings = settings
        self._name = name
        self._topics = list(topics)
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="group", daemon=True)
        self._orders: deque[Callable[[], None]] = deque()
        self._room = threading.Semaphore(HANDED_OVER)
        self._stopping = threading.Event()
        self._asked: tuple[Commits, float] | None = None
        self._taken = 0
        self.caught_up_at = time.monotonic()
        """When (monotonic) the loop had last taken all that had come; any thread may read it."""
        self.membership: tuple[Any, Mapping[Partition, int]] = (None, {})
        """The group's metadata and the epochs of what was owned, of one and the same moment.

        Kept up to date for transactions; any thread may read it. The broker refuses the metadata
        once it has been told that any of these partitions was given back.
        """
        self.fetches = Fetches()
        self.turns = 0
        """How often its thread has come round: one that stands still reads nothing any more."""
        # The thread's own:
        self._handed = 0
        self._consumer: Consumer | None = None
        self._epoch = 0
        self._epochs: dict[Partition, int] = {}
        self._next: dict[Partition, int] = {}
        self._gated: set[Partition] = set()
        self._paused: set[Partition] = set()
        self._failure: KafkaError | None = None
        self.protocol = settings.kafka.group_protocol.replace("auto", "consumer")
        self.id = ""

    # From the loop -------------------------------------------------------------------------------

    def start(self) -> None:
        """Join the group."""
        self._thread.start()

    async def stop(self) -> None:
        """Give everything back, leave the group, end the thread."""
        self._stopping.set()
        if self._thread.ident is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join, 10)

    def read(self, places: Mapping[Partition, tuple[int, int]]) -> None:
        """Read each partition from its (epoch, offset) on, as long as the epoch is the present."""
        self._orders.append(partial(self._read, dict(places)))

    def renew(self, partition: Partition, epoch: int) -> None:
        """Have it assigned anew, under another epoch, if this one is still the present."""
        self._orders.append(partial(self._renew, partition, epoch))

    def gate(self, gated: Iterable[Partition]) -> None:
        """Read exactly these partitions no further for now."""
        self._orders.append(partial(self._gate, set(gated)))

    def taken(self) -> None:
        """What one fetch has brought is taken in; there is room for another."""
        self._taken += 1
        self._room.release()

    @property
    def committing(self) -> bool:
        """Whether a commit is under way."""
        return self._asked is not None

    def commit(self, commits: Commits) -> None:
        """Ask the group to commit; one at a time, `Owner.on_committed` tells what came of it."""
        self._asked = commits, time.monotonic()
        self._orders.append(self._commit)

    # The thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._join()
            self._leave()
        except Exception as error:
            log.exception("the group's reader failed")
            self._tell(self._owner.on_failed, f"the group's reader failed: {error!r}")

    def _join(self) -> None:
        """Be a member until told to stop, or until the broker does not know this protocol."""
        self._failure = None
        config = group_config(self._settings, self.protocol)
        config |= {
            "client.id": self._name,
            "error_cb": self._on_error,
            "on_commit": self._on_commit,
            "statistics.interval.ms": TOLD_MS,
            "stats_cb": self._on_statistics,
        }
        try:
            self._consumer = Consumer(config, logger=logging.getLogger("librdkafka"))
        except (KafkaException, ValueError) as error:
            raise ConfigurationError(f"the kafka settings cannot be used: {error}") from None
        self._consumer.subscribe(
            self._topics,
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )
        while not self._stopping.is_set() and self._failure is None:
            self._turn()
        if self._failure is not None:
            self._fall_back(self._failure)

    def _fall_back(self, error: KafkaError) -> None:
        self._leave()
        can_fall_back = self._settings.kafka.group_protocol == "auto"
        if UNSUPPORTED in error.str() and self.protocol == "consumer" and can_fall_back:
            log.warning("the broker lacks KIP-848; the classic group protocol is used instead")
            self.protocol = "classic"
            return
        self._stopping.set()
        why = reason(error, on_group(Operation.READ, self._settings.group))
        self._tell(self._owner.on_failed, f"the group refuses this member: {why}")

    def _leave(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _turn(self) -> None:
        """Obey what was ordered, then fetch once and hand over what came."""
        self.turns += 1
        while self._orders:
            self._orders.popleft()()
        if not self._epochs:
            # Who never gets a partition hears of no assignment.
            self.id = self._client.memberid() or ""
        if self._settings.delivery == "exactly_once":
            # Here: from another thread, beside `consume`, it would not return.
            self.membership = self._client.consumer_group_metadata(), dict(self._epochs)
        if not self._room.acquire(timeout=POLL_S):
            return
        idle = self._handed == self._taken
        consumer = self._client
        batches: dict[tuple[str, int, int], list[Record | Unreadable]] = {}
        # Two calls: the first waits for one record only, the second takes what lies ready. A
        # rebalance inside the second must not put its epoch on what the first has brought.
        messages = consumer.consume(1, POLL_S)
        if messages:
            self._sort(messages, batches)
            messages = consumer.consume(BATCH_RECORDS, 0)
            self._sort(messages, batches)
        if idle and len(messages) < BATCH_RECORDS:
            self.caught_up_at = time.monotonic()
        if batches and self._hand_over(batches):
            self._handed += 1
        else:
            self._room.release()

    @property
    def _client(self) -> Consumer:
        assert self._consumer is not None  # noqa: S101 - only used between join and leave
        return self._consumer

    def _sort(
        self,
        messages: Sequence[Message],
        batches: dict[tuple[str, int, int], list[Record | Unreadable]],
    ) -> None:
        epochs, started = self._epochs, self._next
        for message in messages:
            error = message.error()
            if error is not None:
                self._hear(message, error)
                continue
            topic, number = message.topic(), message.partition()
            partition = (topic, number)
            if partition not in started:
                continue
            epoch = epochs[partition]
            record = record_of(message, topic, number, epoch)
            batch = batches.get((topic, number, epoch))
            if batch is None:
                batches[topic, number, epoch] = [record]
            else:
                batch.append(record)

    def _hand_over(self, batches: Mapping[tuple[str, int, int], list[Record | Unreadable]]) -> bool:
        """Give the batches to the loop as one; False where none is of the present."""
        found: list[Batch] = []
        for (topic, number, epoch), records in batches.items():
            partition = (topic, number)
            after = self._next.get(partition)
            if after is None or self._epochs.get(partition) != epoch:
                continue
            self._next[partition] = records[-1].offset + 1
            found.append(Batch(partition, epoch, after, records))
        if found:
            self._tell(self._owner.on_batches, found)
        return bool(found)

    def _hear(self, message: Message, error: KafkaError) -> None:
        partition = (message.topic(), message.partition())
        if error.code() in OUT_OF_RANGE and partition in self._next:
            at = self._next.pop(partition)
            self._tell(self._owner.on_stuck, partition, self._epochs[partition], at, error.str())
        else:
            self._on_error(error)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in (KafkaError._FATAL, KafkaError.GROUP_AUTHORIZATION_FAILED):
            self._failure = self._failure or error
        log.debug("the group's consumer has met an error", error=error.str())

    def _on_statistics(self, told: str) -> None:
        opened = self._next.keys() - self._paused
        self.fetches.saw(orjson.loads(told), opened, time.monotonic())

    # Rebalances: brief, for what is kept stands still meanwhile --------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        epochs = self._number((each.topic, each.partition) for each in partitions)
        # Paused at any offset until it is known where to begin.
        places = [TopicPartition(*partition, 0) for partition in epochs]
        if self.protocol == "consumer":
            consumer.incremental_assign(places)
        else:
            consumer.assign(places)
        consumer.pause(places)
        self._paused |= epochs.keys()
        self.id = consumer.memberid() or ""
        self._tell(self._owner.on_assigned, epochs)

    def _number(self, partitions: Iterable[Partition]) -> Mapping[Partition, int]:
        epochs: dict[Partition, int] = {}
        for partition in partitions:
            self._epoch += 1
            epochs[partition] = self._epoch
        self._epochs |= epochs
        return epochs

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        gone = self._forget(partitions)
        commits = self._ask(self._owner.on_revoked(gone))
        if not commits:
            return
        try:
            consumer.commit(offsets=offsets_of(commits), asynchronous=False)
        except KafkaException as error:
            log.warning("what was done is not committed, it may be repeated", error=str(error))

    def _on_lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        gone = self._forget(partitions)
        log.warning("partitions lost: the group had not heard of this member", lost=len(gone))
        self._tell(self._owner.on_lost, gone)

    def _forget(self, partitions: list[TopicPartition]) -> set[Partition]:
        gone = {(each.topic, each.partition) for each in partitions}
        for partition in gone:
            self._epochs.pop(partition, None)
            self._next.pop(partition, None)
        self._paused -= gone
        return gone

    def _ask(self, question: Coroutine[Any, Any, Commits]) -> Commits:
        """The loop's answer, if it comes in time."""
        try:
            answer: Future[Commits] = asyncio.run_coroutine_threadsafe(question, self._loop)
            return answer.result(REVOKE_S)
        except (NotInTime, RuntimeError):
            log.warning("partitions are given back without a last commit, work may be repeated")
            return {}

    # Orders --------------------------------------------------------------------------------------

    def _read(self, places: dict[Partition, tuple[int, int]]) -> None:
        found = {
            partition: offset
            for partition, (epoch, offset) in places.items()
            if self._epochs.get(partition) == epoch
        }
        if not found:
            return
        self._next |= found
        consumer = self._client
        # A seek would fail where reading has stopped at an offset that is not there.
        if self.protocol == "consumer":
            consumer.incremental_unassign([TopicPartition(*each) for each in found])
            consumer.incremental_assign([TopicPartition(*p, offset) for p, offset in found.items()])
            touched = found.keys()
        else:
            consumer.assign([TopicPartition(*p, self._next.get(p, 0)) for p in self._epochs])
            touched = self._epochs.keys()
        # Whether a pause outlives this is librdkafka's business: it is said anew.
        consumer.pause([TopicPartition(*partition) for partition in touched])
        self._paused |= touched
        self._gate(self._gated)

    def _renew(self, partition: Partition, epoch: int) -> None:
        if self._epochs.get(partition) == epoch:
            self._next.pop(partition, None)
            self._gate(self._gated)
            self._tell(self._owner.on_assigned, self._number([partition]))

    def _gate(self, gated: set[Partition]) -> None:
        self._gated = gated
        wanted = {p for p in self._epochs if p in gated or p not in self._next}
        closed, opened = wanted - self._paused, self._paused - wanted
        if closed:
            self._client.pause([TopicPartition(*partition) for partition in closed])
        if opened:
            self._client.resume([TopicPartition(*partition) for partition in opened])
        self._paused = wanted

    def _commit(self) -> None:
        if self._asked is None:
            return
        commits, at = self._asked
        # What was given back since has had its last commit, which says more than this one.
        self._asked = {p: commit for p, commit in commits.items() if p in self._epochs}, at
        if not self._asked[0]:
            self._committed("all of it was given back")
            return
        try:
            self._client.commit(offsets=offsets_of(self._asked[0]), asynchronous=True)
        except KafkaException as error:
            self._committed(error.args[0].str())

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        faults = [each.error for each in partitions if each.error is not None]
        fault = error or (faults[0] if faults else None)
        if self._asked is not None:
            self._committed(fault.str() if fault else None)

    def _committed(self, error: str | None) -> None:
        self._tell(self._on_committed, error)

    def _on_committed(self, error: str | None) -> None:
        if self._asked is not None:
            (commits, at), self._asked = self._asked, None
            self._owner.on_committed(commits, at, error)

    def _tell(self, what: Callable[..., object], *arguments: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(what, *arguments)
