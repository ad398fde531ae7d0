"""Writing for a person who waits: a producer that stops at the first refusal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from modelmora.errors import Unreachable
from modelmora.kafka.acls import Operation
from modelmora.kafka.admin import explain
from modelmora.kafka.connection import bootstrap_servers
from modelmora.kafka.denied import on_topic
from modelmora.kafka.writing.outbox import Record
from modelmora.kafka.writing.producing import producer_config
from modelmora.settings import Settings

WRITE_S = 10.0
POLL_S = 0.05


def write(settings: Settings, records: Iterable[Record], told: Callable[[int], None]) -> int:
    """Write all of them; how many the broker has acknowledged. `told` hears how many so far.

    Raises Unreachable, WrongCredentials, NotAllowed. Blocking.
    """
    writer = Writer(settings)
    for record in records:
        writer.send(record)
        told(writer.written)
    return writer.end()


class Writer:
    """A producer that stops at the first refusal."""

    def __init__(self, settings: Settings) -> None:
        self._servers = bootstrap_servers(settings)
        self._producer = Producer(producer_config(settings, WRITE_S))
        self._fault: tuple[KafkaException, str] | None = None
        self.written = 0
        """How many the broker has acknowledged."""

    def send(self, record: Record) -> None:
        """Take one, waiting where too many are on their way."""
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    headers=list(record.headers),
                    on_delivery=partial(self._on_delivery, record.topic),
                )
            except BufferError:
                self._poll(POLL_S)
            except KafkaException as error:
                raise self._failed(error, record.topic) from None
            else:
                self._poll(0)
                return

    def end(self) -> int:
        """Wait for the rest."""
        left = self._producer.flush(2 * WRITE_S)
        self._check()
        if left:
            raise Unreachable(f"the broker at {self._servers} does not acknowledge; try again")
        return self.written

    def _on_delivery(self, topic: str, error: KafkaError | None, _message: Message) -> None:
        if error:
            self._fault = self._fault or (KafkaException(error), topic)
        else:
            self.written += 1

    def _poll(self, seconds: float) -> None:
        self._producer.poll(seconds)
        self._check()

    def _check(self) -> None:
        if self._fault:
            raise self._failed(*self._fault)

    def _failed(self, error: KafkaException, topic: str) -> Exception:
        return explain(error, self._servers, on_topic(Operation.WRITE, topic))
