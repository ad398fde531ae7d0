"""Exactly-once mode: outcomes and the offsets of their requests in one Kafka transaction.

The broker checks the generation of who commits, not that it owns the partitions: so the group's
metadata is taken, records are filtered by what is owned and offsets are sent under one lock, which
the group's reader holds too while partitions come and go.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import structlog
from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from modelmora.errors import ConfigurationError, WrongCredentials
from modelmora.kafka.admin import explain
from modelmora.kafka.connection import bootstrap_servers
from modelmora.kafka.outbox import (
    RETRY_S,
    Answer,
    Dropped,
    Outbox,
    Record,
    TooLarge,
    Written,
    goes_alone,
)
from modelmora.kafka.producing import START_S, producer_config
from modelmora.kafka.publisher import GIVEN_BACK, TOO_LARGE
from modelmora.settings import Settings
from modelmora.wire import Framing

log = structlog.get_logger(__name__)
GATHER_S = 0.01
WAIT_S = 0.1
STEP_S = 1.0
BATCH_RECORDS = 5_000
BATCH_TOTAL_BYTES = 16 << 20
TRANSACTION_S = 10
TOPIC_FAULTS = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_EXCEPTION,
}
Commits = Mapping[tuple[str, int], tuple[int, str]]
"""(topic, partition) -> (offset, metadata)."""


class Reader(Protocol):
    """What reads the requests; see `modelmora.kafka.group`."""

    @property
    def lock(self) -> Any:
        """The `threading.RLock` that is held while partitions come and go."""

    def group_metadata(self) -> object:
        """The consumer's group metadata as of now."""


