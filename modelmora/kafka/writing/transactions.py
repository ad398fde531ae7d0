"""Exactly-once mode: outcomes and the offsets of their requests in one Kafka transaction.

The broker checks the generation of who commits, not that it owns the partitions: so what is written
is chosen by what was owned at the moment of the very metadata that go with it. Once the group
knows that any of it was given back, the broker refuses these metadata.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from contextlib import suppress
from functools import partial
from typing import NamedTuple, TypeVar

import structlog
from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from modelmora.errors import ConfigurationError, ModelMoraError
from modelmora.kafka import denied
from modelmora.kafka.acls import Grant, Operation, Resource
from modelmora.kafka.admin import explain
from modelmora.kafka.connection import bootstrap_servers
from modelmora.kafka.refused import Refusals
from modelmora.kafka.writing.books import Books, Dues, Reader
from modelmora.kafka.writing.decided import Decided, went_alone, without
from modelmora.kafka.writing.doubtful import begin, went_through
from modelmora.kafka.writing.gathering import together
from modelmora.kafka.writing.outbox import RETRY_S, Answer, Outbox, Record, Written
from modelmora.kafka.writing.producing import in_time, producer_config
from modelmora.kafka.writing.publisher import GIVEN_BACK, TOO_LARGE, gives_up
from modelmora.settings import Settings
from modelmora.wire import Framing

log = structlog.get_logger(__name__)
GATHER_S = 0.01
WAIT_S = 0.1
STEP_S = 1.0
PATIENCE_S = 5.0
TRANSACTION_S = 10
TOPIC_FAULTS = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_EXCEPTION,
}
T = TypeVar("T")
_writing = partial(denied.on_topic, Operation.WRITE)


class Plan(NamedTuple):
    """What goes into one transaction."""

    records: Sequence[Record]
    dues: Dues


class TransactionalPublisher(Outbox):
    """Takes records at once; a thread of its own writes all that wait in one transaction.

    It commits at once while it is idle and gathers for a moment while it is busy. What goes into a
    transaction is decided on the loop, and not before the answers of the one before were taken:
    so `books` know of all that is written. The thread holds no lock while it waits for the loop
    or the broker. A record and what goes before it are written together or not at all.
    """

    reader: Reader
    books: Books

    def __init__(
        self,
        settings: Settings,
        transactional_id: str,
        *,
        timeout_s: float = 4.0,
        framing: Framing | None = None,
    ) -> None:
        super().__init__(framing, {})
        self._settings = settings
        self._servers = bootstrap_servers(settings)
        self._config = producer_config(settings, timeout_s) | {
            "transactional.id": transactional_id,
            "transaction.timeout.ms": TRANSACTION_S * 1000,
            "error_cb": self._on_error,
        }
        self._producer: Producer | None = None
        self._reports: list[tuple[Record, KafkaError | None, Written]] = []
        self._heard = Refusals()
        self._ending = self._due = False
        self._failures = self._apart = 0
        self._more = threading.Event()
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

    def commit(self) -> None:
        """Commit what is due, whether or not anything is to be written."""
        self._due = True
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
            plan = self._ask(self._plan) if self.backlog or self._due else None
            self._reports.clear()  # else what fails now is blamed on records that are decided
            busy = plan is not None and len(plan.records) > 1
            try:
                if plan is None:
                    self._rest()
                    continue
                if self._producer is None:
                    self._producer = self._connect()
                self._write(self._producer, plan)
            except Exception as error:  # noqa: BLE001 - the thread must outlive whatever it is
                self._recover(plan.records if plan else (), error)
        # Here, for the last reference waits for the threads of librdkafka.
        self._producer = None

    def _ask(self, question: Callable[[], T]) -> T | None:
        """The loop's answer; None where there is none any more."""
        answer: Future[T] = Future()

        def put() -> None:
            try:
                answer.set_result(question())
            except Exception as error:
                log.exception("a transaction was not prepared")
                answer.set_exception(error)

        self._call(put)
        while not self._ending:
            with suppress(NotInTime):
                return None if answer.exception(WAIT_S) else answer.result()
        return None

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

    def _plan(self) -> Plan | None:
        """On the loop: what goes into the next transaction; None: nothing for now."""
        records: list[Record] = []
        while not records and (batch := self._batch()):
            gone = {record for record in batch if record.wanted and not record.wanted()}
            self._settle([Decided.dropped(record) for record in batch if record in gone])
            records = [record for record in batch if record not in gone]
        due, self._due = self._due, False
        return Plan(records, self.books.dues(records)) if records or due else None

    def _batch(self) -> list[Record]:
        """What may go together, a record that may spoil others alone; it waits on meanwhile."""
        now = time.monotonic()
        flows = [flow for flow in [*self._flows.values()] if flow.waiting and now >= flow.resume]
        for flow in flows:
            if flow.fault or flow.waiting[0].alone:
                return [flow.waiting[0]]
        if self._apart and flows:
            self._apart -= 1
            flows = [flows[self._apart % len(flows)]]
        return together(flow.waiting for flow in flows)

    def _write(self, producer: Producer, plan: Plan) -> None:
        """One transaction; what is not owned, or not known to be owned yet, waits on."""
        group, epochs = self.reader.membership
        records = [
            record
            for record in plan.records
            if not record.ends or epochs.get(record.ends.partition) == record.ends.epoch
        ]
        dues = {p: due for p, due in plan.dues.items() if epochs.get(p) == due.epoch}
        if not records and not dues:
            time.sleep(GATHER_S)
            return
        producer.begin_transaction()
        parts = [part for record in records for part in record.parts]
        for part in parts:
            self._produce(producer, part)
        if dues:
            offsets = [TopicPartition(*p, due.offset, due.metadata) for p, due in dues.items()]
            # It may never return where the coordinator was away (librdkafka's issue 5456).
            in_time(
                partial(producer.send_offsets_to_transaction, offsets, group, STEP_S), PATIENCE_S
            )
        try:
            self._insist(producer.commit_transaction)
        except KafkaException as error:
            if not (error.args[0].fatal() and self._went_through(dues)):
                raise
        self._hear(producer, len(parts))
        self.connected = True
        self._failures = 0
        written: dict[Record, Answer] = {part: place for part, _, place in self._reports}
        decided = [
            Decided(record, [written[part] for part in record.parts])
            for record in records
            if record in written
        ]
        self._ask(partial(self._close, decided, dues))

    def _went_through(self, dues: Dues) -> bool:
        """Whether the broker committed what its producer, which has ended, could not tell.

        The next one's start settles what was open. Until this is known, nothing is written anew.
        """
        self._producer = None
        while dues and not self._ending:
            try:
                self._producer = self._producer or self._connect()
                return went_through(self._settings, dues)
            except (KafkaException, ModelMoraError) as error:
                log.warning("transaction in doubt", error=repr(error), open=self.backlog)
                self._pause()
        return False

    def _pause(self) -> None:
        time.sleep(RETRY_S[min(self._failures, len(RETRY_S) - 1)])
        self._failures += 1

    def _hear(self, producer: Producer, parts: int) -> None:
        """Take the reports of what is committed.

        What is fatal now ends the producer, and not the transaction: its records, taken for
        aborted, would be written a second time.
        """
        while len(self._reports) < parts and not self._ending:
            try:
                producer.poll(WAIT_S)
            except KafkaException as error:
                log.warning("transactional producer replaced", error=repr(error))
                if self._producer is producer:
                    self._producer = None

    def _close(self, decided: Sequence[Decided], dues: Dues) -> None:
        """On the loop: a transaction went through."""
        self._settle(decided)
        self.books.paid(dues)

    def _produce(self, producer: Producer, record: Record) -> None:
        try:
            record.give_to(producer.produce, self._on_report)
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

    def _recover(self, records: Sequence[Record], error: Exception) -> None:
        """Abort; the records wait on, unless they are too large for ever."""
        fault = error.args[0] if isinstance(error, KafkaException) else None
        if isinstance(error, NotInTime) or (fault and fault.fatal()):
            self._producer = None
        try:
            if self._producer:
                self._insist(self._producer.abort_transaction)
        except KafkaException as worse:
            log.warning("transactional producer replaced", error=repr(worse))
            self._producer = None
        whole = {part: record for record in records for part in record.parts}
        refused: list[Decided] = []
        unwanted: dict[str, str] = {}
        found = False
        for part, reason, _ in self._reports:
            record = whole[part]
            if reason and reason.code() in TOO_LARGE and went_alone(record):
                refused = [Decided.dropped(record, refused=part)]
            elif reason and gives_up(part, reason, self.connected):
                unwanted[part.topic] = denied.reason(reason, _writing(part.topic))
            elif reason:
                found |= self._blame(record, part, reason)
        if fault and not found and not unwanted and fault.code() in TOPIC_FAULTS:
            found = self._search(records, fault, unwanted)
        if refused := refused or without(records, unwanted):
            self._ask(partial(self._settle, refused))
        elif not found:
            log.warning("transaction aborted", error=repr(error), open=self.backlog)
            self._pause()

    def _search(
        self, records: Sequence[Record], fault: KafkaError, unwanted: dict[str, str]
    ) -> bool:
        """A topic is at fault and no record says which: each goes by itself, then it is known.

        What is optional gives way first.
        """
        topics = {record.parts[0].topic for record in records}
        if len(topics) == 1:
            optional = (part for record in records for part in record.parts if part.optional)
            unwanted.update(
                {part.topic: denied.reason(fault, _writing(part.topic)) for part in optional}
            )
            if not unwanted:
                self._flows[topics.pop()].park(fault)
        else:
            self._apart = len(self._flows)
        return bool(topics)

    def _blame(self, record: Record, part: Record, reason: KafkaError) -> bool:
        """See to it that a record does not spoil another transaction; False: it did not."""
        code = reason.code()
        if code in TOO_LARGE:
            record.alone = True
        elif code == KafkaError._UNKNOWN_PARTITION and part.partition is not None:
            part.partition = None
        elif code in {*GIVEN_BACK, KafkaError._MSG_TIMED_OUT, KafkaError._FATAL}:
            return False
        else:
            self._flows[record.parts[0].topic].park(reason)
        return True

    def _settle(self, decided: Sequence[Decided]) -> None:
        """On the loop: these wait no more."""
        for record, (*before, answer) in decided:
            flow = self._flows[record.parts[0].topic]
            flow.waiting.remove(record)  # among the first
            if flow.fault and isinstance(answer, Written):
                flow.unpark()
            for part, told in zip(record.parts, before, strict=False):
                part.decided(told)
            self._answer(record, answer)

    # The producer --------------------------------------------------------------------------------

    def _connect(self) -> Producer:
        try:
            # Else librdkafka writes what is fatal on standard error, beside the log.
            producer = Producer(self._config, logger=logging.getLogger("librdkafka"))
        except (KafkaException, ValueError) as error:
            raise ConfigurationError(f"the kafka settings cannot be used: {error}") from None
        try:
            begin(producer, self._heard, STEP_S, lambda: self._ending)
        except KafkaException as error:
            bearer = self._config["transactional.id"]
            needed = Grant(Operation.WRITE, Resource.TRANSACTIONAL_ID, bearer)
            raise explain(error, self._servers, needed) from None
        return producer

    def _on_error(self, error: KafkaError) -> None:
        self._heard.on_error(error)
        if error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION):
            self.connected = False
