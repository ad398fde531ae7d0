"""What a person is about to change on the cluster, told on `events` before it is done."""

from __future__ import annotations

import getpass
import os
import socket
import time
import uuid
from collections.abc import Mapping

from confluent_kafka import KafkaException, Producer

from modelmora.errors import Unreachable
from modelmora.kafka.admin import explain
from modelmora.kafka.connection import bootstrap_servers
from modelmora.kafka.events import event_record
from modelmora.kafka.requests import nothing
from modelmora.kafka.writing.producing import producer_config
from modelmora.messages import EventKind, LifecycleEvent, Parameter
from modelmora.settings import Settings

WRITE_S = 8.0


def audited(settings: Settings, verb: str, message: str, **counts: Parameter) -> None:
    """Tell who is about to do what; nothing is to be done where that cannot be told.

    Raises Unreachable, WrongCredentials, ModelMoraError.
    """
    facts: Mapping[str, Parameter] = {
        "verb": verb,
        "principal": _user(),
        "message": message,
        **counts,
    }
    now_ms = time.time_ns() // 1_000_000
    host = socket.gethostname()
    event = LifecycleEvent(
        str(uuid.uuid4()), EventKind.ADMINISTERED, host, now_ms, None, None, facts
    )
    record = event_record(event, settings.namespace, "people", nothing)
    faults: list[KafkaException] = []
    producer = Producer(producer_config(settings, WRITE_S))
    producer.produce(
        record.topic,
        record.value,
        record.key,
        headers=list(record.headers),
        on_delivery=lambda error, _: faults.append(KafkaException(error)) if error else None,
    )
    if producer.flush(2 * WRITE_S):
        raise Unreachable("the broker does not take the event that tells of this; nothing was done")
    if faults:
        raise explain(faults[0], bootstrap_servers(settings))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # in a container there may be no name for it
        return str(os.getuid())