class TransactionalPublisher(Outbox):
    """Takes records at once; a thread of its own writes all that wait in one transaction.

    It commits at once while it is idle and gathers for a moment while it is busy. `wanted` of
    the records and `commits_after`, which says what is committed once these records are written,
    are called in that thread, under the reader's lock. Each transaction waits until the loop has
    taken the answers of the one before, so `commits_after` knows of all that is written.
    """

    def __init__(
        self,
        settings: Settings,
        transactional_id: str,
        reader: Reader,
        commits_after: Callable[[Sequence[Record]], Commits],
        *,
        timeout_s: float = 4.0,
        framing: Framing | None = None,
    ) -> None:
        super().__init__(framing, {})
        self._servers = bootstrap_servers(settings)
        self._config = producer_config(settings, timeout_s) | {
            "transactional.id": transactional_id,
            "transaction.timeout.ms": TRANSACTION_S * 1000,
            "error_cb": self._on_error,
        }
        self._reader = reader
        self._commits_after = commits_after
        self._producer: Producer | None = None
        self._reports: list[tuple[Record, KafkaError | None, Written]] = []
        self._refused = self._ending = False
        self._failures = self._apart = 0
        self._more = threading.Event()
        self._settled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="transactions", daemon=True)

    async def start(self) -> None:
        """End what a former bearer of the id left open, and begin to write.

        Raises Unreachable, WrongCredentials, ConfigurationError.
        """
        self._loop = asyncio.get_running_loop()
        self._producer = await asyncio.to_thread(self._connect)
        self.connected = True
        self._thread.start()

    def wake(self) -> None:
        """Look at once whether something is to be written."""
        self._more.set()

    async def stop(self) -> None:
        """Stop writing; what is not committed is given up, as a crash would."""
        self._ending = True
        self._more.set()
        if self._thread.is_alive():
            # librdkafka may sit out more than it was allowed where the broker is dead.
            await asyncio.to_thread(self._thread.join, 3 * STEP_S)
        self.connected = False

    # The thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        busy = False
        while not self._ending:
            if busy:
                time.sleep(GATHER_S)
            batch = self._batch()
            if not batch:
                busy = False
                self._rest()
                continue
            busy = len(batch) > 1
            try:
                if self._producer is None:
                    self._producer = self._connect()
                self._write(self._producer, batch)
            except Exception as error:  # noqa: BLE001 - the thread must outlive whatever it is
                self._recover(batch, error)
        # Here, for the last reference waits for the threads of librdkafka.
        self._producer = None

    def _rest(self) -> None:
        """Wait for records; a broker that was gone is asked whether it is back."""
        if self._producer and not self.connected:
            try:
                self._producer.list_topics(timeout=WAIT_S)
                self.connected = True
            except KafkaException:
                return
        self._more.wait(WAIT_S)
        self._more.clear()
        if self._producer:
            self._producer.poll(0)

    def _batch(self) -> list[Record]:
        """What goes into the next transaction, a record that may spoil it alone.

        The records stay where they wait until the loop takes their answers.
        """
        now, batch, size = time.monotonic(), list[Record](), 0
        flows = [flow for flow in [*self._flows.values()] if flow.waiting and now >= flow.resume]
        for flow in flows:
            if flow.fault or flow.waiting[0].alone:
                return [flow.waiting[0]]
        if self._apart and flows:
            self._apart -= 1
            flows = [flows[self._apart % len(flows)]]
        for flow in flows:
            for number in range(min(len(flow.waiting), BATCH_RECORDS - len(batch))):
                record = flow.waiting[number]
                if record.alone or size >= BATCH_TOTAL_BYTES:
                    break
                batch.append(record)
                size += record.size
        return batch

    def _write(self, producer: Producer, batch: list[Record]) -> None:
        self._reports.clear()
        with self._reader.lock:
            group = self._reader.group_metadata()
            wanted = [record for record in batch if not record.wanted or record.wanted()]
            if wanted:
                producer.begin_transaction()
                for record in wanted:
                    self._produce(producer, record)
                commits = self._commits_after(wanted)
                offsets = [
                    TopicPartition(topic, partition, offset, metadata)
                    for (topic, partition), (offset, metadata) in commits.items()
                ]
                if offsets:
                    producer.send_offsets_to_transaction(offsets, group, STEP_S)
        if wanted:
            self._insist(producer.commit_transaction)
        while len(self._reports) < len(wanted) and not self._ending:
            producer.poll(WAIT_S)
        self.connected = True
        self._failures = 0
        written = {record: place for record, _, place in self._reports}
        self._tell([(record, written.get(record) or Dropped()) for record in batch])

    def _produce(self, producer: Producer, record: Record) -> None:
        try:
            producer.produce(
                record.topic,
                record.value,
                record.key,
                -1 if record.partition is None else record.partition,
                partial(self._on_report, record),
                headers=list(record.headers) if record.headers else None,
            )
        except KafkaException as error:
            self._reports.append((record, error.args[0], Written(-1, -1, 0)))
            raise

    def _on_report(self, record: Record, error: KafkaError | None, message: Message) -> None:
        kind, stamp = message.timestamp()
        stamp = stamp if kind == TIMESTAMP_LOG_APPEND_TIME else 0
        self._reports.append((record, error, Written(message.partition(), message.offset(), stamp)))

    def _insist(self, call: Callable[[float], None]) -> None:
        """Call until it is decided: after a time-out only asking again tells how it ended."""
        while True:
            try:
                call(STEP_S)
            except KafkaException as error:
                if not error.args[0].retriable() or self._ending:
                    raise
                self.connected = False
            else:
                return

    def _recover(self, batch: list[Record], error: Exception) -> None:
        """Abort; the records wait on, unless they are too large for ever."""
        fault = error.args[0] if isinstance(error, KafkaException) else None
        try:
            if self._producer and not (fault and fault.fatal()):
                self._insist(self._producer.abort_transaction)
        except KafkaException as worse:
            log.warning("transactional producer replaced", error=repr(worse))
            self._producer = None
        if fault and fault.fatal():
            self._producer = None
        answers: list[tuple[Record, Answer]] = []
        found = False
        for record, reason, _ in self._reports:
            if reason and reason.code() in TOO_LARGE and goes_alone(record):
                answers.append((record, TooLarge()))
            elif reason:
                found |= self._blame(record, reason)
        if fault and not found and fault.code() in TOPIC_FAULTS:
            found = self._search(batch, fault)
        self._tell(answers)
        if not found and not answers:
            log.warning("transaction aborted", error=repr(error), open=self.backlog)
            time.sleep(RETRY_S[min(self._failures, len(RETRY_S) - 1)])
            self._failures += 1

    def _search(self, batch: list[Record], fault: KafkaError) -> bool:
        """A topic is at fault and no record says which: each goes by itself, then it is known."""
        topics = {record.topic for record in batch}
        if len(topics) == 1:
            self._flows[topics.pop()].park(fault)
        else:
            self._apart = len(self._flows)
        return True

    def _blame(self, record: Record, reason: KafkaError) -> bool:
        """See to it that a record does not spoil another transaction; False: it did not."""
        code = reason.code()
        if code in TOO_LARGE:
            record.alone = True
        elif code == KafkaError._UNKNOWN_PARTITION and record.partition is not None:
            record.partition = None
        elif code in {*GIVEN_BACK, KafkaError._MSG_TIMED_OUT, KafkaError._FATAL}:
            return False
        else:
            self._flows[record.topic].park(reason)
        return True

    def _tell(self, answers: list[tuple[Record, Answer]]) -> None:
        """Have the loop take the answers, and wait until it has."""
        if answers:
            self._settled.clear()
            self._call(partial(self._settle, answers))
            while not self._ending and not self._settled.wait(WAIT_S):
                pass

    def _settle(self, answers: list[tuple[Record, Answer]]) -> None:
        for record, answer in answers:
            flow = self._flows[record.topic]
            flow.waiting.remove(record)  # among the first
            if flow.fault and isinstance(answer, Written):
                flow.unpark()
            self._answer(record, answer)
        self._settled.set()

    # The producer --------------------------------------------------------------------------------

    def _connect(self) -> Producer:
        try:
            producer = Producer(self._config)
        except (KafkaException, ValueError) as error:
            raise ConfigurationError(f"the kafka settings cannot be used: {error}") from None
        until = time.monotonic() + START_S
        while True:
            try:
                producer.init_transactions(STEP_S)
            except KafkaException as error:
                producer.poll(0)
                if self._refused:
                    raise WrongCredentials from None
                if not error.args[0].retriable() or time.monotonic() > until or self._ending:
                    raise explain(error, self._servers) from None
            else:
                return producer

    def _on_error(self, error: KafkaError) -> None:
        self._refused |= error.code() == KafkaError._AUTHENTICATION
        if error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION):
            self.connected = False
