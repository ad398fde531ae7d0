"""What a person changes: told before it is done on the cluster, else kept to be told."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from modelmora.audit.anchors import anchor_record
from modelmora.audit.auditor import link_record, user
from modelmora.audit.chain import Chain, Told
from modelmora.audit.pending import Pending
from modelmora.audit.signing import Signer, signer_of
from modelmora.cli.shared.output import say
from modelmora.errors import Unreachable
from modelmora.kafka.acls import Operation
from modelmora.kafka.admin import explain
from modelmora.kafka.connection import bootstrap_servers
from modelmora.kafka.denied import on_topic
from modelmora.kafka.events import event_record
from modelmora.kafka.requests import nothing
from modelmora.kafka.writing.outbox import Record, Written
from modelmora.kafka.writing.producing import producer_config
from modelmora.messages import EventKind, LifecycleEvent, Parameter
from modelmora.settings import Settings
from modelmora.text import counted

WRITE_S = 8.0
PEOPLE = "people"


def audited(settings: Settings, verb: str, message: str, **counts: int) -> None:
    """Tell who is about to do what; nothing is to be done where that cannot be told.

    On `audit`, as a chain of one record, and on `events`, which is told of that record too. Raises
    Unreachable, WrongCredentials, ConfigurationError, ModelMoraError.
    """
    who, host, now_ms = user(), socket.gethostname(), time.time_ns() // 1_000_000
    process = f"people@{host}-{os.getpid()}"
    # Where there is no data folder none is made for this.
    known = settings.audit.key_file or settings.data_dir.is_dir()
    signer = signer_of(settings) if known else Signer()
    chain = Chain(f"{process}/{uuid.uuid4().hex[:12]}", signer)
    numbers = (counted(count, name.removesuffix("s")) for name, count in counts.items())
    link = chain.add(Told(verb, who, now_ms, reason=", ".join((message, *numbers))))
    facts: Mapping[str, Parameter] = {"verb": verb, "principal": who, "message": message, **counts}
    event = LifecycleEvent(
        str(uuid.uuid4()), EventKind.ADMINISTERED, host, now_ms, None, None, facts
    )
    producer = Producer(producer_config(settings, WRITE_S))
    namespace = settings.namespace
    written = _write(producer, settings, link_record(link, chain.writer, namespace, nothing))
    _write(producer, settings, anchor_record(chain.head(link), written, host, namespace, PEOPLE))
    _write(producer, settings, event_record(event, namespace, PEOPLE, nothing))


def _write(producer: Producer, settings: Settings, record: Record) -> Written:
    """Where the broker has it. Raises Unreachable, WrongCredentials, ModelMoraError."""
    answers: list[Written | KafkaException] = []

    def answered(error: KafkaError | None, message: Message) -> None:
        answers.append(
            KafkaException(error)
            if error
            else Written(message.partition(), message.offset(), message.timestamp()[1])
        )

    producer.produce(
        record.topic, record.value, record.key, headers=list(record.headers), on_delivery=answered
    )
    if producer.flush(2 * WRITE_S) or not answers:
        raise Unreachable("the broker does not take the record of this; nothing was done")
    if isinstance(answers[0], KafkaException):
        needed = on_topic(Operation.WRITE, record.topic)
        raise explain(answers[0], bootstrap_servers(settings), needed)
    return answers[0]


def noted(settings: Settings, verb: str, reason: str) -> None:
    """Keep what was done, where no broker is asked; the gateway of the data folder tells it."""
    pending = Pending(settings)
    try:
        pending.add(Told(verb, user(), time.time_ns() // 1_000_000, reason=reason))
    except OSError as error:
        say(f"this is not told on `audit`: {pending.path}: {error.strerror}")
