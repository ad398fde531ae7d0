"""Copies of past requests for a version: made, signed and written to the topic `shadow`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from modelmora.access.signing import Signer
from modelmora.errors import Unreachable
from modelmora.kafka.acls import Operation
from modelmora.kafka.admin import explain
from modelmora.kafka.connection import bootstrap_servers
from modelmora.kafka.denied import on_topic
from modelmora.kafka.requests import request_record
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.outbox import Record
from modelmora.kafka.writing.producing import producer_config
from modelmora.messages import Lane
from modelmora.messages.headers import COMPARISON, LOCAL, PRINCIPAL, SHADOW_OF
from modelmora.settings import Settings
from modelmora.trials.past import Past
from modelmora.trials.versions import Version
from modelmora.wire import decode_request
from modelmora.wire.ids import shadow_id

WRITE_S = 10.0
POLL_S = 0.05


def copy_of(
    past: Past, version: Version, comparison: str, settings: Settings, signer: Signer | None
) -> Record:
    """The record that asks the version what was asked.

    Nobody waits for it, so it has neither a time limit of its own nor progress. It is signed by
    who makes it: what a version may be asked is for them to have, not for who asked before.
    Raises Undecodable, RequestError.
    """
    request = replace(
        decode_request(past.value),
        request_id=shadow_id(past.request_id, version.version),
        model=version.model,
        task=None,
        timeout_ms=None,
        progress=False,
    )
    principal = signer.principal("") if signer else LOCAL
    headers = (
        (PRINCIPAL, principal.encode()),
        (SHADOW_OF, past.request_id.encode()),
        (COMPARISON, comparison.encode()),
    )
    # Copies are read as the lowest lane is.
    record = request_record(request, Lane.LOW, settings, headers, signer=signer)
    record.topic = Topic.SHADOW.full(settings.namespace)
    return record


def write(settings: Settings, records: Iterable[Record], told: Callable[[int], None]) -> int:
    """Write all of them; how many the broker has acknowledged. `told` hears how many so far.

    Raises Unreachable, WrongCredentials, NotAllowed. Blocking.
    """
    writer = _Writer(settings)
    for record in records:
        writer.send(record)
        told(writer.written)
    return writer.end()


class _Writer:
    """A producer that stops at the first refusal."""

    def __init__(self, settings: Settings) -> None:
        self._servers = bootstrap_servers(settings)
        self._topic = Topic.SHADOW.full(settings.namespace)
        self._producer = Producer(producer_config(settings, WRITE_S))
        self._fault: KafkaError | None = None
        self.written = 0

    def send(self, record: Record) -> None:
        """Take one, waiting where too many are on their way."""
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    headers=list(record.headers),
                    on_delivery=self._on_delivery,
                )
            except BufferError:
                self._poll(POLL_S)
            except KafkaException as error:
                raise self._failed(error) from None
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

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        if error:
            self._fault = self._fault or error
        else:
            self.written += 1

    def _poll(self, seconds: float) -> None:
        self._producer.poll(seconds)
        self._check()

    def _check(self) -> None:
        if self._fault:
            raise self._failed(KafkaException(self._fault))

    def _failed(self, error: KafkaException) -> Exception:
        return explain(error, self._servers, on_topic(Operation.WRITE, self._topic))
