"""What tests of the Kafka room share: topics made, records produced, read and waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aiokafka import AIOKafkaProducer
from aiokafka.record._crc32c import crc
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.checker.reading import read_records

CAP_S = 90.0


def create_topic(servers: str, topic: str, partitions: int = 1, **config: str) -> None:
    """Create a topic and wait until the broker knows it; `retention_ms` is `retention.ms`."""
    named = {name.replace("_", "."): value for name, value in config.items()}
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    admin.create_topics([NewTopic(topic, partitions, 1, config=named)])[topic].result(30)
    until = time.monotonic() + CAP_S
    while topic not in admin.list_topics(timeout=10).topics:
        assert time.monotonic() < until, f"{topic} is not there"


def delete_topic(servers: str, topic: str) -> None:
    """Delete a topic and wait until the broker knows."""
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    admin.delete_topics([topic])[topic].result(30)
    until = time.monotonic() + CAP_S
    while topic in admin.list_topics(timeout=10).topics:
        assert time.monotonic() < until, f"{topic} is still there"


def produce(servers: str, topic: str, *values: bytes, partition: int = 0) -> None:
    """Write values and wait until they are acknowledged."""
    producer = Producer({"bootstrap.servers": servers, "log_level": 0})
    errors: list[object] = []
    for value in values:
        producer.produce(
            topic, value, partition=partition, on_delivery=lambda error, _: errors.append(error)
        )
    assert producer.flush(60) == 0
    assert not any(errors)


async def produce_unreadable(servers: str, topic: str, partition: int = 0) -> int:
    """Write a record with a header name that is no UTF-8, as no client does; its offset."""
    producer = AIOKafkaProducer(bootstrap_servers=servers)
    await producer.start()
    batch = producer.create_batch()
    batch.append(timestamp=None, key=None, value=b"unreadable", headers=[("zz", b"")])
    raw = bytearray(batch._build())
    at = raw.index(b"zz")
    raw[at : at + 2] = b"\xff\xfe"
    raw[17:21] = crc(bytes(raw[21:])).to_bytes(4, "big")
    batch._buffer = raw
    placed = await (await producer.send_batch(batch, topic, partition=partition))
    await producer.stop()
    return int(placed.offset)


def values_of(servers: str, topic: str) -> list[bytes | None]:
    """Every value of a topic, in order within a partition."""
    return [record.value for record in read_records(servers, [topic])]


async def until(test: Callable[[], bool]) -> None:
    """Wait for what has no event of its own."""
    async with asyncio.timeout(CAP_S):
        while not test():  # noqa: ASYNC110 - states of others are only to be polled
            await asyncio.sleep(0.02)
