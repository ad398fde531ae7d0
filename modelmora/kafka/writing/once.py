"""One record, written and acknowledged, by who writes no more than that."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from modelmora.errors import Unreachable
from modelmora.kafka.acls import Operation
from modelmora.kafka.admin import explain
from modelmora.kafka.connection import bootstrap_servers
from modelmora.kafka.denied import on_topic
from modelmora.kafka.writing.producing import producer_config
from modelmora.settings import Settings

WRITE_S = 10.0


def write_once(
    settings: Settings,
    topic: str,
    key: bytes,
    value: bytes,
    headers: tuple[tuple[str, bytes], ...] = (),
) -> int:
    """Write a record to partition 0; its offset. Raises Unreachable, WrongCredentials. Blocking."""
    servers = bootstrap_servers(settings)
    ends: list[Message] = []
    faults: list[KafkaError] = []

    def written(error: KafkaError | None, message: Message) -> None:
        if error:
            faults.append(error)
        else:
            ends.append(message)

    producer = Producer(producer_config(settings, WRITE_S))
    try:
        producer.produce(topic, value, key, 0, on_delivery=written, headers=list(headers))
        producer.flush(WRITE_S)
    except KafkaException as error:
        raise explain(error, servers, on_topic(Operation.WRITE, topic)) from None
    if faults:
        raise explain(faults[0], servers, on_topic(Operation.WRITE, topic))
    if not ends:
        raise Unreachable(f"the broker at {servers} does not acknowledge; try again")
    return ends[0].offset() or 0
